"""The layout of Middlebury's multi-view stereo: `*_par.txt`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..camera.camera import Camera
from .views import Entry, check_rotation, finite, image_path


def read_middlebury(path: Path) -> list[Entry]:
    """Middlebury multi-view stereo (Seitz et al. 2006): per line the image's name, K, R and t, world to camera with x
    right, y down, z ahead; pixel (0, 0) is the centre of the top left pixel. No masks."""
    lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if not lines or len(lines[0]) != 1 or not lines[0][0].isdigit():
        raise ValueError(f"{path}: the first line must be the number of images")
    if int(lines[0][0]) != len(lines) - 1:
        raise ValueError(f"{path}: the first line says {lines[0][0]} images but {len(lines) - 1} lines follow")
    entries = []
    for fields in lines[1:]:
        name, what = fields[0], f"the line of {fields[0]}"
        try:
            numbers = [float(x) for x in fields[1:]]
        except ValueError as error:
            raise ValueError(f"{path}: {what} must hold 21 numbers after the name ({error})") from error
        values = finite(numbers, (21,), what, path)
        K, R, t = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:]
        R = check_rotation(R, f"R in {what}", path)
        if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2, 2] != 0):
            raise ValueError(f"{path}: focal lengths in {what} must be positive")
        entries.append(Entry(image_path(path.parent, name, path), _camera_of(K / K[2, 2], R, t)))
    return entries


def _camera_of(K: torch.Tensor, R: torch.Tensor, t: torch.Tensor) -> Callable[[tuple[int, int]], Camera]:
    return lambda size: Camera.from_opencv(K, R, t, size[::-1] if _is_turned(K, *size) else size)


def _is_turned(K: torch.Tensor, width: int, height: int) -> bool:
    """Does the principal point say that the photograph was turned by a quarter since it was calibrated? Image
    viewers do that to stored photographs to show them upright; which way, `orient.py` finds out."""
    x, y = 2 * float(K[0, 2]) + 1, 2 * float(K[1, 2]) + 1
    return abs(x - height) + abs(y - width) < abs(x - width) + abs(y - height)
