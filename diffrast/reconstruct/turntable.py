"""The turntable film: the textured mesh beside its bare shape, once around."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import torch

from ..camera.camera import Camera, look_at
from ..fitting.appearance import Textured
from ..fitting.targets import SAMPLES
from ..io.atomic import atomic_path
from ..io.image import to_uint8
from ..mesh.mesh import Mesh
from ..photos.data import View
from ..scene.passes import clip_matrices, render_clay, to_clip


def upright(views: list[View], center: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Up, as the photographs on average are held, and the direction at a right angle to it from which the photograph
    taken most nearly from the side looks: unit vectors ``[3]``."""
    up = torch.stack([v.camera.world_to_camera[1, :3] for v in views]).mean(dim=0)
    up = up / up.norm() if up.norm() > 1e-3 else torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    away = torch.stack([torch.nn.functional.normalize(v.camera.center - center, dim=0) for v in views])
    front = away[int((away @ up).abs().argmin())]
    return up, torch.nn.functional.normalize(front - (front @ up) * up, dim=0)


def orbit(views: list[View], box: np.ndarray, count: int, size: int) -> list[Camera]:
    """Cameras around the middle of ``box``: upright as the photographs on average are, a little above their middle."""
    center = torch.from_numpy(box.mean(axis=0))
    up, front = upright(views, center)
    away = torch.stack([torch.nn.functional.normalize(v.camera.center - center, dim=0) for v in views])
    elevation = float(np.clip(torch.asin((away @ up).clamp(-1, 1)).mean().item(), 0.15, 0.6))
    side = torch.linalg.cross(up, front)
    fov = math.radians(30)
    distance = 0.5 * float(np.linalg.norm(box[1] - box[0])) / math.sin(fov / 2)
    cameras = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        around = math.cos(angle) * front + math.sin(angle) * side
        eye = center + distance * (math.cos(elevation) * around + math.sin(elevation) * up)
        cameras.append(look_at(eye, center, up, fov_y=fov, width=size, height=size))
    return cameras


def film_frames(ctx, model: Textured, views: list[View], count: int, size: int) -> list[np.ndarray]:
    """``count`` frames uint8 ``[size, 2 * size, 3]``, row 0 at the top: texture on the left, shape on the right."""
    frames = []
    mesh = Mesh(model.vertices, model.faces)
    own_box = torch.stack([model.vertices.amin(0), model.vertices.amax(0)])
    for camera in orbit(views, own_box.double().cpu().numpy(), count, size):
        matrices = clip_matrices([camera], own_box)
        with torch.no_grad():
            clip = to_clip(mesh.vertices, matrices)
            picture = model.draw(ctx, clip, camera, (size, size), SAMPLES)[0, ..., :3]
            clay = render_clay(ctx, clip, mesh, camera, (size, size), SAMPLES)[0]
        frames.append(to_uint8(torch.cat([picture, clay], dim=1), linear=False))
    return frames


def write_film(folder: Path, frames: list[np.ndarray], fps: int = 15) -> Path:
    """``turntable.mp4`` (H.264), or ``turntable.gif`` where imageio-ffmpeg is missing or cannot encode."""
    path = folder / "turntable.mp4"
    try:
        with atomic_path(path) as temporary:
            imageio.mimwrite(temporary, frames, fps=fps, codec="libx264", quality=7, macro_block_size=2)  # type: ignore[call-overload]
        return path
    except (ImportError, ValueError, RuntimeError) as error:
        logging.getLogger("diffrast").warning("turntable.mp4 cannot be encoded (%s); writing turntable.gif", error)
    path = folder / "turntable.gif"
    with atomic_path(path) as temporary:
        imageio.mimwrite(temporary, frames[::3], duration=3000 / fps, loop=0)  # type: ignore[call-overload]
    return path
