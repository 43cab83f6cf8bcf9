"""Shape from outlines and colours: vertices and vertex colours against the photographs.

Each step renders a few views, compares colour and coverage (both antialiased, so that outlines pull on vertices), and
moves the vertices with Large Steps (Nicolet et al. 2021). Colours lie on vertices here: they need no unwrapping, and
they follow the mesh through remeshing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

import diffrast.torch as dr

from ..scene.passes import draw
from .fit import Rates, fit
from .loop import Run
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

    def shade(rast: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return dr.interpolate(colors, rast, faces)[0]

    return draw(ctx, clip, faces, resolution, shade, BACKGROUND, samples=samples)


def fit_shape(ctx, run: Run, stage: str, shape: Shape, targets: Targets, rates: Rates, **budget) -> Shape:
    """Fit vertices and vertex colours to the targets; ``budget``: steps and seconds, as for ``fit``."""

    def render(clip: torch.Tensor, colors: torch.Tensor, samples: int) -> torch.Tensor:
        return render_shape(ctx, clip, shape.faces, colors, targets.resolution, samples)

    vertices, colors = fit(run, stage, shape.vertices, shape.faces, shape.colors, render, targets, rates, **budget)
    return Shape(vertices, shape.faces, colors)
