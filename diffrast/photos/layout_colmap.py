"""The layout of COLMAP: a sparse model, text or binary, beside a folder `images` (colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from ..camera.camera import Camera
from ..camera.conventions import COLMAP_MODELS, colmap_intrinsics
from ..mesh.rotation import quaternion_to_rotation
from .views import Entry, finite, image_path

T = TypeVar("T")
# Camera models in the order of their numbers in binary files, and how many parameters each has.
MODELS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
}


@dataclass
class Lens:
    """One of the model's cameras, as COLMAP writes it."""

    model: str
    width: int
    height: int
    parameters: list[float]


@dataclass
class Shot:
    """One registered image: unit quaternion (w, x, y, z) and translation of the world in front of the camera."""

    name: str
    lens: int
    rotation: list[float]
    translation: list[float]


def read_colmap(path: Path) -> list[Entry]:
    """`path` is the model's `images.bin` or `images.txt`; the images lie in `images` of the data set's folder, and may
    be smaller than those that the model was made from. Of lenses that distort, those of k1, k2, p1 and p2 are known."""
    model = path.parent
    folder = model.parent if model.name != "0" else model.parent.parent
    lenses = _read(path.with_name("cameras" + path.suffix), _lenses_binary, _lenses_text)
    shots = _read(path, _shots_binary, _shots_text)
    entries = []
    for shot in sorted(shots, key=lambda s: s.name):
        if shot.lens not in lenses:
            raise ValueError(f"{path}: image {shot.name} has camera {shot.lens}, which the model does not have")
        lens = lenses[shot.lens]
        K, bent = _intrinsics(lens, path)
        R = _rotation(finite(shot.rotation, (4,), f"the quaternion of {shot.name}", path), shot.name, path)
        t = finite(shot.translation, (3,), f"the translation of {shot.name}", path)
        full = Camera.from_opencv(K, R, t, (lens.width, lens.height), first_pixel=0.5)
        image = image_path(folder / "images", shot.name, path)
        entries.append(Entry(image, lambda size, full=full: full.resized(*size), bent))
    return entries


def _intrinsics(lens: Lens, path: Path) -> tuple[torch.Tensor, tuple[float, ...]]:
    """K `[3, 3]`, pixels from the top left corner, and (k1, k2, p1, p2)."""
    model, parameters = lens.model, lens.parameters
    if model == "FULL_OPENCV" and not any(parameters[8:]):
        model, parameters = "OPENCV", parameters[:8]
    if model not in COLMAP_MODELS:
        raise ValueError(
            f"{path.parent}: the distortion of a {model} lens is not known here; undistort the images first, with "
            "`colmap image_undistorter`"
        )
    K, bent = colmap_intrinsics(model, parameters)
    K = finite(K.tolist(), (3, 3), "the lens", path.parent)
    bent = tuple(finite(bent, (4,), "the lens's distortion", path.parent).tolist())
    if not (K[0, 0] > 0 and K[1, 1] > 0 and lens.width > 0 and lens.height > 0):
        raise ValueError(f"{path.parent}: focal lengths and sizes of lenses must be positive; got {lens}")
    return K, bent


def _rotation(q: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    if abs(float(q.norm()) - 1) > 1e-2:
        raise ValueError(f"{path}: the quaternion of {name} must have length 1; got {float(q.norm()):g}")
    return quaternion_to_rotation(q)


# --- Files ------------------------------------------------------------------------------------------------------------


def _read(path: Path, binary: Callable[[Reader], T], text: Callable[[list[list[str]]], T]) -> T:
    """What the file holds; faults of its format are errors that name it."""
    if not path.is_file():
        raise ValueError(f"COLMAP model {path.parent} has no {path.name}")
    try:
        return binary(Reader(path.read_bytes())) if path.suffix == ".bin" else text(list(_lines(path)))
    except (struct.error, IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no COLMAP model, or is cut short: {error}") from error


class Reader:
    """Numbers one after another, little-endian."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __call__(self, layout: str) -> tuple:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def text(self) -> str:
        """Up to the next zero byte."""
        end = self.data.index(b"\0", self.at)
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("utf-8")


def _lenses_binary(read: Reader) -> dict[int, Lens]:
    lenses = {}
    for _ in range(read("Q")[0]):
        number, model, width, height = read("iiQQ")
        name = list(MODELS)[model]
        lenses[number] = Lens(name, width, height, list(read(f"{MODELS[name]}d")))
    return lenses


def _shots_binary(read: Reader) -> list[Shot]:
    shots = []
    for _ in range(read("Q")[0]):
        _, *pose, lens = read("I7dI")
        name = read.text()
        seen = read("Q")[0]
        read.at += 24 * seen  # x, y and a number of each point
        shots.append(Shot(name, lens, pose[:4], pose[4:]))
    return shots


def _lines(path: Path) -> Iterator[list[str]]:
    """Fields of the lines that are no comments; an empty line is a line (an image that sees no point)."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line.split()


def _lenses_text(lines: list[list[str]]) -> dict[int, Lens]:
    lenses = {}
    for number, model, width, height, *parameters in filter(None, lines):
        if len(parameters) != MODELS[model]:
            raise ValueError(f"camera {number} must have {MODELS[model]} parameters; got {len(parameters)}")
        lenses[int(number)] = Lens(model, int(width), int(height), [float(p) for p in parameters])
    return lenses


def _shots_text(lines: list[list[str]]) -> list[Shot]:
    shots = []
    for fields in filter(None, lines[::2]):  # every other line lists the points seen
        pose = [float(x) for x in fields[1:8]]
        shots.append(Shot(" ".join(fields[9:]), int(fields[8]), pose[:4], pose[4:]))
    return shots
