"""Texture sampling: 2-D textures and cube maps, with mipmaps. Laine et al. 2020, section 3.4; docs/MATH.md, section 4."""

from collections.abc import Sequence
from typing import Any

import torch

from .. import backends
from . import validate
from .texture_mip import MAX_LEVELS, Mip, build, check_max_level, check_texture, level_count, level_shape

FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = ("wrap", "clamp", "zero", "cube")


def texture(
    tex: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    mip_level_bias: torch.Tensor | None = None,
    mip: Mip | Sequence[torch.Tensor] | None = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
) -> torch.Tensor:
    """Samples a texture at every pixel.

    Args:
        tex: float32 or float64 `[B, Ht, Wt, C]` or `[1, Ht, Wt, C]` (shared by the batch); any size, powers of two or not. A cube
            map is `[B|1, 6, S, S, C]` with boundary_mode="cube", faces +x -x +y -y +z -z as in OpenGL.
        uv: coordinates `[B, H, W, 2]` of the same dtype: (0, 0) is the lower left corner of the texture (where its first texel
            in memory is), (1, 1) the upper right one. For cube maps directions `[B, H, W, 3]` of any length.
        uv_da: the pixel derivatives of uv, as `interpolate` returns them: `[B, H, W, 4]` = (du/dX, du/dY, dv/dX, dv/dY), for cube
            maps `[B, H, W, 6]`. They choose the mip level; ignored by filters without mipmaps.
        mip_level_bias: `[B, H, W]`, added to the level of detail, or the level itself without uv_da. Ignored like uv_da.
        mip: mip levels made by `texture_construct_mip`, or a list of tensors: levels 1, 2, ... of a stack of one's own, each of
            max(1, floor(n / 2)) texels along an axis where the level below has n; it may end early. None builds them here.
        filter_mode: "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", or "auto": the last if uv_da or
            mip_level_bias is given, otherwise "linear".
        boundary_mode: "wrap", "clamp", "zero" (nothing outside [0, 1]) or "cube" (a cube map, filtered across its edges).
        max_mip_level: the highest level to use (0: none but the texture itself).

    Returns:
        `[B, H, W, C]`. Zeros where uv is not finite, or where a direction is zero.

    Differentiable: in tex (through all levels that are built here or by `texture_construct_mip`), in the tensors of a list `mip`
    (each for itself; nothing goes from them to tex), and in uv, uv_da and mip_level_bias. "nearest" has gradients for tex only,
    and "linear-mipmap-nearest" none for uv_da and mip_level_bias. A level of detail that is clamped to the levels that there are
    has no derivative.

    Raises:
        ValueError, TypeError: arguments that break the rules above; a mipmap filter without both uv_da and mip_level_bias.
    """
    op = "texture"
    validate.choice(op, "filter_mode", filter_mode, ("auto", *FILTERS))
    validate.choice(op, "boundary_mode", boundary_mode, BOUNDARIES)
    cube = boundary_mode == "cube"
    axes, images = (3, "[B, H, W, 3] (directions) for a cube map") if cube else (2, "[B, H, W, 2]")
    validate.tensor(op, "uv", uv, images, validate.shape_is(uv, None, None, None, axes))
    check_texture(op, tex, cube, uv.shape[0], ("uv", uv))
    if filter_mode == "auto":
        filter_mode = FILTERS[1] if uv_da is None and mip_level_bias is None else FILTERS[3]
    levels = [tex.contiguous()]
    if "mipmap" in filter_mode:
        if uv_da is None and mip_level_bias is None:
            raise ValueError(
                f"{op}(): filter_mode {filter_mode!r} needs uv_da or mip_level_bias; got None for both"
            )
        for name, value, sizes in (("uv_da", uv_da, (2 * axes,)), ("mip_level_bias", mip_level_bias, ())):
            if value is not None:
                shape = (*uv.shape[:3], *sizes)
                validate.tensor(
                    op, name, value, f"{list(shape)}", validate.shape_is(value, *shape), like=("uv", uv)
                )
        limit = check_max_level(op, max_mip_level)
        levels += build(levels[0], limit) if mip is None else _given_levels(op, tex, mip)[:limit]
    else:
        check_max_level(op, max_mip_level)
        uv_da = mip_level_bias = None
    uv_da = None if uv_da is None else uv_da.contiguous()
    bias = None if mip_level_bias is None else mip_level_bias.contiguous()
    return torch.ops.diffrast.texture(levels, uv.contiguous(), uv_da, bias, filter_mode, boundary_mode)


