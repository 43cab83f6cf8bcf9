"""Construction of mip levels for any size of texture. docs/MATH.md, section 4."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from .. import backends
from . import validate

# A field of the kernel's struct (cuda/texture.cu) holds this many addresses; 2^24 texels along an axis are also what float32
# coordinates can tell apart.
MAX_LEVELS = 24
MAX_SIZE = 1 << MAX_LEVELS


@dataclass(frozen=True)
class Mip:
    """The mip levels of a texture, made by `texture_construct_mip`. Pass it to `texture` as `mip`; its content may change.

    levels: levels 1, 2, ... of the texture, differentiable functions of it.
    shape: that of the texture.
    """

    levels: list[torch.Tensor]
    shape: torch.Size


def texture_construct_mip(
    tex: torch.Tensor, max_mip_level: int | None = None, cube_mode: bool = False
) -> Mip:
    """Builds the mip levels of a texture once, for several calls of `texture`.

    Args:
        tex: float32 or float64 `[B|1, Ht, Wt, C]`, or a cube map `[B|1, 6, S, S, C]` with cube_mode.
        max_mip_level: the highest level to build; None builds all, 0 none.
        cube_mode: whether the texture is a cube map.

    Returns:
        An opaque object for `texture(..., mip=...)`. It does not follow later changes of `tex`.

    An axis of n texels has max(1, floor(n / 2)) on the next level. Texels there are exact averages of equal parts of the axis, so
    any size works, powers of two or not, and the mean of the texture is kept.

    The levels of a half-precision texture are float32, as `texture` computes.

    Differentiable: the levels with respect to `tex`, if it requires gradients here; gradients that reach them in `texture` flow on
    into `tex`. Levels of `tex.detach()` leave the texture only the gradient of its own, lowest level.

    Raises:
        ValueError, TypeError: arguments that break the rules above.
    """
    op = "texture_construct_mip"
    (tex,) = validate.widened(tex)
    check_texture(op, tex, cube_mode)
    return Mip(build(tex.contiguous(), check_max_level(op, max_mip_level)), tex.shape)


def check_texture(op: str, tex: torch.Tensor, cube: bool, batch: int | None = None, like=None) -> None:
    """Raises unless `tex` is a texture, for `batch` images (None: any number) on the device and of the dtype of `like`."""
    sizes = None if batch is None else (1, batch)
    of_batch = "" if batch is None else f" with B={batch} (from uv)"
    first = "N" if batch is None else "B|1"
    if cube:
        fits = validate.shape_is(tex, sizes, 6, None, None, None) and tex.shape[2] == tex.shape[3]
        validate.tensor(op, "tex", tex, f"[{first}, 6, S, S, C]{of_batch} for a cube map", fits, like=like)
    else:
        fits = validate.shape_is(tex, sizes, None, None, None)
        validate.tensor(op, "tex", tex, f"[{first}, Ht, Wt, C]{of_batch}", fits, like=like)
    if not all(0 < n < MAX_SIZE for n in tex.shape[-3:-1]) or tex.shape[0] == 0:
        raise ValueError(
            f"{op}(): tex must have 1 to {MAX_SIZE - 1} texels along each axis; got {validate.describe(tex)}"
        )


def check_max_level(op: str, max_mip_level: int | None) -> int:
    """The highest level allowed; None allows all."""
    return (
        MAX_LEVELS - 1 if max_mip_level is None else validate.integer(op, "max_mip_level", max_mip_level, 0)
    )


def level_shape(tex: torch.Tensor, level: int) -> tuple[int, ...]:
    """The shape of a mip level of `tex`."""
    *first, height, width, channels = tex.shape
    return (*first, max(1, height >> level), max(1, width >> level), channels)


def level_count(tex: torch.Tensor, max_mip_level: int) -> int:
    """How many levels there are above `tex`, up to `max_mip_level`."""
    return min(max(tex.shape[-3:-1]).bit_length() - 1, max_mip_level)


def build(tex: torch.Tensor, max_mip_level: int) -> list[torch.Tensor]:
    """Levels 1, 2, ... of a contiguous texture."""
    count = level_count(tex, max_mip_level)
    return torch.ops.diffrast.texture_mip(tex, count) if count > 0 else []


def build_levels(levels: list[torch.Tensor]) -> None:
    """Fills levels 1, 2, ... from level 0."""
    run = backends.kernels_for(levels[0])
    for fine, coarse in pairwise(levels):
        args = (fine, coarse, None, None, None, *fine.shape[-3:])
        run.launch("texture_mip_fwd", fine.dtype, coarse.shape[:-1].numel(), args)


def fold_levels(grads: list[torch.Tensor]) -> None:
    """Adjoint of `build_levels`: adds the gradients of the levels above into those below, in place, down to level 0."""
    run = backends.kernels_for(grads[0])
    for coarse, fine in pairwise(reversed(grads)):
        args = (None, None, coarse, fine, fine, *fine.shape[-3:])
        run.launch("texture_mip_bwd", fine.dtype, _elements(coarse, fine), args)


def _elements(coarse: torch.Tensor, fine: torch.Tensor) -> int:
    """Of texture_mip_bwd: coarse texels with their four children, or fine ones where a size is odd."""
    even = fine.shape[-3] % 2 == 0 and fine.shape[-2] % 2 == 0
    return (coarse if even else fine).shape[:-1].numel()


# --- The operators ---------------------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "diffrast::texture_mip", mutates_args=(), schema="(Tensor tex, int count) -> Tensor[]"
)
def _texture_mip(tex: torch.Tensor, count: int) -> list[torch.Tensor]:
    run = backends.kernels_for(tex)
    above = [run.empty(level_shape(tex, level), tex.dtype, tex.device) for level in range(1, count + 1)]
    build_levels([tex, *above])
    return above


@_texture_mip.register_fake
def _(tex, count):
    return [tex.new_empty(level_shape(tex, level)) for level in range(1, count + 1)]


@torch.library.custom_op(
    "diffrast::texture_mip_backward", mutates_args=(), schema="(Tensor[] grad_levels, int[] shape) -> Tensor"
)
def _texture_mip_backward(grad_levels: list[torch.Tensor], shape: list[int]) -> torch.Tensor:
    grad = grad_levels[-1].contiguous()
    run = backends.kernels_for(grad)
    for level in reversed(range(len(grad_levels))):
        own = grad_levels[level - 1].contiguous() if level > 0 else None
        fine = run.empty(shape if own is None else own.shape, grad.dtype, grad.device)
        args = (None, None, grad, own, fine, *fine.shape[-3:])
        run.launch("texture_mip_bwd", grad.dtype, _elements(grad, fine), args)
        grad = fine
    return grad


@_texture_mip_backward.register_fake
def _(grad_levels, shape):
    return grad_levels[0].new_empty(shape)


def _setup_context(ctx, inputs, output):
    ctx.shape = list(inputs[0].shape)


def _backward(ctx, grad_levels):
    return torch.ops.diffrast.texture_mip_backward(grad_levels, ctx.shape), None


_texture_mip.register_autograd(_backward, setup_context=_setup_context)
