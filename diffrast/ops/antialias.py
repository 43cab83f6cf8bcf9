"""Analytic antialiasing, the source of visibility gradients; the operators of mode "silhouette".

Laine et al. 2020, section 3; docs/MATH.md, section 5.
"""

from functools import partial
from typing import Any

import torch

from .. import backends
from . import antialias_area, forward_mode, validate  # noqa: F401 (registers the operators of mode "area")
from .antialias_launch import launch, runs
from .rasterize import CULL
from .topology import Topology, topology_of

# The operator behind each mode.
MODES = {"silhouette": "antialias", "area": "antialias_area"}


def antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology_hash: Topology | None = None,
    pos_gradient_boost: float = 1.0,
    *,
    cull: str = "none",
    mode: str = "area",
) -> torch.Tensor:
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
        MODES[mode],
        color.contiguous(),
        rast.contiguous(),
        pos.contiguous(),
        indices,
        topology.ring,
        float(pos_gradient_boost),
        cull,
    )
    return out.to(dtype)


# --- The operators ----------------------------------------------------------------------------------------------------


# The fields of AntialiasArgs (cuda/antialias.cu) that only some of its kernels use, in order.
OPTIONAL = ("side", "silhouettes", "pairs", "out", "grad_out", "grad_color", "grad_pos")
_launch = partial(launch, optional=OPTIONAL)


@torch.library.custom_op("diffrast::antialias", mutates_args=())
def _antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    ring: torch.Tensor,
    boost: float,
    cull: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    validate.index_range("antialias", tri, pos.shape[-2], "pos")
    run = backends.kernels_for(rast)
    inputs = (color, rast, pos, tri, ring)
    tables = {}
    meshes = pos.shape[0] if pos.dim() == 3 else 1
    # With more triangles than pixels only those seen at discontinuities are worth a look.
    if meshes * tri.shape[0] <= rast.shape[:3].numel():
        tables["side"] = torch.empty((meshes, tri.shape[0]), dtype=torch.int8, device=rast.device)
        _launch(run, "antialias_side", tables["side"].numel(), inputs, cull=cull, **tables)
        tables["silhouettes"] = torch.empty_like(tables["side"], dtype=torch.uint8)
        _launch(run, "antialias_silhouettes", tables["side"].numel(), inputs, cull=cull, **tables)
    pairs = run.empty(rast.shape[:3], torch.uint8, rast.device)
    _launch(run, "antialias_find", runs(run, rast), inputs, cull=cull, pairs=pairs, **tables)
    out = run.empty(color.shape, color.dtype, color.device)
    _launch(run, "antialias_blend", runs(run, rast), inputs, pairs=pairs, out=out)
    return out, pairs


@_antialias.register_fake
def _(color, rast, pos, tri, ring, boost, cull):
    return torch.empty_like(color), rast.new_empty(rast.shape[:3], dtype=torch.uint8)


@torch.library.custom_op("diffrast::antialias_backward", mutates_args=())
def _antialias_backward(
    grad_out: torch.Tensor,
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    pairs: torch.Tensor,
    boost: float,
    needs_color: bool,
    needs_pos: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    run = backends.kernels_for(rast)
    workers = run.workers(rast.shape[:3].numel())
    grad_color = run.empty(color.shape if needs_color else (0,), color.dtype, color.device)
    grad_pos = pos.new_zeros((workers, *pos.shape)) if needs_pos else pos.new_zeros((1, 0))
    _launch(
        run,
        "antialias_bwd",
        runs(run, rast),
        (color, rast, pos, tri, None),
        boost=boost,
        workers=workers,
        sums=(grad_pos,) if needs_pos else (),
        pairs=pairs,
        grad_out=grad_out.contiguous(),
        grad_color=grad_color if needs_color else None,
        grad_pos=grad_pos if needs_pos else None,
    )
    return grad_color, grad_pos.sum(0) if workers > 1 else grad_pos[0]


@_antialias_backward.register_fake
def _(grad_out, color, rast, pos, tri, pairs, boost, needs_color, needs_pos):
    return color.new_empty(color.shape if needs_color else (0,)), pos.new_empty(pos.shape if needs_pos else (0,))


@torch.library.custom_op("diffrast::antialias_jvp", mutates_args=())
def _antialias_jvp(
    tangent_color: torch.Tensor,
    tangent_pos: torch.Tensor,
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    pairs: torch.Tensor,
    boost: float,
) -> torch.Tensor:
    run = backends.kernels_for(rast)
    out = run.empty(color.shape, color.dtype, color.device)
    fields: dict[str, Any] = {"pairs": pairs, "out": out, "grad_out": tangent_color, "grad_pos": tangent_pos}
    _launch(run, "antialias_jvp", runs(run, rast), (color, rast, pos, tri, None), boost=boost, **fields)
    return out


@_antialias_jvp.register_fake
def _(tangent_color, tangent_pos, color, rast, pos, tri, pairs, boost):
    return torch.empty_like(color)


def _setup_context(ctx, inputs, output):
    color, rast, pos, tri, _, ctx.boost, _ = inputs
    pairs = output[1]
    ctx.save_for_backward(color, rast, pos, tri, pairs)
    ctx.mark_non_differentiable(pairs)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, _):
    needs_color, _, needs_pos = ctx.needs_input_grad[:3]
    if grad_out is None or not (needs_color or needs_pos):
        return (None,) * 7
    grad_color, grad_pos = torch.ops.diffrast.antialias_backward(
        grad_out, *ctx.saved_tensors, ctx.boost, needs_color, needs_pos
    )
    return grad_color if needs_color else None, None, grad_pos if needs_pos else None, None, None, None, None


_antialias.register_autograd(_backward, setup_context=_setup_context)
