"""Construction of mip levels for any size of texture. docs/MATH.md, section 4."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import backends
from ..backends.arguments import constant
from . import forward_mode, registration, validate

# As many addresses as the kernels' struct holds; 2^24 texels along an axis are also what float32 coordinates can tell
# apart.
MAX_LEVELS = constant("kMaxLevels")
MAX_SIZE = 1 << MAX_LEVELS


@dataclass(frozen=True)
class Mip:
    """The mip levels of a texture, made by `texture_construct_mip`. Pass it to `texture` as `mip`; its content may
    change.

    levels: levels 1, 2, ... of the texture, differentiable functions of it.
    shape: that of the texture.
    """

    levels: list[torch.Tensor]
    shape: torch.Size


def texture_construct_mip(
    tex: Float[Tensor, "images *texels channels"], max_mip_level: int | None = None, cube_mode: bool = False
) -> Mip:
    """Builds the mip levels of a texture once, for several calls of `texture`.

    Args:
        tex: float32 or float64 `[B|1, Ht, Wt, C]`, a volume `[B|1, D, Ht, Wt, C]`, or a cube map `[B|1, 6, S, S, C]`
            with cube_mode.
        max_mip_level: the highest level to build; None builds all, 0 none.
        cube_mode: whether the texture is a cube map.

    Returns:
        An opaque object for `texture(..., mip=...)`. It does not follow later changes of `tex`.

    An axis of n texels has max(1, floor(n / 2)) on the next level. Texels there are exact averages of equal parts of
    the axis, so any size works, powers of two or not, and the mean of the texture is kept.

    The levels of a half-precision texture are float32, as `texture` computes.

    Differentiable: the levels with respect to `tex`, if it requires gradients here; gradients that reach them in
        `texture` flow on
    into `tex`. Levels of `tex.detach()` leave the texture only the gradient of its own, lowest level.

    Raises:
        ValueError, TypeError: arguments that break the rules above.
    """
    op = "texture_construct_mip"
    (tex,) = validate.widened(tex)
    check_texture(op, tex, cube_mode)
    axes = shrinking_axes(tex, cube_mode)
    count = level_count(tex, axes, check_max_level(op, max_mip_level))
    return Mip(forward_mode.call("texture_mip", tex.contiguous(), count, axes) if count > 0 else [], tex.shape)


def is_volume(tex: object, cube: bool) -> bool:
    """Whether `tex` is laid out as a volume; it is for the boundary mode to say that five axes are a cube map."""
    return not cube and isinstance(tex, torch.Tensor) and tex.dim() == 5


def shrinking_axes(tex: torch.Tensor, cube: bool) -> int:
    """How many axes of `tex`, counted from the one before the channels, get shorter from level to level."""
    return 3 if is_volume(tex, cube) else 2


def check_texture(
    op: str, tex: torch.Tensor, cube: bool, batch: int | None = None, like: tuple[str, torch.Tensor] | None = None
) -> None:
    """Raises unless `tex` is a texture, for `batch` images (None: any number) on the device and of the dtype of
    `like`."""
    sizes = None if batch is None else (1, batch)
    of_batch = "" if batch is None else f" with B={batch} (from uv)"
    first = "N" if batch is None else "B|1"
    if cube:
        fits = validate.shape_is(tex, sizes, 6, None, None, None) and tex.shape[2] == tex.shape[3]
        validate.tensor(op, "tex", tex, f"[{first}, 6, S, S, C]{of_batch} for a cube map", fits, like=like)
    elif is_volume(tex, cube):
        fits = validate.shape_is(tex, sizes, None, None, None, None)
        validate.tensor(op, "tex", tex, f"[{first}, D, Ht, Wt, C]{of_batch} for a volume", fits, like=like)
    else:
        fits = validate.shape_is(tex, sizes, None, None, None)
        validate.tensor(op, "tex", tex, f"[{first}, Ht, Wt, C]{of_batch}", fits, like=like)
    axes = shrinking_axes(tex, cube)
    if not all(0 < n < MAX_SIZE for n in tex.shape[-1 - axes : -1]) or tex.shape[0] == 0:
        raise ValueError(
            f"{op}(): tex must have 1 to {MAX_SIZE - 1} texels along each axis; got {validate.describe(tex)}"
        )


def check_max_level(op: str, max_mip_level: int | None) -> int:
    """The highest level allowed; None allows all."""
    return MAX_LEVELS - 1 if max_mip_level is None else validate.integer(op, "max_mip_level", max_mip_level, 0)


def level_shape(tex: torch.Tensor, axes: int, level: int) -> tuple[int, ...]:
    """The shape of a mip level of `tex`, of which `axes` axes shrink."""
    first, sizes = tex.shape[: -1 - axes], tex.shape[-1 - axes : -1]
    return (*first, *(max(1, n >> level) for n in sizes), tex.shape[-1])


def level_count(tex: torch.Tensor, axes: int, max_mip_level: int) -> int:
    """How many levels there are above `tex`, up to `max_mip_level`."""
    return min(max(tex.shape[-1 - axes : -1]).bit_length() - 1, max_mip_level)


def build_levels(levels: list[torch.Tensor], axes: int) -> None:
    """Fills levels 1, 2, ... from level 0."""
    run = backends.kernels_for(levels[0])
    for fine, coarse in pairwise(levels):
        elements = coarse.shape[:-1].numel()
        run.launch(_kernel("fwd", axes), fine.dtype, elements, fine=fine, coarse=coarse, **_sizes(fine, axes))


def fold_levels(grads: list[torch.Tensor], axes: int) -> None:
    """Adjoint of `build_levels`: adds the gradients of the levels above into those below, in place, down to level 0."""
    for coarse, fine in pairwise(reversed(grads)):
        _fold(coarse, fine, fine, axes)


def _fold(coarse: torch.Tensor, own: torch.Tensor | None, fine: torch.Tensor, axes: int) -> None:
    """`fine` becomes `own`, or zero, and the share of the gradient of the level above."""
    even = axes == 2 and fine.shape[-3] % 2 == 0 and fine.shape[-2] % 2 == 0
    elements = (coarse if even else fine).shape[:-1].numel()  # coarse texels with their children, or fine ones
    grads = {"grad_coarse": coarse, "grad_own": own, "grad_fine": fine}
    run = backends.kernels_for(fine)
    run.launch(_kernel("bwd", axes), fine.dtype, elements, **grads, **_sizes(fine, axes))


def _sizes(fine: torch.Tensor, axes: int) -> dict[str, Any]:
    names = ("depth", "height", "width", "channels")
    return dict(zip(names[3 - axes :], fine.shape[-1 - axes :], strict=True))


def _kernel(direction: str, axes: int) -> str:
    return f"texture_mip_{direction}{'_3d' if axes == 3 else ''}"


# --- The operators ----------------------------------------------------------------------------------------------------


@registration.operator("texture_mip", "(Tensor tex, int count, int axes) -> Tensor[]")
def _texture_mip(x: Any) -> list[torch.Tensor]:
    shapes = [level_shape(x.tex, x.axes, level) for level in range(1, x.count + 1)]
    above = [backends.kernels_for(x.tex).empty(shape, x.tex.dtype, x.tex.device) for shape in shapes]
    build_levels([x.tex, *above], x.axes)
    return above


registration.fake(
    _texture_mip, lambda x: [x.tex.new_empty(level_shape(x.tex, x.axes, level)) for level in range(1, x.count + 1)]
)


@registration.operator("texture_mip_backward", "(Tensor[] grad_levels, int[] shape, int axes) -> Tensor")
def _texture_mip_backward(x: Any) -> torch.Tensor:
    grad = x.grad_levels[-1].contiguous()
    run = backends.kernels_for(grad)
    for level in reversed(range(len(x.grad_levels))):
        own = x.grad_levels[level - 1].contiguous() if level > 0 else None
        fine = run.empty(x.shape if own is None else own.shape, grad.dtype, grad.device)
        _fold(grad, own, fine, x.axes)
        grad = fine
    return grad


registration.fake(_texture_mip_backward, lambda x: x.grad_levels[0].new_empty(x.shape))


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, int, int], output: list[torch.Tensor]) -> None:
    tex, _, ctx.axes = inputs
    ctx.shape = list(tex.shape)


def _backward(ctx: Any, grad_levels: list[torch.Tensor]) -> tuple[torch.Tensor, None, None]:
    return torch.ops.diffrast.texture_mip_backward(grad_levels, ctx.shape, ctx.axes), None, None


registration.torch_library.register_autograd(_texture_mip, _backward, setup_context=_setup_context)
