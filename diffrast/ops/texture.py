"""Texture sampling: 2-D textures and cube maps, with mipmaps. Laine et al. 2020, section 3.4; docs/MATH.md, section 4."""

from collections.abc import Sequence
from typing import Any

import torch

from . import validate
from .texture_mip import MAX_LEVELS, Mip, check_max_level, check_texture, level_count, level_shape
from .texture_sample import BOUNDARIES, FILTERS


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

    Half-precision input is computed in float32 and returned in the dtype of tex.

    Differentiable: in tex (through all levels that are built here or by `texture_construct_mip`), in the tensors of a list `mip`
    (each for itself; nothing goes from them to tex), and in uv, uv_da and mip_level_bias. "nearest" has gradients for tex only,
    and "linear-mipmap-nearest" none for uv_da and mip_level_bias. A level of detail that is clamped to the levels that there are
    has no derivative.

    Raises:
        ValueError, TypeError: arguments that break the rules above; a mipmap filter without both uv_da and mip_level_bias.
    """
    op, dtype = "texture", getattr(tex, "dtype", None)
    tex, uv, uv_da, mip_level_bias = validate.widened(tex, uv, uv_da, mip_level_bias)
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
        count = level_count(tex, limit) if mip is None else 0
        levels += [] if mip is None else _given_levels(op, tex, mip)[:limit]
    else:
        check_max_level(op, max_mip_level)
        uv_da, mip_level_bias, count = None, None, 0
    uv_da = None if uv_da is None else uv_da.contiguous()
    bias = None if mip_level_bias is None else mip_level_bias.contiguous()
    if count > 0:
        out = torch.ops.diffrast.texture_mipmapped(
            levels[0], count, uv.contiguous(), uv_da, bias, filter_mode, boundary_mode
        )[0]
    else:
        out = torch.ops.diffrast.texture(levels, uv.contiguous(), uv_da, bias, filter_mode, boundary_mode)
    return out.to(dtype)


def _given_levels(op: str, tex: torch.Tensor, mip: Any) -> list[torch.Tensor]:
    """The levels above tex that the caller has brought along."""
    if isinstance(mip, Mip):
        if mip.shape != tex.shape:
            raise ValueError(
                f"{op}(): mip must be made from a texture of the shape of tex, {list(tex.shape)}; got one of {list(mip.shape)}"
            )
        mip = mip.levels
    if not isinstance(mip, (list, tuple)):
        raise TypeError(
            f"{op}(): mip must be made by texture_construct_mip, or be a list of tensors; got {validate.describe(mip)}"
        )
    mip, most = validate.widened(*mip), level_count(tex, MAX_LEVELS)
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
