"""The operators behind `texture`: sampling given levels, and sampling levels that are built on the way.

The second kind exists for its backward: gradients of the levels are folded down into that of the texture where they
are, so a step of an optimization touches no more memory than it must.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .. import backends
from ..backends.arguments import choices
from . import registration
from .texture_mip import build_levels, fold_levels, level_shape, shrinking_axes


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
BOUNDARIES = choices("Boundary")

# How a texture is sampled: the inputs that all operators here end in.
SAMPLING = "Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str boundary_mode, int max_anisotropy"


def _launch(direction: str, levels: list[torch.Tensor], x: Any, **fields: Any) -> None:
    """Launches a kernel; x holds the inputs of `SAMPLING`."""
    batch, *planes, height, width, channels = levels[0].shape
    cube, sampling, boundary = x.boundary_mode == "cube", FILTERS[x.filter_mode], BOUNDARIES.index(x.boundary_mode)
    kind = "cube" if cube else "3d" if planes else "2d"
    # What a kernel that is compiled at run time may know: the boundary, and up to 16 channels.
    constants = {"DR_BOUNDARY": boundary, **({"DR_CHANNELS": channels} if channels <= 16 else {})}
    backends.kernels_for(x.uv).launch(
        f"texture_{direction}_{sampling.kernel}_{kind}",
        x.uv.dtype,
        x.uv.shape[:3].numel(),
        constants=constants,
        level=levels,
        uv=x.uv,
        uv_da=x.uv_da,
        bias=x.bias,
        levels=len(levels),
        batch=batch,
        faces=6 if cube else 1,
        depth=planes[0] if planes and not cube else 1,
        height=height,
        width=width,
        channels=channels,
        count=x.uv.shape[:3].numel(),
        pixels=x.uv.shape[1:3].numel(),
        boundary=boundary,
        linear_levels=int(sampling.linear_levels),
        max_anisotropy=x.max_anisotropy,
        **fields,
    )


def _sample(levels: list[torch.Tensor], x: Any) -> torch.Tensor:
    out = backends.kernels_for(x.uv).empty((*x.uv.shape[:3], levels[0].shape[-1]), x.uv.dtype, x.uv.device)
    _launch("fwd", levels, x, out=out)
    return out


def _sample_backward(
    levels: list[torch.Tensor], needs_levels: list[bool], x: Any
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of the levels, and of uv, uv_da and bias; empty tensors for those that are not needed."""
    uv, run = x.uv, backends.kernels_for(x.uv)
    slab = sum(level.numel() for level, needed in zip(levels, needs_levels, strict=True) if needed)
    workers = run.workers(uv.shape[:3].numel()) if slab else None
    scratch = run.empty(((workers or 1) - 1, slab), uv.dtype, uv.device).zero_()
    grad_levels = [
        run.empty(level.shape if needed else (0,), uv.dtype, uv.device).zero_()
        for level, needed in zip(levels, needs_levels, strict=True)
    ]
    grads = [
        run.empty(value.shape if needed and value is not None else (0,), uv.dtype, uv.device)
        for value, needed in zip((uv, x.uv_da, x.bias), x.needs_rest, strict=True)
    ]
    wanted = [grad if grad.numel() else None for grad in grads]
    # Sums in fixed point want the levels in one piece.
    sums = torch.zeros(slab, dtype=uv.dtype, device=uv.device) if slab and run.fixed_point() else None
    sizes = [grad.numel() for grad in grad_levels]
    pieces: Sequence[torch.Tensor] = grad_levels if sums is None else torch.split(sums, sizes)
    _launch(
        "bwd",
        levels,
        x,
        grad_level=[piece if needed else None for piece, needed in zip(pieces, needs_levels, strict=True)],
        scratch=scratch,
        grad_out=x.grad_out.contiguous(),
        **dict(zip(("grad_uv", "grad_uv_da", "grad_bias"), wanted, strict=True)),
        slab_size=slab,
        workers=workers,
        shared=sums,
    )
    start = 0
    for grad, piece in zip(grad_levels, pieces, strict=True):
        if sums is not None:
            grad.copy_(piece.view(grad.shape))
        for other in scratch[:, start : start + grad.numel()]:
            grad += other.view(grad.shape)
        start += grad.numel()
    return grad_levels, grads


def _like(uv: Any, values: Sequence[Any], needs: list[bool]) -> list[torch.Tensor]:
    """What `_sample_backward` returns, for tensors without data."""
    return [
        uv.new_empty(value.shape if needed and value is not None else (0,))
        for value, needed in zip(values, needs, strict=True)
    ]


def _rest(x: Any) -> tuple[Any, Any, Any]:
    """What may want a gradient beside the texture."""
    return x.uv, x.uv_da, x.bias


