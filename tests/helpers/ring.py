"""A torus, photographed from all around."""

import functools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh

import diffrast.torch as dr
from diffrast.camera import Camera, look_at
from diffrast.fitting.loop import Progress, Run, Stop
from diffrast.photos import Pixels, View
from diffrast.reconstruct import Options
from diffrast.scene.passes import clip_matrices, draw, to_clip

BOX = torch.tensor([[-1.4, -1.4, -0.5], [1.4, 1.4, 0.5]])


def torus() -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.35, major_sections=96, minor_sections=48)


def ring_cameras(count: int, size: int) -> list[Camera]:
    cameras = []
    for i in range(count):
        e, a = math.asin(-0.9 + 1.8 * (i + 0.5) / count), 2.4 * i
        eye = 5 * np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])
        cameras.append(look_at(eye, (0, 0, 0), (0, 1, 0), fov_y=0.65, width=size, height=size))
    return cameras


def photograph(mesh: trimesh.Trimesh, camera: Camera, samples: int = 3) -> torch.Tensor:
    """RGBA [H, W, 4], display values, straight alpha: a colour pattern on the torus without any light."""
    v = torch.tensor(mesh.vertices, dtype=torch.float32)
    f = torch.tensor(mesh.faces, dtype=torch.int32)
    clip = to_clip(v, clip_matrices([camera], BOX))

    def shade(rast, _):
        return 0.5 + 0.4 * torch.sin(4 * dr.interpolate(v, rast, f)[0] + torch.tensor([0.0, 1.0, 2.0]))

    picture = draw(dr.RasterizeContext(), clip, f, camera.resolution, shade, samples=samples)[0]
    return torch.cat([(picture[..., :3] / picture[..., 3:].clamp_min(1e-6)).clamp(0, 1), picture[..., 3:]], dim=-1)


@functools.cache
def ring_views() -> list[View]:
    """14 pictures of 72 x 72 pixels. Not to be changed."""
    made = []
    for i, camera in enumerate(ring_cameras(14, 72)):
        rgba = photograph(torus(), camera)
        pixels = Pixels(rgba[..., :3].contiguous(), rgba[..., 3].contiguous())
        made.append(View(f"v{i}", Path(f"v{i}.png"), camera, pixels))
    return made


SMALL = Options(holdout=2, steps=60, progress=False, faces=1500, texture=128, frames=2)
SHORT = replace(SMALL, steps=24, faces=500, texture=64, frames=0, checkpoint=0.0)


CPU = torch.device("cpu")


def new_run() -> Run:
    return Run(Progress({}, False), Stop(), torch.Generator().manual_seed(0))
