"""Shape from outlines and colours: vertices and vertex colours against the photographs.

Each step renders a few views, compares colour and coverage (both antialiased, so that outlines pull on vertices), and
moves the vertices with Large Steps (Nicolet et al. 2021). Colours lie on vertices here: they need no unwrapping, and
they follow the mesh through remeshing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

import diffrast.torch as dr

from ..mesh.mesh import Mesh
from ..scene.passes import draw
from .targets import BACKGROUND


@dataclass
class Shape:
    """`vertices` `[V, 3]`, `faces` int32 `[F, 3]` and `colors` `[V, 3]` in display values."""

    vertices: torch.Tensor
    faces: torch.Tensor
    colors: torch.Tensor

    @staticmethod
    def of(v: np.ndarray, f: np.ndarray, device: torch.device | str = "cpu") -> Shape:
        """From vertices `[V, 3]`, which become gray, or `[V, 6]` with colours, and faces `[F, 3]`."""
        values = torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)).to(device)
        colors = values[:, 3:].clamp(0, 1) if values.shape[1] > 3 else torch.full_like(values, 0.5)
        faces = torch.from_numpy(f.astype(np.int32)).to(device)
        return Shape(values[:, :3].contiguous(), faces, colors.contiguous())

    def changed(self, vertices: torch.Tensor, colors: torch.Tensor) -> Shape:
        return replace(self, vertices=vertices, colors=colors)

    def welded(self) -> Mesh:
        """The bare mesh, for viewers."""
        return Mesh(self.vertices, self.faces)

    def render(
        self,
        ctx: dr.RasterizeContext,
        clip: torch.Tensor,
        colors: torch.Tensor,
        resolution: tuple[int, int],
        samples: int = 1,
    ) -> torch.Tensor:
        """`[B, H, W, 4]` from clip positions `[B, V, 4]`: vertex colours (not its own) over white, and coverage.
        Differentiable into positions and colours."""

        def shade(rast: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return dr.interpolate(colors, rast, self.faces)[0]

        return draw(ctx, clip, self.faces, resolution, shade, BACKGROUND, samples=samples)
