"""The layout of NeRF-synthetic, instant-ngp and nerfstudio: `transforms*.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from ..camera.camera import Camera
from .views import Entry, check_rotation, finite, image_path, number

LENS = ("k1", "k2", "p1", "p2")
LENGTHS = ("camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h")


def read_nerf(path: Path) -> list[Entry]:
    """NeRF-synthetic (Mildenhall et al. 2020): camera-to-world matrices with OpenGL axes and `camera_angle_x`; or
    (instant-ngp) `fl_x`, `fl_y`, `cx`, `cy` in pixels from the top left corner of an image of `w` x `h`, and the lens's
    distortion `k1`, `k2`, `p1`, `p2`. Each may stand in a frame as well, where it goes before the scene's. Images have
    straight alpha, or a mask that the frame names in `mask_path`, or one in a folder (data.py)."""
    try:
        scene = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    frames = scene.get("frames") if isinstance(scene, dict) else None
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        raise ValueError(f"{path}: 'frames' must be a list of objects")
    return [_entry(i, frame, {**scene, **frame}, path) for i, frame in enumerate(frames)]


def _entry(i: int, frame: dict, fields: dict, path: Path) -> Entry:
    missing = [k for k in ("file_path", "transform_matrix") if k not in frame]
    if missing or not isinstance(frame["file_path"], str):
        raise ValueError(f"{path}: frame {i} has no {' and no '.join(missing) or 'text as file_path'}")
    what = f"transform_matrix of frame {i} ({frame['file_path']})"
    matrix = finite(frame["transform_matrix"], (3, 4), what, path)
    R = check_rotation(matrix[:3, :3], what, path).T
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3] = R
    view[:3, 3] = -R @ matrix[:3, 3]
    lengths = {k: number(fields[k], k, path) for k in LENGTHS if k in fields}
    mask = frame.get("mask_path")
    if mask is not None and not isinstance(mask, str):
        raise ValueError(f"{path}: frame {i} has no text as mask_path")

    return Entry(
        image_path(path.parent, frame["file_path"], path),
        lambda size: Camera(_intrinsics(lengths, *size, path), view, *size),
        _lens(fields, path),
        None if mask is None else image_path(path.parent, mask, path),
    )


def _lens(fields: dict, path: Path) -> tuple[float, ...]:
    higher = [k for k in ("k3", "k4", "k5", "k6") if fields.get(k)]
    model = str(fields.get("camera_model", ""))
    if higher or fields.get("is_fisheye") or "FISHEYE" in model.upper():
        raise ValueError(
            f"{path}: of lens distortion k1, k2, p1 and p2 are known; got {higher[0] if higher else 'a fisheye lens'}: "
            "undistort the images first"
        )
    return tuple(number(fields.get(k, 0.0), k, path) for k in LENS)


def _intrinsics(n: dict[str, float], width: int, height: int, path: Path) -> torch.Tensor:
    """K for the image, which may be smaller than the one that was calibrated."""
    w, h = n.get("w", width), n.get("h", height)
    if not (w > 0 and h > 0):
        raise ValueError(f"{path}: w and h must be positive; got w={w:g}, h={h:g}")
    fx, fy = _focal(n, "fl_x", "camera_angle_x", w, path), _focal(n, "fl_y", "camera_angle_y", h, path)
    if fx is None:
        raise ValueError(f"{path}: camera_angle_x (radians, between 0 and pi) or fl_x (pixels) is needed")
    fy = fx if fy is None else fy
    if not (fx > 0 and fy > 0):
        raise ValueError(f"{path}: focal lengths must be positive; got fl_x={fx:g}, fl_y={fy:g}")
    cx, cy = n.get("cx", w / 2), h - n.get("cy", h / 2)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    return torch.tensor([width / w, height / h, 1.0], dtype=torch.float64)[:, None] * K


def _focal(n: dict[str, float], key: str, angle: str, side: float, path: Path) -> float | None:
    if key in n or angle not in n:
        return n.get(key)
    if not 0 < n[angle] < math.pi:
        raise ValueError(f"{path}: {angle} (radians, between 0 and pi) is out of range; got {n[angle]:g}")
    return 0.5 * side / math.tan(0.5 * n[angle])
