"""Shape from outlines and colours: vertices and vertex colours against the photographs.

Each step renders a few views, compares colour and coverage (both antialiased, so that outlines pull on vertices), and
moves the vertices with Large Steps (Nicolet et al. 2021). Colours lie on vertices here: they need no unwrapping, and
they follow the mesh through remeshing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

import diffrast.torch as dr

from ..scene.largesteps import AdamUniform, LargeSteps
from ..scene.remesh import edge_for_faces, isotropic
from ..scene.render import finish
from .hull import drop_parts
from .loop import Run, batches, cosine, optimize
from .targets import BACKGROUND, Targets


@dataclass
class Shape:
    """``vertices`` ``[V, 3]``, ``faces`` int32 ``[F, 3]`` and ``colors`` ``[V, 3]`` in display values."""

    vertices: torch.Tensor
    faces: torch.Tensor
    colors: torch.Tensor


def render_shape(ctx, clip, faces, colors, resolution, samples: int = 1) -> torch.Tensor:
    """``[B, H, W, 4]`` from clip positions ``[B, V, 4]``: vertex colours over white, and coverage. Differentiable into
    positions and colours."""
    rast, _ = dr.rasterize(ctx, clip, faces, (resolution[0] * samples, resolution[1] * samples), grad_db=False)
    color, _ = dr.interpolate(colors, rast, faces)
    return finish(color, rast, clip, faces, BACKGROUND, samples)


def fit_shape(ctx, run: Run, stage: str, shape: Shape, targets: Targets, *, steps: int, seconds: float = math.inf,
              rate: float = 1e-2, smoothness: float = 4.0, color_rate: float = 0.03, batch: int = 4,
              samples: int = 1) -> Shape:  # fmt: skip
    """Fit a shape to the targets. ``rate`` is the step of ``u`` in units of half the object's diagonal; it falls to a
    tenth. The absolute difference is used for both colour and coverage: masks have outliers."""
    radius = 0.5 * float((shape.vertices.amax(0) - shape.vertices.amin(0)).norm())
    steps_of = LargeSteps(shape.faces, len(shape.vertices), smoothness)
    u = steps_of.from_vertices(shape.vertices).requires_grad_()
    colors = shape.colors.clone().requires_grad_()
    move = AdamUniform([u], lr=rate * radius)
    paint = torch.optim.Adam([colors], lr=color_rate, betas=(0.9, 0.99))
    choose = batches(len(targets.images), batch, run.generator)

    def step(t: float) -> torch.Tensor:
        # Colours start unknown and would pull vertices astray: the shape starts to move slowly.
        move.param_groups[0]["lr"] = radius * cosine(t, rate, 0.02 * rate) * min(1.0, 0.1 + 10 * t)
        paint.param_groups[0]["lr"] = cosine(t, color_rate, 0.2 * color_rate)
        index = next(choose)
        clip = targets.clip(steps_of.to_vertices(u), index)
        picture = render_shape(ctx, clip, shape.faces, colors, targets.resolution, samples)
        loss = 4 * targets.residual(picture, index).abs().mean()
        move.zero_grad()
        paint.zero_grad()
        loss.backward()
        move.step()
        paint.step()
        return loss.detach()

    optimize(run, stage, step, steps, seconds)
    return Shape(steps_of.to_vertices(u).detach(), shape.faces, colors.detach().clamp(0, 1))


def remesh(shape: Shape, faces: int, keep: float = 0.02) -> Shape:
    """An even mesh of about ``faces`` faces with the colours carried along; small loose parts are dropped."""
    v = torch.cat([shape.vertices, shape.colors], dim=1).double().cpu().numpy()
    f = shape.faces.long().cpu().numpy()
    v, f = isotropic(v, f, edge_for_faces(v, f, faces), iterations=4)
    v, f = drop_parts(v, f, keep)
    to = shape.vertices
    return Shape(
        torch.from_numpy(np.ascontiguousarray(v[:, :3])).to(to),
        torch.from_numpy(f.astype(np.int32)).to(to.device),
        torch.from_numpy(np.ascontiguousarray(v[:, 3:])).to(to).clamp(0, 1),
    )
