"""A shape with a texture: unwrapping, a start from vertex colours, and how it is drawn.

Colours are display (sRGB-coded) values with the light baked in: photographs are compared as they are, and base colour
textures are stored that way in glTF.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

import diffrast.torch as dr

from ..camera.camera import Camera
from ..io.image import srgb_to_linear
from ..mesh.bake_textures import fill_gaps
from ..mesh.mesh import Mesh
from ..mesh.unwrap import cut_charts
from ..scene.passes import draw
from .geometry import Shape
from .targets import BACKGROUND


@dataclass
class Textured:
    """A shape with a texture. `vertices` `[V, 3]` and `faces` `[F, 3]` are welded; `uv` `[T, 2]` and `uv_faces`
    `[F, 3]` are cut along chart borders, `source` int64 `[T]` is the vertex behind each UV; `texture` `[S, S, 3]` holds
    display values, row 0 at the bottom; `covered` bool `[S, S]`: texels inside of charts; `seen` int32 `[S, S]`: how
    many photographs show a texel (`count_views`; None where nobody has counted); `boundary`: what lies beyond the
    texture's border, as `diffrast.torch.texture` names it."""

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor
    uv_faces: torch.Tensor
    source: torch.Tensor
    texture: torch.Tensor
    covered: torch.Tensor
    seen: torch.Tensor | None = None
    boundary: str = "clamp"

    @property
    def colors(self) -> torch.Tensor:
        """What a descent changes: the texture."""
        return self.texture

    def changed(self, vertices: torch.Tensor, colors: torch.Tensor) -> Textured:
        return replace(self, vertices=vertices, texture=colors)

    def mesh(self) -> Mesh:
        """For files."""
        texture = srgb_to_linear(self.texture)
        return Mesh(self.vertices[self.source], self.uv_faces, self.uv, texture)

    def welded(self) -> Mesh:
        """For viewers, with the vertices as they are optimized."""
        return Mesh(self.vertices, self.faces, self.uv, srgb_to_linear(self.texture.clamp(0, 1)), self.uv_faces)

    def render(
        self,
        ctx: dr.RasterizeContext,
        clip: torch.Tensor,
        colors: torch.Tensor,
        resolution: tuple[int, int],
        samples: int = 1,
    ) -> torch.Tensor:
        """See `render_textured`; with another texture than its own."""
        return render_textured(ctx, self, clip, colors, resolution, samples)

    def draw(
        self,
        ctx: dr.RasterizeContext,
        clip: torch.Tensor,
        camera: Camera,
        resolution: tuple[int, int],
        samples: int = 1,
    ) -> torch.Tensor:
        """`[1, H, W, 4]`: the image that a camera takes, display values over white, and coverage. `clip` `[1, V, 4]`:
        the vertices in its clip space; differentiable into them."""
        return render_textured(ctx, self, clip, self.texture, resolution, samples)


def unwrap(ctx: dr.RasterizeContext, shape: Shape, size: int) -> Textured:
    """Cut the shape into charts (xatlas), pack them into `size` x `size` texels, and take its vertex colours there."""
    found = cut_charts(shape.vertices.cpu().numpy(), shape.faces.cpu().numpy(), size, padding=4)
    source, uv_faces, uv = (torch.from_numpy(x).to(shape.vertices.device) for x in found)
    uv_faces = uv_faces.int()
    texture, covered = at_texels(ctx, uv, uv_faces, shape.colors[source], size)
    return Textured(shape.vertices, shape.faces, uv, uv_faces, source, texture, covered)


def at_texels(
    ctx: dr.RasterizeContext, uv: torch.Tensor, uv_faces: torch.Tensor, values: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values `[T, C]` at UVs `[T, 2]` as a texture `[size, size, C]`, gaps filled, and bool `[size, size]`: texels
    inside of charts."""
    flat = torch.cat([2 * uv - 1, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], dim=1)[None]
    rast, _ = dr.rasterize(ctx, flat, uv_faces, (size, size))
    covered = rast[0, ..., 3] > 0
    return fill_gaps(dr.interpolate(values, rast, uv_faces)[0][0], covered), covered


def render_textured(
    ctx: dr.RasterizeContext,
    model: Textured,
    clip: torch.Tensor,
    texture: torch.Tensor,
    resolution: tuple[int, int],
    samples: int = 1,
) -> torch.Tensor:
    """`[B, H, W, 4]` from clip positions `[B, V, 4]` of the welded vertices: the texture over white, and coverage.
    Differentiable into positions and texture.

    The welded faces go to rasterization and antialiasing (a chart's border is no silhouette), the cut ones carry UVs.
    """

    def shade(rast: torch.Tensor, rast_db: torch.Tensor) -> torch.Tensor:
        uv, uv_da = dr.interpolate(model.uv, rast, model.uv_faces, rast_db=rast_db, diff_attrs="all")
        return dr.texture(texture[None], uv, uv_da, boundary_mode=model.boundary, max_mip_level=MIP_LEVELS)

    return draw(ctx, clip, model.faces, resolution, shade, BACKGROUND, samples=samples)


MIP_LEVELS = 4  # beyond, texels of different charts mix
