"""What page and server say to each other: frames with a binary header down, JSON up and down.

A binary message down is `HEADER` and a file's bytes (JPEG for a frame, and for the thumbnails of all photographs in one
picture of square tiles, whose side stands in the flags). Messages up are JSON objects with a `type`; `parse` turns one
into checked, clamped values or raises `ValueError`, so that nothing behind it sees a number that is not finite or a
name that does not exist.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from .channels import ViewOptions
from .orbit import DISTANCES, UPRIGHT, Pose
from .shown import CHANNELS

VERSION = 1
# Of a header, little-endian; `stamp` is the page's own time of an input in milliseconds, `micros` that of drawing.
NAMES = ("version", "kind", "flags", "frame", "stamp", "width", "height", "micros")
FIELDS = dict(zip(NAMES, "BBHIdHHI", strict=True))
HEADER = struct.Struct("<" + "".join(FIELDS.values()))
FRAME, PNG, MP4, GLB, THUMBNAILS = 1, 2, 3, 4, 5
FILES = {
    PNG: ("diffrast.png", "image/png"),
    MP4: ("turntable.mp4", "video/mp4"),
    GLB: ("mesh.glb", "model/gltf-binary"),
}
FULL = 1  # flag: full resolution

MAX_MESSAGE = 4096  # bytes of a message up; the longest honest one has about 250
MAX_SIDE = 4096  # pixels


def pack(kind: int, data: bytes, **fields: float) -> bytes:
    """A binary message; fields of the header that are not given are 0."""
    header = {**dict.fromkeys(FIELDS, 0), "version": VERSION, "kind": kind, **fields}
    return HEADER.pack(*header.values()) + data


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The header's fields by name, and the data."""
    return dict(zip(FIELDS, HEADER.unpack_from(message), strict=True)), message[HEADER.size :]


def constants() -> dict[str, Any]:
    """What the page needs to know of all this: numbers stand here and nowhere else."""
    getters = {"B": "getUint8", "H": "getUint16", "I": "getUint32", "d": "getFloat64"}
    places = itertools.accumulate(map(struct.calcsize, FIELDS.values()), initial=0)
    return {
        "fields": {name: [getters[kind], at] for (name, kind), at in zip(FIELDS.items(), places, strict=False)},
        "header": HEADER.size,
        "frame": FRAME,
        "thumbnails": THUMBNAILS,
        "files": FILES,
        "full": FULL,
        "controls": [f.name for f in fields(ViewOptions) if f.name not in ("channel", "theme")],
        "images": [name for name, choice in CHANNELS.items() if choice.image],
        "upright": UPRIGHT,
        "distances": DISTANCES,
    }


def _number(low: float, high: float) -> Callable[[Any], float]:
    """Finite numbers, moved into `low..high`."""

    def check(x: Any) -> float:
        if isinstance(x, bool) or not isinstance(x, (int, float)) or not math.isfinite(x):
            raise ValueError(f"expected a finite number but got {x!r:.60}")
        return min(max(float(x), low), high)

    return check


def _integer(low: int, high: int) -> Callable[[Any], int]:
    return lambda x: int(_number(low, high)(x))


def _boolean(x: Any) -> bool:
    if not isinstance(x, bool):
        raise ValueError(f"expected true or false but got {x!r:.60}")
    return x


def _choice(*names: str) -> Callable[[Any], str]:
    def check(x: Any) -> str:
        if x not in names:
            raise ValueError(f"expected one of {', '.join(names)} but got {x!r:.60}")
        return x

    return check


def _point(x: Any) -> tuple[float, ...]:
    if not isinstance(x, list) or len(x) != 3:
        raise ValueError(f"expected three numbers but got {x!r:.60}")
    return tuple(map(_number(-1e9, 1e9), x))


def _text(x: Any) -> str:
    if not isinstance(x, str) or len(x) > 100:
        raise ValueError(f"expected a short text but got {x!r:.60}")
    return x


STAMP = _number(0.0, 1e15)

# Every message up: its fields, all of them required, and what each must be.
MESSAGES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "ack": {"frame": _integer(0, 0xFFFFFFFF)},
    "camera": {
        "stamp": STAMP,
        "target": _point,
        "yaw": _number(-1e6, 1e6),
        "pitch": _number(-UPRIGHT, UPRIGHT),
        "distance": _number(1e-6, 1e9),
        "fov": _number(5.0, 120.0),
    },
    "size": {"width": _integer(16, MAX_SIDE), "height": _integer(16, MAX_SIDE)},
    "options": {
        "stamp": STAMP,
        "channel": _choice(*CHANNELS),
        "wireframe": _boolean,
        "flat": _boolean,
        "light": _number(-360.0, 360.0),
        "turn": _number(-360.0, 360.0),
        "theme": _choice("dark", "light"),
        "view": _integer(-1, 1_000_000),
        "opacity": _number(0.0, 1.0),
        "frusta": _boolean,
    },
    "run": {"do": _choice("pause", "resume", "step")},
    "rate": {"name": _text, "value": _number(0.0, 1e6)},
    "save": {"what": _choice("screenshot", "turntable", "mesh")},
}


def parse(message: str | bytes) -> tuple[str, dict[str, Any]]:
    """Type and checked fields of a message up. Raises `ValueError` that says what is wrong with it."""
    if not isinstance(message, str):
        raise ValueError("expected text but got a binary message")
    try:
        content = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise ValueError(f"unknown type of message {kind!r:.60}")
    checked = {}
    for name, check in MESSAGES[kind].items():
        if name not in content:
            raise ValueError(f"{kind}: {name} is missing")
        try:
            checked[name] = check(content[name])
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{kind}: {name}: {error}") from None
    return kind, checked


def pose_of(message: dict[str, Any]) -> Pose:
    """The pose in the fields of a camera message."""
    return Pose(**{f.name: message[f.name] for f in fields(Pose)})
