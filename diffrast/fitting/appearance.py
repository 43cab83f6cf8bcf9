"""The texture: unwrapping, a start from vertex colours, and the joint fit of texture and shape.

Colours are display (sRGB-coded) values with the light baked in: photographs are compared as they are, and base colour
textures are stored that way in glTF.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

import diffrast.torch as dr

from ..camera.camera import Camera
from ..io.image import srgb_to_linear
from ..mesh.bake_textures import fill_gaps
from ..mesh.mesh import Mesh
from ..scene.passes import draw
from .fit import Rates, fit
from .geometry import Shape
from .loop import Run
from .targets import BACKGROUND, Targets


@dataclass
class Textured:
    """A shape with a texture. ``vertices`` ``[V, 3]`` and ``faces`` ``[F, 3]`` are welded; ``uv`` ``[T, 2]`` and
    ``uv_faces`` ``[F, 3]`` are cut along chart borders, ``source`` int64 ``[T]`` is the vertex behind each UV;
    ``texture``
    ``[S, S, 3]`` holds display values, row 0 at the bottom; ``covered`` bool ``[S, S]``: texels inside of charts;
    ``seen`` int64 ``[S, S]``: how many photographs show a texel (:func:`diffrast.fitting.coverage.count_views`;
    None where nobody has counted); ``boundary``: what lies beyond the texture's border, as `diffrast.torch.texture`
    names it."""

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    uv_faces: torch.Tensor
    source: torch.Tensor
    texture: torch.Tensor
    covered: torch.Tensor
    seen: torch.Tensor | None = None
    boundary: str = "clamp"

    def mesh(self) -> Mesh:
        """For files and viewers."""
        texture = srgb_to_linear(self.texture)
        return Mesh(self.vertices[self.source], self.uv_faces, self.uv, texture)

    def draw(
        self, ctx, clip: torch.Tensor, camera: Camera, resolution: tuple[int, int], samples: int = 1
    ) -> torch.Tensor:
        """``[1, H, W, 4]``: the picture that a camera takes, display values over white, and coverage. ``clip`` ``[1, V,
        4]``: the vertices in its clip space; differentiable into them."""
        return render_textured(ctx, self, clip, self.texture, resolution, samples)


def unwrap(ctx, shape: Shape, size: int) -> Textured:
    """Cut the shape into charts (xatlas), pack them into ``size`` x ``size`` texels, and paint its vertex colours."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(shape.vertices.cpu().numpy().astype(np.float32), shape.faces.cpu().numpy().astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    packing.resolution, packing.padding, packing.bilinear = size, 4, True
    atlas.generate(charts, packing)
    source, uv_faces, uv = atlas[0]
    device = shape.vertices.device
    source = torch.from_numpy(source.astype(np.int64)).to(device)
    uv = torch.from_numpy(uv.astype(np.float32)).to(device)
    uv_faces = torch.from_numpy(uv_faces.astype(np.int32)).to(device)
    texture, covered = at_texels(ctx, uv, uv_faces, shape.colors[source], size)
    return Textured(shape.vertices, shape.faces, uv, uv_faces, source, texture, covered)


def at_texels(
    ctx, uv: torch.Tensor, uv_faces: torch.Tensor, values: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values ``[T, C]`` at UVs ``[T, 2]`` as a texture ``[size, size, C]``, gaps filled, and bool ``[size, size]``:
    texels inside of charts."""
    flat = torch.cat([2 * uv - 1, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], dim=1)[None]
    rast, _ = dr.rasterize(ctx, flat, uv_faces, (size, size))
    covered = rast[0, ..., 3] > 0
    return fill_gaps(dr.interpolate(values, rast, uv_faces)[0][0], covered), covered


def render_textured(ctx, model: Textured, clip, texture, resolution, samples: int = 1) -> torch.Tensor:
    """``[B, H, W, 4]`` from clip positions ``[B, V, 4]`` of the welded vertices: the texture over white, and coverage.
    Differentiable into positions and texture.

    The welded faces go to rasterization and antialiasing (a chart's border is no silhouette), the cut ones carry UVs.
    """

    def shade(rast: torch.Tensor, rast_db: torch.Tensor) -> torch.Tensor:
        uv, uv_da = dr.interpolate(model.uv, rast, model.uv_faces, rast_db=rast_db, diff_attrs="all")
        return dr.texture(texture[None], uv, uv_da, boundary_mode=model.boundary, max_mip_level=MIP_LEVELS)

    return draw(ctx, clip, model.faces, resolution, shade, BACKGROUND, samples=samples)


MIP_LEVELS = 4  # beyond, texels of different charts mix


def fit_texture(ctx, run: Run, stage: str, model: Textured, targets: Targets, rates: Rates, **budget) -> Textured:
    """Fit texture and vertices together to the targets; ``budget``: steps and seconds, as for ``fit``."""

    def render(clip: torch.Tensor, texture: torch.Tensor, samples: int) -> torch.Tensor:
        return render_textured(ctx, model, clip, texture, targets.resolution, samples)

    def as_mesh(vertices: torch.Tensor, texture: torch.Tensor) -> Mesh:
        return Mesh(vertices, model.faces, model.uv, srgb_to_linear(texture.clamp(0, 1)), model.uv_faces)

    vertices, texture = fit(
        run, stage, model.vertices, model.faces, model.texture, render, targets, rates, as_mesh=as_mesh, **budget
    )
    return replace(model, vertices=vertices, texture=fill_gaps(texture, model.covered))
