"""The buffers of deferred shading in one call: attributes, depth, triangle ids and pixel derivatives.

On every backend by visibility, the shared resolve kernel and `interpolate`, OpenGL included. Its pipeline could write
attributes and differences between pixels into more attachments instead. But `rast`, which gradients need, and the same
bits on every backend come from the resolve kernel all the same, and with it that way takes longer (on llvmpipe with two
cores 19 to 23 ms in five runs, instead of 13 to 21, at 1024x1024 with three attributes and their derivatives: `python
benchmarks/opengl.py` has both).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, SupportsIndex

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from .context import RasterizeContext
from .interpolate import interpolate
from .rasterize import rasterize, triangle_id


class GBuffer(NamedTuple):
    """What `gbuffer` gives; zeros where nothing is visible."""

    attrs: torch.Tensor | dict[str, torch.Tensor]  # [B, H, W, A], or one of each name
    attrs_da: torch.Tensor | dict[str, torch.Tensor]  # [B, H, W, 2 A] pairs (dA/dX, dA/dY), likewise
    depth: torch.Tensor  # [B, H, W] z/w
    ids: torch.Tensor  # int64 [B, H, W] triangle, -1 for none
    rast: torch.Tensor  # [B, H, W, 4] of `rasterize`
    rast_db: torch.Tensor  # [B, H, W, 4] of `rasterize`


def gbuffer(
    ctx: RasterizeContext,
    pos: Float[Tensor, "*batch vertices 4"],
    tri: Integer[Tensor, "faces 3"],
    attrs: Float[Tensor, "*shared vertices channels"] | Mapping[str, Float[Tensor, "*shared vertices _"]],
    resolution: Sequence[SupportsIndex] | Integer[Tensor, "2"],
    ranges: Integer[Tensor, "images 2"] | None = None,
    *,
    cull: str = "none",
) -> GBuffer:
    """Rasterizes a mesh and interpolates its attributes: what deferred shading needs of it.

    Args:
        ctx, pos, tri, resolution, ranges, cull: as for `rasterize`.
        attrs: as for `interpolate`: `[B|1, V, A]` or `[V, A]`; or several of these by name, such as {"normal": ...,
            "uv": ...}.

    Returns:
        A `GBuffer`: attrs and attrs_da (pixel derivatives of all attributes, `[B, H, W, 0]` if the context has
        output_db=False), by name if attrs were; depth, ids, rast and rast_db. The same on every backend wherever it
        sees the same triangle.

    Differentiable: attrs, attrs_da, rast and rast_db, as those of `rasterize` and `interpolate`. Depth and ids carry no
        gradient.

    Raises:
        ValueError, TypeError: as `rasterize` and `interpolate`.
    """
    rast, rast_db = rasterize(ctx, pos, tri, resolution, ranges, cull=cull)
    derivatives = (rast_db, "all") if ctx.output_db else (None, None)
    # Few triangles are counted exactly by a float32, and need no decoding.
    ids = triangle_id(rast) if tri.shape[0] >= 1 << 24 else rast[..., 3].detach().long().sub_(1)
    depth = rast[..., 2].detach()
    if not isinstance(attrs, Mapping):
        out, out_da = interpolate(attrs, rast, tri, *derivatives)
        return GBuffer(out, out_da, depth, ids, rast, rast_db)
    each = {name: interpolate(attr, rast, tri, *derivatives) for name, attr in attrs.items()}
    outs, outs_da = ({name: pair[k] for name, pair in each.items()} for k in (0, 1))
    return GBuffer(outs, outs_da, depth, ids, rast, rast_db)