def _given_levels(op: str, tex: torch.Tensor, mip: Any) -> list[torch.Tensor]:
    """The levels above tex that the caller has brought along."""
    if isinstance(mip, Mip):
        if mip.shape != tex.shape:
            raise ValueError(
                f"{op}(): mip must be made from a texture of the shape of tex, {list(tex.shape)}; got one of {list(mip.shape)}"
            )
        mip = mip.levels
    if not isinstance(mip, list | tuple):
        raise TypeError(
            f"{op}(): mip must be made by texture_construct_mip, or be a list of tensors; got {validate.describe(mip)}"
        )
    most = level_count(tex, MAX_LEVELS)
    if len(mip) > most:
        raise ValueError(
            f"{op}(): mip must have at most {most} levels above tex {list(tex.shape)}; got {len(mip)}"
        )
    for level, value in enumerate(mip, 1):
        shape = level_shape(tex, level)
        rule = f"{list(shape)} (level {level} of tex {list(tex.shape)})"
        validate.tensor(
            op, f"mip[{level - 1}]", value, rule, validate.shape_is(value, *shape), like=("tex", tex)
        )
    return [value.contiguous() for value in mip]


# --- The operators ---------------------------------------------------------------------------------------------------------


def _kernel(direction: str, filter_mode: str, boundary_mode: str) -> str:
    kind = "cube" if boundary_mode == "cube" else "2d"
    return f"texture_{direction}_{'nearest' if filter_mode == FILTERS[0] else 'linear'}_{kind}"


def _constants(tex: torch.Tensor, boundary_mode: str) -> dict[str, int]:
    """What a kernel that is compiled at run time may know: the boundary, and up to 16 channels."""
    constants = {"DR_BOUNDARY": BOUNDARIES.index(boundary_mode)}
    return constants | ({"DR_CHANNELS": tex.shape[-1]} if tex.shape[-1] <= 16 else {})


def _addresses(tensors: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor | None, ...]:
    return (*tensors, *[None] * (MAX_LEVELS - len(tensors)))


def _sizes(
    levels: list[torch.Tensor], uv: torch.Tensor, filter_mode: str, boundary_mode: str, slab: int
) -> tuple[int, ...]:
    batch, *faces, height, width, channels = levels[0].shape
    return (len(levels), batch, *(faces or [1]), height, width, channels, uv.shape[:3].numel(), uv.shape[1:3].numel(),
            BOUNDARIES.index(boundary_mode), int(filter_mode == FILTERS[3]), slab)  # fmt: skip


@torch.library.custom_op(
    "diffrast::texture",
    mutates_args=(),
    schema="(Tensor[] levels, Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str boundary_mode) -> Tensor",
)
def _texture(
    levels: list[torch.Tensor],
    uv: torch.Tensor,
    uv_da: torch.Tensor | None,
    bias: torch.Tensor | None,
    filter_mode: str,
    boundary_mode: str,
) -> torch.Tensor:
    run = backends.kernels_for(uv)
    out = run.empty((*uv.shape[:3], levels[0].shape[-1]), uv.dtype, uv.device)
    sizes = _sizes(levels, uv, filter_mode, boundary_mode, 0)
    args = (*_addresses(levels), *_addresses([]), None, uv, uv_da, bias, out, None, None, None, None, *sizes)
    constants = _constants(levels[0], boundary_mode)
    run.launch(
        _kernel("fwd", filter_mode, boundary_mode), uv.dtype, uv.shape[:3].numel(), args, constants=constants
    )
    return out


