"""Reading posed photographs: one reader per layout, one table of layouts.

Image origin, axes and colour coding of each layout end here: what comes out is :class:`View` with our conventions
(row 0 at the bottom, camera along -z). Every fault of the input is a ``ValueError`` of one sentence that names the
file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..scene.camera import Camera
from ..scene.image import load_image


@dataclass
class View:
    """One photograph. ``rgb`` float32 ``[H, W, 3]``, display (sRGB-coded) values in 0..1, straight alpha;
    ``alpha`` float32 ``[H, W]`` coverage of the object, None until a mask is known; ``doubt`` bool ``[H, W]``: pixels
    outside of the mask that may yet show the object (None: no doubt); ``turn``: quarter turns, counter-clockwise, that the
    stored picture has over its calibration."""

    name: str
    path: Path
    rgb: torch.Tensor
    alpha: torch.Tensor | None
    camera: Camera
    doubt: torch.Tensor | None = None
    turn: int = 0


def read_views(folder: str | os.PathLike) -> list[View]:
    """The views of a data set, whatever its layout. Raises ``ValueError`` that names the file at fault."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"data set {folder} is not a folder")
    for pattern, reader in LAYOUTS.items():
        found = sorted(folder.glob(pattern))
        if found:
            views = reader(found[0])
            if len(views) < 3:
                raise ValueError(f"{found[0]} lists {len(views)} views; a reconstruction needs at least 3")
            return views
    raise ValueError(f"data set {folder} has no known layout: expected one of {', '.join(LAYOUTS)} in it")


def _picture(folder: Path, name: str, listed_in: Path) -> Path:
    """The path of a picture that a data set names, with or without its extension; it must lie in the folder."""
    relative = Path(os.path.normpath(name.replace("\\", "/")))
    if relative.is_absolute() or relative.parts[:1] == ("..",):
        raise ValueError(f"{listed_in} names an image outside the data set's folder: {name}")
    path = folder / relative
    for candidate in (path, *(path.with_name(path.name + s) for s in (".png", ".jpg", ".jpeg"))):
        if candidate.is_file():
            return candidate
    raise ValueError(f"image {path} does not exist (listed in {listed_in})")


def _finite(values, shape: tuple[int, ...], what: str, path: Path) -> torch.Tensor:
    try:
        t = torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        t = torch.empty(0)
    if tuple(t.shape) not in (shape, (4, 4) if shape == (3, 4) else shape):
        raise ValueError(f"{path}: {what} must hold {'x'.join(map(str, shape))} numbers")
    if not torch.isfinite(t).all():
        raise ValueError(f"{path}: {what} holds a number that is not finite")
    return t


