"""Spheres and tori as trimesh makes them, and photographs of any mesh."""

import math
from pathlib import Path

import numpy as np
import torch
import trimesh

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.fitting.geometry import Shape
from diffrast.photos import Pixels, View
from diffrast.scene.passes import clip_matrices, finish, to_clip


def sphere(level: int = 3, radius: float = 1.0, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=level, radius=radius)
    mesh.apply_translation(at)
    return mesh


def torus(sections: int = 64) -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.35, major_sections=sections, minor_sections=sections // 2)


def photographs(mesh: trimesh.Trimesh, count: int = 14, size: int = 64) -> list[View]:
    """Masks and position-coloured pictures from all around."""
    v, f = torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces, dtype=torch.int32)
    box = torch.tensor(mesh.bounds)
    views = []
    for i in range(count):
        e, a = math.asin(-0.9 + 1.8 * (i + 0.5) / count), 2.4 * i
        eye = 5 * np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])
        camera = look_at(eye, (0, 0, 0), (0, 1, 0), fov_y=0.65, width=size, height=size)
        clip = to_clip(v, clip_matrices([camera], box))
        rast, _ = dr.rasterize(dr.RasterizeContext(), clip, f, (3 * size, 3 * size))
        color, _ = dr.interpolate(0.5 + 0.4 * torch.sin(4 * v), rast, f)
        picture = finish(color, rast, clip, f, 0.0, 3)[0]
        rgb = (picture[..., :3] / picture[..., 3:].clamp_min(1e-6)).clamp(0, 1)
        views.append(View(f"v{i}", Path(f"v{i}.png"), camera, Pixels(rgb.contiguous(), picture[..., 3].contiguous())))
    return views


def shape_of(mesh: trimesh.Trimesh) -> Shape:
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32)
    return Shape(vertices, torch.tensor(mesh.faces, dtype=torch.int32), torch.full_like(vertices, 0.5))