@_texture.register_fake
def _(levels, uv, uv_da, bias, filter_mode, boundary_mode):
    return uv.new_empty((*uv.shape[:3], levels[0].shape[-1]))


@torch.library.custom_op(
    "diffrast::texture_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor[] levels, Tensor uv, Tensor? uv_da, Tensor? bias, str filter_mode, str boundary_mode, "
    "bool[] needs_levels, bool[] needs_rest) -> (Tensor[], Tensor, Tensor, Tensor)",
)
def _texture_backward(
    grad_out: torch.Tensor,
    levels: list[torch.Tensor],
    uv: torch.Tensor,
    uv_da: torch.Tensor | None,
    bias: torch.Tensor | None,
    filter_mode: str,
    boundary_mode: str,
    needs_levels: list[bool],
    needs_rest: list[bool],
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
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
    sizes = _sizes(levels, uv, filter_mode, boundary_mode, slab)
    # Sums in fixed point want the levels in one piece.
    sums = torch.zeros(slab, dtype=uv.dtype, device=uv.device) if run.fixed_point() else None
    pieces = grad_levels if sums is None else sums.split([grad.numel() for grad in grad_levels])
    into = _addresses([piece if needed else None for piece, needed in zip(pieces, needs_levels, strict=True)])
    args = (
        *_addresses(levels),
        *into,
        scratch,
        uv,
        uv_da,
        bias,
        None,
        grad_out.contiguous(),
        *wanted,
        *sizes,
    )
    run.launch(
        _kernel("bwd", filter_mode, boundary_mode),
        uv.dtype,
        uv.shape[:3].numel(),
        args,
        workers,
        constants=_constants(levels[0], boundary_mode),
        sums=() if sums is None else (sums,),
    )
    if sums is not None:
        for grad, piece in zip(grad_levels, pieces, strict=True):
            grad.copy_(piece.view(grad.shape))
    start = 0
    for grad in grad_levels:
        for other in scratch[:, start : start + grad.numel()]:
            grad += other.view(grad.shape)
        start += grad.numel()
    return grad_levels, grads[0], grads[1], grads[2]


@_texture_backward.register_fake
def _(grad_out, levels, uv, uv_da, bias, filter_mode, boundary_mode, needs_levels, needs_rest):
    def like(value, needed):
        return uv.new_empty(value.shape if needed and value is not None else (0,))

    grad_levels = [like(level, needed) for level, needed in zip(levels, needs_levels, strict=True)]
    grads = [like(value, needed) for value, needed in zip((uv, uv_da, bias), needs_rest, strict=True)]
    return grad_levels, grads[0], grads[1], grads[2]


def _setup_context(ctx, inputs, output):
    levels, uv, uv_da, bias, ctx.filter_mode, ctx.boundary_mode = inputs
    ctx.save_for_backward(uv, uv_da, bias, *levels)


def _backward(ctx, grad_out):
    uv, uv_da, bias, *levels = ctx.saved_tensors
    needs_levels, needs_rest = list(ctx.needs_input_grad[0]), list(ctx.needs_input_grad[1:4])
    grad_levels, *grads = torch.ops.diffrast.texture_backward(
        grad_out, levels, uv, uv_da, bias, ctx.filter_mode, ctx.boundary_mode, needs_levels, needs_rest
    )
    grad_levels = [grad if needed else None for grad, needed in zip(grad_levels, needs_levels, strict=True)]
    grads = [grad if needed else None for grad, needed in zip(grads, needs_rest, strict=True)]
    return grad_levels, *grads, None, None


_texture.register_autograd(_backward, setup_context=_setup_context)
