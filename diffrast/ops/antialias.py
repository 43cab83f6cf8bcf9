"""Analytic antialiasing, the source of visibility gradients.

Laine et al. 2020, section 3; docs/MATH.md, section 5.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from . import forward_mode, validate
from .antialias_operators import MODES
from .rasterize import CULL
from .topology import Topology, topology_of


def antialias(
    color: Float[Tensor, "batch height width channels"],
    rast: Float[Tensor, "batch height width 4"],
    pos: Float[Tensor, "*shared vertices 4"],
    tri: Integer[Tensor, "faces 3"],
    topology_hash: Topology | None = None,
    pos_gradient_boost: float = 1.0,
    *,
    cull: str = "none",
    mode: str = "area",
) -> Float[Tensor, "batch height width channels"]:
    """Blends the pixels on both sides of a discontinuity by the areas on both of its sides.

    Args:
        color: float32 or float64 `[B, H, W, C]`, any number of channels.
        rast: `[B, H, W, 4]` from `rasterize`, of the same dtype.
        pos: clip-space positions `[B, V, 4]`, `[1, V, 4]` (broadcast) or `[V, 4]` (range mode, or shared by the batch),
            of the same dtype.
        tri: int32 or int64 vertex indices `[F, 3]`, as passed to `rasterize`.
        topology_hash: from `antialias_construct_topology_hash(tri)`. Without it the edges are found here, and
            remembered for as long as the tensor `tri` lives and is not modified (through torch).
        pos_gradient_boost: the gradient into pos is multiplied by this.
        cull: as passed to `rasterize`: an edge is a silhouette too where the only triangle beyond it is culled. An
            extension.
        mode: an extension. "area" finds what crosses between two pixels by walking over the mesh, lines where surfaces
            intersect included, and blends by the areas on both sides: gradients that also see silhouettes whose
            triangles own no pixel centre (docs/GRADIENTS.md). "silhouette" is the published rule: the edges of the
            nearer pixel's own triangle, blended by where they cross between two pixel centres; faster, at most by about
            two.

    Returns:
        `[B, H, W, C]`: color, changed only beside discontinuities, and there within the range of the colours blended.
        The edges between triangles that face the same way stay as they are, bit by bit.

    Half-precision color and pos are computed in float32, the result has the dtype of color.

    Differentiable: with respect to color, and to x, y and w of pos (in mode "area" also to z, where surfaces
        intersect). `rast`
    gets no gradient, and which surfaces meet at a pixel has no derivative.

    Raises:
        ValueError, TypeError: arguments that break the rules above, or indices outside [0, V).
    """
    op, dtype = "antialias", getattr(color, "dtype", None)
    color, pos = validate.widened(color, pos)
    validate.tensor(op, "rast", rast, "[B, H, W, 4]", validate.shape_is(rast, None, None, None, 4))
    batch, height, width = rast.shape[:3]
    rule = f"[B, H, W, C] with B, H, W = {batch}, {height}, {width} (from rast)"
    validate.tensor(op, "color", color, rule, validate.shape_is(color, batch, height, width, None), like=("rast", rast))
    fits = validate.shape_is(pos, None, 4) or validate.shape_is(pos, (1, batch), None, 4)
    validate.tensor(op, "pos", pos, f"[V, 4] or [B|1, V, 4] with B={batch} (from rast)", fits, like=("rast", rast))
    indices = validate.triangles(op, tri, ("rast", rast))
    topology = topology_of(op, topology_hash, tri)
    # Tuples of types here, not unions: torch 2.6 cannot trace those.
    if isinstance(pos_gradient_boost, (bool, torch.Tensor)) or not hasattr(pos_gradient_boost, "__float__"):
        raise TypeError(f"{op}(): pos_gradient_boost must be a number; got {validate.describe(pos_gradient_boost)}")
    validate.choice(op, "cull", cull, CULL)
    validate.choice(op, "mode", mode, list(MODES))
    out, *_ = forward_mode.call(
        MODES[mode].operator,
        color.contiguous(),
        rast.contiguous(),
        pos.contiguous(),
        indices,
        topology.ring,
        float(pos_gradient_boost),
        cull,
    )
    return out.to(dtype)
