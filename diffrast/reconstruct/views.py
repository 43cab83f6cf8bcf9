"""A posed photograph, and what readers of all layouts check."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ..scene.camera import Camera


@dataclass
class View:
    """One photograph. ``rgb`` float32 ``[H, W, 3]``, display (sRGB-coded) values in 0..1, straight alpha;
    ``alpha`` float32 ``[H, W]`` coverage of the object, None until a mask is known; ``doubt`` bool ``[H, W]``: pixels
    outside of the mask that may yet show the object (None: no doubt); ``turn``: quarter turns, counter-clockwise, that the
    stored picture has over its calibration; ``mask``: a file that holds the mask, where the data set brings one."""

    name: str
    path: Path
    rgb: torch.Tensor
    alpha: torch.Tensor | None
    camera: Camera
    doubt: torch.Tensor | None = None
    turn: int = 0
    mask: Path | None = None


def picture_path(folder: Path, name: str, listed_in: Path) -> Path:
    """The path of a picture that a data set names, with or without its extension; it must lie in the folder."""
    relative = Path(os.path.normpath(name.replace("\\", "/")))
    if relative.is_absolute() or relative.parts[:1] == ("..",):
        raise ValueError(f"{listed_in} names an image outside the data set's folder: {name}")
    path = folder / relative
    for candidate in (path, *(path.with_name(path.name + s) for s in (".png", ".jpg", ".jpeg"))):
        if candidate.is_file():
            return candidate
    raise ValueError(f"image {path} does not exist (listed in {listed_in})")


def finite(values, shape: tuple[int, ...], what: str, path: Path) -> torch.Tensor:
    try:
        t = torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        t = torch.empty(0)
    if tuple(t.shape) not in (shape, (4, 4) if shape == (3, 4) else shape):
        raise ValueError(f"{path}: {what} must hold {'x'.join(map(str, shape))} numbers")
    if not torch.isfinite(t).all():
        raise ValueError(f"{path}: {what} holds a number that is not finite")
    return t


def check_rotation(rotation: torch.Tensor, what: str, path: Path) -> None:
    """Refuse what is no rotation: a mirrored or scaled pose would silently reconstruct a wrong object."""
    gram = rotation @ rotation.T
    if (gram - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or torch.linalg.det(rotation) < 0:
        raise ValueError(f"{path}: the rotation part of {what} is not a rotation")


def same_size(views: list[View], path: Path) -> list[View]:
    for v in views[1:]:
        if v.rgb.shape != views[0].rgb.shape:
            a, b = views[0], v
            raise ValueError(
                f"image sizes disagree: {a.path} is {a.rgb.shape[1]}x{a.rgb.shape[0]} and {b.path} is "
                f"{b.rgb.shape[1]}x{b.rgb.shape[0]} (both listed in {path})"
            )
    return views


def split_alpha(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Picture ``[H, W, 1|3|4]`` to colour ``[H, W, 3]`` and alpha ``[H, W]``; an alpha of one everywhere says nothing."""
    alpha = image[..., 3].contiguous() if image.shape[-1] == 4 else None
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    rgb = image[..., :3] if image.shape[-1] >= 3 else image.expand(-1, -1, 3)
    return rgb.contiguous(), alpha


def from_opencv(
    K: torch.Tensor, R: torch.Tensor, t: torch.Tensor, width: int, height: int, centre: float = 0.0
) -> Camera:
    """Our camera of one with x right, y down and z ahead: ``K`` ``[3, 3]``, world to camera ``R`` ``[3, 3]``, ``t`` ``[3]``.

    centre: the coordinate of the first pixel's centre; 0 where pixel (0, 0) is the centre of the first pixel, 0.5 where
    coordinates begin at the picture's corner."""
    shift = 0.5 - centre
    K = K / K[2, 2]
    # y up from the bottom edge instead of down from the top.
    ours = torch.tensor(
        [[K[0, 0], -K[0, 1], K[0, 2] + shift], [0, K[1, 1], height - shift - K[1, 2]], [0, 0, 1]],
        dtype=torch.float64,
    )
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3], view[:3, 3] = flip[:, None] * R, flip * t
    return Camera(ours, view, width, height)
