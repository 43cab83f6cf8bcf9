"""The operators behind `texture`: sampling given levels, and sampling levels that are built on the way.

The second kind exists for its backward: gradients of the levels are folded down into that of the texture where they
are, so a step of an optimization touches no more memory than it must.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .. import backends
from .texture_mip import MAX_LEVELS, build_levels, fold_levels, is_volume, level_shape, shrinking_axes


class Filter(NamedTuple):
    kernel: str  # its name among the kernels
    mipmapped: bool
    linear_levels: bool  # whether neighbouring levels are blended


FILTERS = {
    "nearest": Filter("nearest", False, False),
    "linear": Filter("linear", False, False),
    "linear-mipmap-nearest": Filter("linear", True, False),
    "linear-mipmap-linear": Filter("linear", True, True),
    "anisotropic": Filter("anisotropic", True, True),
}
BOUNDARIES = ("wrap", "clamp", "zero", "cube")


def _kernel(direction: str, tex: torch.Tensor, filter_mode: str, boundary_mode: str) -> str:
    cube = boundary_mode == "cube"
    kind = "cube" if cube else "3d" if is_volume(tex, cube) else "2d"
    return f"texture_{direction}_{FILTERS[filter_mode].kernel}_{kind}"


def _constants(tex: torch.Tensor, boundary_mode: str) -> dict[str, int]:
    """What a kernel that is compiled at run time may know: the boundary, and up to 16 channels."""
    constants = {"DR_BOUNDARY": BOUNDARIES.index(boundary_mode)}
    return constants | ({"DR_CHANNELS": tex.shape[-1]} if tex.shape[-1] <= 16 else {})


def _addresses(tensors: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor | None, ...]:
    return (*tensors, *[None] * (MAX_LEVELS - len(tensors)))


def _sizes(
    levels: list[torch.Tensor], uv: torch.Tensor, filter_mode: str, boundary_mode: str, max_anisotropy: int, slab: int
) -> tuple[int, ...]:
    batch, *planes, height, width, channels = levels[0].shape
    faces, depth = (6, 1) if boundary_mode == "cube" else (1, *(planes or [1]))
    return (
        len(levels),
        batch,
        faces,
        depth,
        height,
        width,
        channels,
        uv.shape[:3].numel(),
        uv.shape[1:3].numel(),
        BOUNDARIES.index(boundary_mode),
        int(FILTERS[filter_mode].linear_levels),
        max_anisotropy,
        slab,
    )


def _sample(
    levels: list[torch.Tensor],
    uv: torch.Tensor,
    uv_da: torch.Tensor | None,
    bias: torch.Tensor | None,
    filter_mode: str,
    boundary_mode: str,
    max_anisotropy: int,
) -> torch.Tensor:
    run = backends.kernels_for(uv)
    out = run.empty((*uv.shape[:3], levels[0].shape[-1]), uv.dtype, uv.device)
    sizes = _sizes(levels, uv, filter_mode, boundary_mode, max_anisotropy, 0)
    args = (*_addresses(levels), *_addresses([]), None, uv, uv_da, bias, out, None, None, None, None, *sizes)
    kernel = _kernel("fwd", levels[0], filter_mode, boundary_mode)
    run.launch(kernel, uv.dtype, uv.shape[:3].numel(), args, constants=_constants(levels[0], boundary_mode))
    return out


def _sample_backward(
    grad_out: torch.Tensor,
    levels: list[torch.Tensor],
    uv: torch.Tensor,
    uv_da: torch.Tensor | None,
    bias: torch.Tensor | None,
    filter_mode: str,
    boundary_mode: str,
    max_anisotropy: int,
    needs_levels: list[bool],
    needs_rest: list[bool],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of the levels, and of uv, uv_da and bias; empty tensors for those that are not needed."""
    run = backends.kernels_for(uv)
    slab = sum(level.numel() for level, needed in zip(levels, needs_levels, strict=True) if needed)
    workers = run.workers(uv.shape[:3].numel()) if slab else None
    scratch = run.empty(((workers or 1) - 1, slab), uv.dtype, uv.device).zero_()
    grad_levels = [
        run.empty(level.shape if needed else (0,), uv.dtype, uv.device).zero_()
        for level, needed in zip(levels, needs_levels, strict=True)
    ]
    grads = [
        run.empty(value.shape if needed and value is not None else (0,), uv.dtype, uv.device)
        for value, needed in zip((uv, uv_da, bias), needs_rest, strict=True)
    ]
    wanted = [grad if grad.numel() else None for grad in grads]
    # Sums in fixed point want the levels in one piece.
    sums = torch.zeros(slab, dtype=uv.dtype, device=uv.device) if slab and run.fixed_point() else None
    pieces = grad_levels if sums is None else sums.split([grad.numel() for grad in grad_levels])
    into = _addresses([piece if needed else None for piece, needed in zip(pieces, needs_levels, strict=True)])
    sizes = _sizes(levels, uv, filter_mode, boundary_mode, max_anisotropy, slab)
    args = (*_addresses(levels), *into, scratch, uv, uv_da, bias, None, grad_out.contiguous(), *wanted, *sizes)
    run.launch(
        _kernel("bwd", levels[0], filter_mode, boundary_mode),
        uv.dtype,
        uv.shape[:3].numel(),
        args,
        workers,
        constants=_constants(levels[0], boundary_mode),
        sums=() if sums is None else (sums,),
    )
    start = 0
    for grad, piece in zip(grad_levels, pieces, strict=True):
        if sums is not None:
            grad.copy_(piece.view(grad.shape))
        for other in scratch[:, start : start + grad.numel()]:
            grad += other.view(grad.shape)
        start += grad.numel()
    return grad_levels, grads


