"""What page and server say to each other: frames with a binary header down, JSON up and down.

A binary message down is `HEADER` and a file's bytes (JPEG for a frame, and for the thumbnails of all photographs in one
picture of square tiles, whose side stands in the flags). Messages up are JSON objects with a ``type``; `parse` turns
one into checked, clamped values or raises ``ValueError``, so that nothing behind it sees a number that is not finite or
a name that does not exist.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

from .orbit import Pose
from .shown import CHANNELS

VERSION = 1

# version, kind, flags, frame id, input time stamp of the page (ms), width, height, microseconds of drawing;
# little-endian
HEADER = struct.Struct("<BBHIdHHI")
FRAME, PNG, MP4, GLB, THUMBNAILS = 1, 2, 3, 4, 5
FULL = 1  # flag: full resolution

MAX_MESSAGE = 4096  # bytes of a message up; the longest honest one has about 250
MAX_SIDE = 4096  # pixels


def pack(
    kind: int,
    data: bytes,
    *,
    frame: int = 0,
    stamp: float = 0.0,
    width: int = 0,
    height: int = 0,
    flags: int = 0,
    seconds: float = 0.0,
) -> bytes:
    """A binary message."""
    micros = min(round(1e6 * seconds), 0xFFFFFFFF)
    return HEADER.pack(VERSION, kind, flags, frame & 0xFFFFFFFF, stamp, width, height, micros) + data


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """The header's fields by name, and the data."""
    names = ("version", "kind", "flags", "frame", "stamp", "width", "height", "micros")
    return dict(zip(names, HEADER.unpack_from(message), strict=True)), message[HEADER.size :]


def _number(low: float, high: float) -> Callable[[Any], float]:
    """Finite numbers, moved into ``low..high``."""

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
UPRIGHT = math.radians(89.5)  # straight up or down there is no horizon to keep level

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
    """Type and checked fields of a message up. Raises ``ValueError`` that says what is wrong with it."""
    if not isinstance(message, str):
        raise ValueError("expected text but got a binary message")
    try:
        content = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise ValueError(f"unknown type of message {kind!r:.60}")
    fields = {}
    for name, check in MESSAGES[kind].items():
        if name not in content:
            raise ValueError(f"{kind}: {name} is missing")
        try:
            fields[name] = check(content[name])
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{kind}: {name}: {error}") from None
    return kind, fields


def pose_of(fields: dict[str, Any]) -> Pose:
    """The pose in the fields of a camera message."""
    return Pose(**{name: fields[name] for name in ("target", "yaw", "pitch", "distance", "fov")})