# --- Levels that are given --------------------------------------------------------------------------------------------


@registration.operator("texture", f"(Tensor[] levels, {SAMPLING}) -> Tensor")
def _texture(x: Any) -> torch.Tensor:
    return _sample(x.levels, x)


registration.fake(_texture, lambda x: x.uv.new_empty((*x.uv.shape[:3], x.levels[0].shape[-1])))


@registration.operator(
    "texture_backward",
    f"(Tensor grad_out, Tensor[] levels, {SAMPLING}, bool[] needs_levels, bool[] needs_rest) "
    "-> (Tensor[], Tensor, Tensor, Tensor)",
)
def _texture_backward(x: Any) -> tuple[Any, ...]:
    grad_levels, grads = _sample_backward(x.levels, x.needs_levels, x)
    return grad_levels, *grads


registration.fake(
    _texture_backward, lambda x: (_like(x.uv, x.levels, x.needs_levels), *_like(x.uv, _rest(x), x.needs_rest))
)


def _backward(saved: Any, needs: Any, grad_out: torch.Tensor) -> registration.Gradients:
    needs_levels, needs_rest = list(needs.levels), list(_rest(needs))
    grad_levels, *grads = torch.ops.diffrast.texture_backward(
        grad_out=grad_out, **vars(saved), needs_levels=needs_levels, needs_rest=needs_rest
    )
    levels = [grad if needed else None for grad, needed in zip(grad_levels, needs_levels, strict=True)]
    return {"levels": levels, **_wanted(grads, needs_rest)}


def _wanted(grads: Sequence[torch.Tensor], needs: Sequence[bool]) -> registration.Gradients:
    named = zip(("uv", "uv_da", "bias"), grads, needs, strict=True)
    return {name: grad for name, grad, needed in named if needed}


registration.gradients(_texture, _backward, registration.names_of(_texture), outputs=("out",))


# --- Levels that are built here ---------------------------------------------------------------------------------------


def _shapes_above(x: Any) -> list[torch.Size]:
    axes = shrinking_axes(x.tex, x.boundary_mode == "cube")
    return [torch.Size(level_shape(x.tex, axes, level)) for level in range(1, x.count + 1)]


def _levels(x: Any, flat: torch.Tensor) -> list[torch.Tensor]:
    """All levels: the texture, and those above it as views of one flat tensor."""
    shapes = _shapes_above(x)
    pieces: Sequence[torch.Tensor] = torch.split(flat, [shape.numel() for shape in shapes])
    return [x.tex, *(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))]


def _numel_above(x: Any) -> int:
    return sum(shape.numel() for shape in _shapes_above(x))


@registration.operator("texture_mipmapped", f"(Tensor tex, int count, {SAMPLING}) -> (Tensor, Tensor)")
def _texture_mipmapped(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    flat = backends.kernels_for(x.tex).empty((_numel_above(x),), x.tex.dtype, x.tex.device)
    levels = _levels(x, flat)
    build_levels(levels, shrinking_axes(x.tex, x.boundary_mode == "cube"))
    return _sample(levels, x), flat


registration.fake(
    _texture_mipmapped,
    lambda x: (x.uv.new_empty((*x.uv.shape[:3], x.tex.shape[-1])), x.tex.new_empty((_numel_above(x),))),
)


@registration.operator(
    "texture_mipmapped_backward",
    f"(Tensor grad_out, Tensor tex, Tensor flat, int count, {SAMPLING}, bool needs_tex, bool[] needs_rest) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
def _texture_mipmapped_backward(x: Any) -> tuple[torch.Tensor, ...]:
    levels = _levels(x, x.flat)
    grad_levels, grads = _sample_backward(levels, [x.needs_tex] * len(levels), x)
    if x.needs_tex:
        fold_levels(grad_levels, shrinking_axes(x.tex, x.boundary_mode == "cube"))
    return grad_levels[0], *grads


registration.fake(
    _texture_mipmapped_backward, lambda x: tuple(_like(x.uv, (x.tex, *_rest(x)), [x.needs_tex, *x.needs_rest]))
)


def _backward_mipmapped(saved: Any, needs: Any, grad_out: torch.Tensor, _: None) -> registration.Gradients:
    needs_rest = list(_rest(needs))
    grad_tex, *grads = torch.ops.diffrast.texture_mipmapped_backward(
        grad_out=grad_out, **vars(saved), needs_tex=needs.tex, needs_rest=needs_rest
    )
    return {"tex": grad_tex if needs.tex else None, **_wanted(grads, needs_rest)}


registration.gradients(
    _texture_mipmapped,
    _backward_mipmapped,
    (*registration.names_of(_texture_mipmapped), "flat"),
    outputs=("out", "flat"),
    fixed=("flat",),
)
