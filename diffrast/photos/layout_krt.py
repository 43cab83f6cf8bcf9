"""The plainest layout: beside each image a text file of the same name with its camera."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from ..camera.camera import Camera
from .photo import SUFFIXES
from .views import Entry, check_rotation, finite


def read_krt(path: Path) -> list[Entry]:
    """For each image `NAME.png` (or .jpg ...) a file `NAME.txt` of numbers, apart by white space or commas::

        # K: pixels; (0, 0) is the centre of the top left pixel, x right, y down
        fx  s  cx
         0 fy  cy
         0  0   1
        # [R | t]: x = K (R X + t), world to camera, x right, y down, z ahead
        r11 r12 r13 t1
        r21 r22 r23 t2
        r31 r32 r33 t3
        # optional: the lens's distortion k1 k2 p1 p2

    as OpenCV has them. What follows a `#` is a comment. `path` is any of the text files; one without an image
    of its name is left aside, so that there may be a README."""
    entries = []
    for file in sorted(path.parent.glob("*.txt")):
        image = next((p for s in SUFFIXES if (p := file.with_suffix(s)).is_file()), None)
        if image is not None:
            K, R, t, lens = _numbers(file)
            entries.append(Entry(image, partial(Camera.from_opencv, K, R, t), lens))
    return entries


def _numbers(path: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[float, ...]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    words = " ".join(line.split("#")[0] for line in lines).replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{path} must hold numbers and comments only: {error}") from error
    if len(numbers) not in (21, 25):
        raise ValueError(
            f"{path} must hold K (9 numbers), [R | t] (12) and perhaps k1 k2 p1 p2; got {len(numbers)} numbers"
        )
    values = finite(numbers, (len(numbers),), "the camera", path)
    K, pose = values[:9].reshape(3, 3), values[9:21].reshape(3, 4)
    if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2, 2] > 0) or K[[1, 2, 2], [0, 0, 1]].any():
        raise ValueError(f"{path}: K must be upper triangular with positive focal lengths; got {K.tolist()}")
    return K / K[2, 2], check_rotation(pose[:, :3], "[R | t]", path), pose[:, 3], tuple(numbers[21:])