def _like(uv: torch.Tensor, values: Sequence[torch.Tensor | None], needs: list[bool]) -> list[torch.Tensor]:
    """What `_sample_backward` returns, for tensors without data."""
    return [
        uv.new_empty(value.shape if needed and value is not None else (0,))
        for value, needed in zip(values, needs, strict=True)
    ]


# --- Levels that are given --------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "diffrast::texture",
    mutates_args=(),
    schema="(Tensor[] levels, Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str boundary_mode, "
    "int max_anisotropy) -> Tensor",
)
def _texture(levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy):
    return _sample(levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy)


@_texture.register_fake
def _(levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy):
    return uv.new_empty((*uv.shape[:3], levels[0].shape[-1]))


@torch.library.custom_op(
    "diffrast::texture_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor[] levels, Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str "
    "boundary_mode, "
    "int max_anisotropy, bool[] needs_levels, bool[] needs_rest) -> (Tensor[], Tensor, Tensor, Tensor)",
)
def _texture_backward(
    grad_out, levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy, needs_levels, needs_rest
):
    grad_levels, grads = _sample_backward(
        grad_out, levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy, needs_levels, needs_rest
    )
    return grad_levels, *grads


@_texture_backward.register_fake
def _(grad_out, levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy, needs_levels, needs_rest):
    return _like(uv, levels, needs_levels), *_like(uv, (uv, uv_da, bias), needs_rest)


def _setup_context(ctx, inputs, output):
    levels, uv, uv_da, bias, ctx.filter_mode, ctx.boundary_mode, ctx.max_anisotropy = inputs
    ctx.save_for_backward(uv, uv_da, bias, *levels)


def _backward(ctx, grad_out):
    uv, uv_da, bias, *levels = ctx.saved_tensors
    needs_levels, needs_rest = list(ctx.needs_input_grad[0]), list(ctx.needs_input_grad[1:4])
    grad_levels, *grads = torch.ops.diffrast.texture_backward(
        grad_out,
        levels,
        uv,
        uv_da,
        bias,
        ctx.filter_mode,
        ctx.boundary_mode,
        ctx.max_anisotropy,
        needs_levels,
        needs_rest,
    )
    grad_levels = [grad if needed else None for grad, needed in zip(grad_levels, needs_levels, strict=True)]
    grads = [grad if needed else None for grad, needed in zip(grads, needs_rest, strict=True)]
    return grad_levels, *grads, None, None, None


