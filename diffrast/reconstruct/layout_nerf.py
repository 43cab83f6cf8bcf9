"""The layout of NeRF-synthetic and instant-ngp: `transforms*.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from ..scene.camera import Camera
from ..scene.image import load_image
from .views import View, check_rotation, finite, picture_path, same_size, split_alpha


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
        matrix = finite(frame["transform_matrix"], (3, 4), what, path)
        check_rotation(matrix[:3, :3], what, path)
        picture = picture_path(path.parent, frame["file_path"], path)
        rgb, alpha = split_alpha(load_image(picture, linear=False))
        height, width = rgb.shape[:2]
        K = _nerf_intrinsics({**scene, **frame}, width, height, path)
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3] = matrix[:3, :3].T
        view[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
        views.append(View(picture.stem, picture, rgb, alpha, Camera(K, view, width, height)))
    return same_size(views, path)


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
