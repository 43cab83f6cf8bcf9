"""The layout of COLMAP: a sparse model, text or binary, beside a folder `images` (colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..scene.image import load_image
from .views import View, finite, from_opencv, picture_path, same_size, split_alpha

# Camera models in the order of their numbers in binary files, and how many parameters each has.
MODELS = {
    "SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8, "OPENCV_FISHEYE": 8, "FULL_OPENCV": 12,
    "FOV": 5, "SIMPLE_RADIAL_FISHEYE": 4, "RADIAL_FISHEYE": 5, "THIN_PRISM_FISHEYE": 12,
}  # fmt: skip
# Where fx, fy, cx, cy are among the parameters.
FOCAL = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "SIMPLE_RADIAL": (0, 0, 1, 2),
    "RADIAL": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "OPENCV": (0, 1, 2, 3),
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


def read_colmap(path: Path) -> list[View]:
    """``path`` is the model's ``images.bin`` or ``images.txt``; the pictures lie in ``images`` of the data set's folder.

    Lenses must be free of distortion (``colmap image_undistorter`` makes such pictures)."""
    model = path.parent
    folder = model.parent if model.name != "0" else model.parent.parent
    lenses = _read(path.with_name("cameras" + path.suffix), _lenses_binary, _lenses_text)
    shots = _read(path, _shots_binary, _shots_text)
    views = []
    for shot in sorted(shots, key=lambda s: s.name):
        if shot.lens not in lenses:
            raise ValueError(
                f"{path}: image {shot.name} has camera {shot.lens}, which the model does not have"
            )
        lens = lenses[shot.lens]
        picture = picture_path(folder / "images", shot.name, path)
        rgb, alpha = split_alpha(load_image(picture, linear=False))
        height, width = rgb.shape[:2]
        K = _matrix(lens, path)
        K[0] *= width / lens.width  # pictures may be smaller than those the model was made from
        K[1] *= height / lens.height
        R = _rotation(finite(shot.rotation, (4,), f"the quaternion of {shot.name}", path), shot.name, path)
        t = finite(shot.translation, (3,), f"the translation of {shot.name}", path)
        camera = from_opencv(K, R, t, width, height, centre=0.5)
        views.append(View(picture.stem, picture, rgb, alpha, camera))
    return same_size(views, path)


def _matrix(lens: Lens, path: Path) -> torch.Tensor:
    if lens.model not in FOCAL or any(lens.parameters[max(FOCAL[lens.model]) + 1 :]):
        raise ValueError(
            f"{path.parent}: pictures of a {lens.model} lens are distorted; undistort them first, with `colmap image_undistorter`"
        )
    fx, fy, cx, cy = (lens.parameters[k] for k in FOCAL[lens.model])
    K = finite([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], (3, 3), "the lens", path.parent)
    if not (fx > 0 and fy > 0 and lens.width > 0 and lens.height > 0):
        raise ValueError(f"{path.parent}: focal lengths and sizes of lenses must be positive; got {lens}")
    return K


def _rotation(q: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    """The matrix ``[3, 3]`` of a quaternion (w, x, y, z)."""
    if abs(float(q.norm()) - 1) > 1e-2:
        raise ValueError(f"{path}: the quaternion of {name} must have length 1; got {float(q.norm()):g}")
    w, x, y, z = (q / q.norm()).tolist()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.tensor(rows, dtype=torch.float64)


# --- Files -----------------------------------------------------------------------------------------------------------------


def _read(path: Path, binary, text):
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
    for fields in lines[::2]:  # every other line lists the points seen
        if not fields:
            continue
        pose = [float(x) for x in fields[1:8]]
        shots.append(Shot(" ".join(fields[9:]), int(fields[8]), pose[:4], pose[4:]))
    return shots