_texture.register_autograd(_backward, setup_context=_setup_context)


# --- Levels that are built here ---------------------------------------------------------------------------------------


def _shapes_above(tex: torch.Tensor, boundary_mode: str, count: int) -> list[torch.Size]:
    axes = shrinking_axes(tex, boundary_mode == "cube")
    return [torch.Size(level_shape(tex, axes, level)) for level in range(1, count + 1)]


def _above(tex: torch.Tensor, boundary_mode: str, count: int, flat: torch.Tensor) -> list[torch.Tensor]:
    """Levels 1 to `count` of a texture as views of one flat tensor."""
    shapes = _shapes_above(tex, boundary_mode, count)
    pieces = flat.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _numel_above(tex: torch.Tensor, boundary_mode: str, count: int) -> int:
    return sum(shape.numel() for shape in _shapes_above(tex, boundary_mode, count))


@torch.library.custom_op(
    "diffrast::texture_mipmapped",
    mutates_args=(),
    schema="(Tensor tex, int count, Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str boundary_mode, "
    "int max_anisotropy) -> (Tensor, Tensor)",
)
def _texture_mipmapped(tex, count, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy):
    flat = backends.kernels_for(tex).empty((_numel_above(tex, boundary_mode, count),), tex.dtype, tex.device)
    levels = [tex, *_above(tex, boundary_mode, count, flat)]
    build_levels(levels, shrinking_axes(tex, boundary_mode == "cube"))
    return _sample(levels, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy), flat


@_texture_mipmapped.register_fake
def _(tex, count, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy):
    return uv.new_empty((*uv.shape[:3], tex.shape[-1])), tex.new_empty((_numel_above(tex, boundary_mode, count),))


@torch.library.custom_op(
    "diffrast::texture_mipmapped_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor tex, Tensor flat, int count, Tensor uv, Tensor? uv_da, Tensor? bias, str "
    "filter_mode, "
    "str boundary_mode, int max_anisotropy, bool needs_tex, bool[] needs_rest) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _texture_mipmapped_backward(
    grad_out, tex, flat, count, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy, needs_tex, needs_rest
):
    levels = [tex, *_above(tex, boundary_mode, count, flat)]
    grad_levels, grads = _sample_backward(
        grad_out,
        levels,
        uv,
        uv_da,
        bias,
        filter_mode,
        boundary_mode,
        max_anisotropy,
        [needs_tex] * len(levels),
        needs_rest,
    )
    if needs_tex:
        fold_levels(grad_levels, shrinking_axes(tex, boundary_mode == "cube"))
    return grad_levels[0], *grads


@_texture_mipmapped_backward.register_fake
def _(grad_out, tex, flat, count, uv, uv_da, bias, filter_mode, boundary_mode, max_anisotropy, needs_tex, needs_rest):
    grad_tex, *grads = _like(uv, (tex, uv, uv_da, bias), [needs_tex, *needs_rest])
    return grad_tex, *grads


def _setup_mipmapped(ctx, inputs, output):
    tex, ctx.count, uv, uv_da, bias, ctx.filter_mode, ctx.boundary_mode, ctx.max_anisotropy = inputs
    ctx.save_for_backward(tex, output[1], uv, uv_da, bias)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward_mipmapped(ctx, grad_out, _):
    if grad_out is None:
        return (None,) * 8
    tex, flat, uv, uv_da, bias = ctx.saved_tensors
    needs = [ctx.needs_input_grad[0], *ctx.needs_input_grad[2:5]]
    grads = torch.ops.diffrast.texture_mipmapped_backward(
        grad_out,
        tex,
        flat,
        ctx.count,
        uv,
        uv_da,
        bias,
        ctx.filter_mode,
        ctx.boundary_mode,
        ctx.max_anisotropy,
        needs[0],
        needs[1:],
    )
    grad_tex, *rest = (grad if needed else None for grad, needed in zip(grads, needs, strict=True))
    return grad_tex, None, *rest, None, None, None


_texture_mipmapped.register_autograd(_backward_mipmapped, setup_context=_setup_mipmapped)