def _pose(rotation: torch.Tensor, what: str, path: Path) -> None:
    """Refuse what is no rotation: a mirrored or scaled pose would silently reconstruct a wrong object."""
    gram = rotation @ rotation.T
    if (gram - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or torch.linalg.det(rotation) < 0:
        raise ValueError(f"{path}: the rotation part of {what} is not a rotation")


def _same_size(views: list[View], path: Path) -> list[View]:
    for v in views[1:]:
        if v.rgb.shape != views[0].rgb.shape:
            a, b = views[0], v
            raise ValueError(
                f"image sizes disagree: {a.path} is {a.rgb.shape[1]}x{a.rgb.shape[0]} and {b.path} is "
                f"{b.rgb.shape[1]}x{b.rgb.shape[0]} (both listed in {path})"
            )
    return views


def _split(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Picture ``[H, W, 1|3|4]`` to colour ``[H, W, 3]`` and alpha ``[H, W]``; an alpha of one everywhere says nothing."""
    alpha = image[..., 3].contiguous() if image.shape[-1] == 4 else None
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    rgb = image[..., :3] if image.shape[-1] >= 3 else image.expand(-1, -1, 3)
    return rgb.contiguous(), alpha


def read_nerf(path: Path) -> list[View]:
    """NeRF-synthetic (Mildenhall et al. 2020): camera-to-world matrices with OpenGL axes, ``camera_angle_x`` or
    (instant-ngp) ``fl_x``, ``fl_y``, ``cx``, ``cy`` in pixels from the top left corner; pictures with straight alpha."""
    try:
        scene = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    frames = scene.get("frames") if isinstance(scene, dict) else None
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        raise ValueError(f"{path}: 'frames' must be a list of objects")
    views = []
    for i, frame in enumerate(frames):
        missing = [k for k in ("file_path", "transform_matrix") if k not in frame]
        if missing or not isinstance(frame["file_path"], str):
            raise ValueError(f"{path}: frame {i} has no {' and no '.join(missing) or 'text as file_path'}")
        what = f"transform_matrix of frame {i} ({frame['file_path']})"
        matrix = _finite(frame["transform_matrix"], (3, 4), what, path)
        _pose(matrix[:3, :3], what, path)
        picture = _picture(path.parent, frame["file_path"], path)
        rgb, alpha = _split(load_image(picture, linear=False))
        height, width = rgb.shape[:2]
        K = _nerf_intrinsics({**scene, **frame}, width, height, path)
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3] = matrix[:3, :3].T
        view[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
        views.append(View(picture.stem, picture, rgb, alpha, Camera(K, view, width, height)))
    return _same_size(views, path)


def _nerf_intrinsics(fields: dict, width: int, height: int, path: Path) -> torch.Tensor:
    number = {k: fields[k] for k in ("camera_angle_x", "fl_x", "fl_y", "cx", "cy") if k in fields}
    for key, value in number.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{path}: {key} must be a finite number; got {value!r}")
    if "fl_x" in number:
        fx = number["fl_x"]
    elif 0 < number.get("camera_angle_x", 0) < math.pi:
        fx = 0.5 * width / math.tan(0.5 * number["camera_angle_x"])
    else:
        raise ValueError(f"{path}: camera_angle_x (radians, between 0 and pi) or fl_x (pixels) is needed")
    fy = number.get("fl_y", fx)
    if not (fx > 0 and fy > 0):
        raise ValueError(f"{path}: focal lengths must be positive; got fl_x={fx}, fl_y={fy}")
    cx, cy = number.get("cx", width / 2), height - number.get("cy", height / 2)
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def read_middlebury(path: Path) -> list[View]:
    """Middlebury multi-view stereo (Seitz et al. 2006): per line the image's name, K, R and t, world to camera with x
    right, y down, z ahead; pixel (0, 0) is the centre of the top left pixel. No masks."""
    lines = [
        line.split()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    if not lines or len(lines[0]) != 1 or not lines[0][0].isdigit():
        raise ValueError(f"{path}: the first line must be the number of images")
    if int(lines[0][0]) != len(lines) - 1:
        raise ValueError(
            f"{path}: the first line says {lines[0][0]} images but {len(lines) - 1} lines follow"
        )
    views = []
    for fields in lines[1:]:
        name, what = fields[0], f"the line of {fields[0]}"
        try:
            numbers = [float(x) for x in fields[1:]]
        except ValueError as error:
            raise ValueError(f"{path}: {what} must hold 21 numbers after the name ({error})") from error
        values = _finite(numbers, (21,), what, path)
        K, R, t = values[:9].reshape(3, 3), values[9:18].reshape(3, 3), values[18:]
        _pose(R, f"R in {what}", path)
        if not (K[0, 0] > 0 and K[1, 1] > 0 and K[2, 2] != 0):
            raise ValueError(f"{path}: focal lengths in {what} must be positive")
        picture = _picture(path.parent, name, path)
        rgb, alpha = _split(load_image(picture, linear=False))
        height, width = rgb.shape[:2]
        K = K / K[2, 2]
        if _is_turned(K, width, height):
            width, height = height, width
        # y up from the bottom edge instead of down from the top pixel's centre: y' = height - (y + 1/2).
        ours = torch.tensor(
            [[K[0, 0], -K[0, 1], K[0, 2] + 0.5], [0, K[1, 1], height - 0.5 - K[1, 2]], [0, 0, 1]],
            dtype=torch.float64,
        )
        flip = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3], view[:3, 3] = flip[:, None] * R, flip * t
        views.append(View(picture.stem, picture, rgb, alpha, Camera(ours, view, width, height)))
    return _same_size(views, path)


def _is_turned(K: torch.Tensor, width: int, height: int) -> bool:
    """Does the principal point say that the photograph was turned by a quarter since it was calibrated? Picture
    viewers do that to stored photographs to show them upright; which way, ``orient.py`` finds out."""
    x, y = 2 * float(K[0, 2]) + 1, 2 * float(K[1, 2]) + 1
    return abs(x - height) + abs(y - width) < abs(x - width) + abs(y - height)


LAYOUTS: dict[str, Callable[[Path], list[View]]] = {
    "transforms_train.json": read_nerf,
    "transforms.json": read_nerf,
    "*_par.txt": read_middlebury,
}


def held_out(count: int, holdout: int) -> list[int]:
    """Indices of ``holdout`` of ``count`` views, spread evenly. At least three views must remain."""
    if not 0 <= holdout <= count - 3:
        raise ValueError(f"--holdout must lie between 0 and {count - 3} for {count} views; got {holdout}")
    return [int((i + 0.5) * count / holdout) for i in range(holdout)]
