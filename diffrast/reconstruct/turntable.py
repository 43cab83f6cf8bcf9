"""The turntable film: the textured mesh beside its bare shape, once around."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import torch
from jaxtyping import Float, UInt8

import diffrast.torch as dr

from ..camera.camera import Camera, look_at
from ..fitting.appearance import Textured
from ..fitting.targets import SAMPLES
from ..io.atomic import atomic_path
from ..io.image import to_uint8
from ..mesh.mesh import Mesh
from ..photos.views import View
from ..scene.passes import clip_matrices, render_clay, to_clip

Axis = Float[torch.Tensor, " 3"]


def upright(views: list[View], center: Axis) -> tuple[Axis, Axis]:
    """Up, as the photographs on average are held, and the direction at a right angle to it from which the photograph
    taken most nearly from the side looks: unit vectors."""
    up = torch.stack([v.camera.world_to_camera[1, :3] for v in views]).mean(dim=0)
    up = up / up.norm() if up.norm() > 1e-3 else torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    away = _away(views, center)
    front = away[int((away @ up).abs().argmin())]
    return up, torch.nn.functional.normalize(front - (front @ up) * up, dim=0)


def _away(views: list[View], center: torch.Tensor) -> torch.Tensor:
    """Directions from a point to the eyes, `[N, 3]`."""
    return torch.nn.functional.normalize(torch.stack([v.camera.center for v in views]) - center, dim=1)


def orbit(views: list[View], box: Float[torch.Tensor, "2 3"], count: int, size: int) -> list[Camera]:
    """Cameras of `size` x `size` pixels around the middle of `box`: upright as the photographs on average are, a little
    above their middle."""
    box = box.double().cpu()
    center = box.mean(dim=0)
    up, front = upright(views, center)
    elevation = float((_away(views, center) @ up).clamp(-1, 1).asin().mean().clamp(0.15, 0.6))
    side, fov = torch.linalg.cross(up, front), math.radians(30)
    distance = 0.5 * float((box[1] - box[0]).norm()) / math.sin(fov / 2)
    cameras = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        around = math.cos(angle) * front + math.sin(angle) * side
        eye = center + distance * (math.cos(elevation) * around + math.sin(elevation) * up)
        cameras.append(look_at(eye, center, up, fov_y=fov, width=size, height=size))
    return cameras


def box_of(model: Textured) -> Float[torch.Tensor, "2 3"]:
    """The lowest and the highest coordinates of the vertices."""
    return torch.stack([model.vertices.amin(0), model.vertices.amax(0)])


@torch.no_grad()
def textured_and_bare(
    ctx: dr.RasterizeContext, model: Textured, camera: Camera
) -> tuple[Float[torch.Tensor, "H W 3"], Float[torch.Tensor, "H W 3"]]:
    """The model and its bare shape as a camera sees them, display values over white."""
    clip = to_clip(model.vertices, clip_matrices([camera], box_of(model)))
    textured = model.draw(ctx, clip, camera, camera.resolution, SAMPLES)[0, ..., :3]
    return textured, render_clay(ctx, clip, Mesh(model.vertices, model.faces), camera, camera.resolution, SAMPLES)[0]


def film_frames(
    ctx: dr.RasterizeContext, model: Textured, views: list[View], count: int, size: int
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """`count` frames of `size` x 2 `size` pixels, row 0 at the top: texture on the left, shape on the right."""
    cameras = orbit(views, box_of(model), count, size)
    pairs = (textured_and_bare(ctx, model, camera) for camera in cameras)
    return [to_uint8(torch.cat(pair, dim=1), linear=False) for pair in pairs]


def write_film(folder: Path, frames: list[UInt8[np.ndarray, "H W 3"]], fps: int = 15) -> Path:
    """Writes `turntable.mp4` (H.264), or `turntable.gif` where imageio-ffmpeg is missing or cannot encode."""
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
