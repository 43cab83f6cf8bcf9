"""The operators behind `antialias(mode="area")`; docs/MATH.md, section 5."""

from functools import partial
from typing import Any

import torch

from .. import backends
from . import validate
from .antialias_launch import launch, runs

# The fields of WalkArgs (cuda/antialias_walk.cu) that only some of its kernels use, in order.
OPTIONAL = ("side", "code", "place", "owner", "out", "grad_out", "grad_color", "grad_pos")
_launch = partial(launch, optional=OPTIONAL)


@torch.library.custom_op("diffrast::antialias_area", mutates_args=())
def _antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    ring: torch.Tensor,
    boost: float,
    cull: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    validate.index_range("antialias", tri, pos.shape[-2], "pos")
    run = backends.kernels_for(rast)
    inputs, shape = (color, rast, pos, tri, ring), rast.shape[:3]
    code = run.empty(shape, torch.uint8, rast.device)
    # Written at crossings only; an operator's outputs must not be what memory happened to hold.
    place = run.empty((*shape, 2), rast.dtype, rast.device).zero_()
    owner = run.empty((*shape, 2, 2), torch.int32, rast.device).zero_()
    found: dict[str, Any] = {"code": code, "place": place, "owner": owner}
    side, meshes = None, pos.shape[0] if pos.dim() == 3 else 1
    # With more triangles than pixels only those that are walked over are worth a look.
    if meshes * tri.shape[0] <= rast.shape[:3].numel():
        side = torch.empty((meshes, tri.shape[0]), dtype=torch.int8, device=rast.device)
        _launch(run, "antialias_walk_side", side.numel(), inputs, cull=cull, side=side)
    _launch(run, "antialias_walk_find", runs(run, rast), inputs, cull=cull, side=side, **found)
    out = run.empty(color.shape, color.dtype, color.device)
    _launch(run, "antialias_walk_blend", runs(run, rast), inputs, out=out, **found)
    return out, code, place, owner


@_antialias.register_fake
def _(color, rast, pos, tri, ring, boost, cull):
    shape = rast.shape[:3]
    code, owner = rast.new_empty(shape, dtype=torch.uint8), rast.new_empty((*shape, 2, 2), dtype=torch.int32)
    return torch.empty_like(color), code, rast.new_empty((*shape, 2)), owner


@torch.library.custom_op("diffrast::antialias_area_backward", mutates_args=())
def _antialias_backward(
    grad_out: torch.Tensor,
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    code: torch.Tensor,
    place: torch.Tensor,
    owner: torch.Tensor,
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
        "antialias_walk_bwd",
        runs(run, rast),
        (color, rast, pos, tri, None),
        boost=boost,
        workers=workers,
        sums=(grad_pos,) if needs_pos else (),
        code=code,
        place=place,
        owner=owner,
        grad_out=grad_out.contiguous(),
        grad_color=grad_color if needs_color else None,
        grad_pos=grad_pos if needs_pos else None,
    )
    return grad_color, grad_pos.sum(0) if workers > 1 else grad_pos[0]


@_antialias_backward.register_fake
def _(grad_out, color, rast, pos, tri, code, place, owner, boost, needs_color, needs_pos):
    return color.new_empty(color.shape if needs_color else (0,)), pos.new_empty(pos.shape if needs_pos else (0,))


@torch.library.custom_op("diffrast::antialias_area_jvp", mutates_args=())
def _antialias_jvp(
    tangent_color: torch.Tensor,
    tangent_pos: torch.Tensor,
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    code: torch.Tensor,
    place: torch.Tensor,
    owner: torch.Tensor,
    boost: float,
) -> torch.Tensor:
    run = backends.kernels_for(rast)
    out = run.empty(color.shape, color.dtype, color.device)
    fields: dict[str, Any] = {"code": code, "place": place, "owner": owner, "out": out}
    fields |= {"grad_out": tangent_color, "grad_pos": tangent_pos}
    _launch(run, "antialias_walk_jvp", runs(run, rast), (color, rast, pos, tri, None), boost=boost, **fields)
    return out


@_antialias_jvp.register_fake
def _(tangent_color, tangent_pos, color, rast, pos, tri, code, place, owner, boost):
    return torch.empty_like(color)


def _setup_context(ctx, inputs, output):
    color, rast, pos, tri, _, ctx.boost, _ = inputs
    found = output[1:]
    ctx.save_for_backward(color, rast, pos, tri, *found)
    ctx.mark_non_differentiable(*found)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, *_):
    needs_color, _, needs_pos = ctx.needs_input_grad[:3]
    if grad_out is None or not (needs_color or needs_pos):
        return (None,) * 7
    grad_color, grad_pos = torch.ops.diffrast.antialias_area_backward(
        grad_out, *ctx.saved_tensors, ctx.boost, needs_color, needs_pos
    )
    return grad_color if needs_color else None, None, grad_pos if needs_pos else None, None, None, None, None


_antialias.register_autograd(_backward, setup_context=_setup_context)
