"""Texture sampling: 2-D textures, volumes and cube maps, with mipmaps. Laine et al. 2020, section 3.4; docs/MATH.md,
section 4."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from . import forward_mode, validate
from .texture_mip import (
    MAX_LEVELS,
    Mip,
    check_max_level,
    check_texture,
    is_volume,
    level_count,
    level_shape,
    shrinking_axes,
)
from .texture_sample import BOUNDARIES, FILTERS

MAX_ANISOTROPY = 64
# Kind of texture -> how many coordinates a sample has, and the rule for uv in words.
COORDINATES = {
    "2d": (2, "[B, H, W, 2]"),
    "volume": (3, "[B, H, W, 3] (u, v, w) for a volume (boundary_mode='cube' makes five axes a cube map)"),
    "cube": (3, "[B, H, W, 3] (directions) for a cube map"),
}


def texture(
    tex: Float[Tensor, "shared *texels channels"],
    uv: Float[Tensor, "batch height width coordinates"],
    uv_da: Float[Tensor, "batch height width derivatives"] | None = None,
    mip_level_bias: Float[Tensor, "batch height width"] | None = None,
    mip: Mip | Sequence[Float[Tensor, "shared *_ channels"]] | None = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
    *,
    max_anisotropy: int = 16,
) -> Float[Tensor, "batch height width channels"]:
    """Samples a texture at every pixel.

    Args:
        tex: float32 or float64 `[B, Ht, Wt, C]` or `[1, Ht, Wt, C]` (shared by the batch); any size, powers of two or
            not. A cube map is `[B|1, 6, S, S, C]` with boundary_mode="cube", faces +x -x +y -y +z -z as in OpenGL; with
            any other boundary mode five axes are a volume `[B|1, D, Ht, Wt, C]`.
        uv: coordinates `[B, H, W, 2]` of the same dtype: (0, 0) is the lower left corner of the texture (where its
            first texel in memory is), (1, 1) the upper right one. For volumes `[B, H, W, 3]` = (u, v, w): u runs along
            Wt, v along Ht, w along D, and the first voxel is at (0, 0, 0). For cube maps directions `[B, H, W, 3]` of
            any length.
        uv_da: the pixel derivatives of uv, as `interpolate` returns them: `[B, H, W, 4]` = (du/dX, du/dY, dv/dX,
            dv/dY), for volumes and cube maps `[B, H, W, 6]`. They choose the mip level; ignored by filters without
            mipmaps.
        mip_level_bias: `[B, H, W]`, added to the level of detail, or the level itself without uv_da. Ignored like
            uv_da.
        mip: mip levels made by `texture_construct_mip`, or a list of tensors: levels 1, 2, ... of a stack of one's own,
            each of max(1, floor(n / 2)) texels along an axis where the level below has n; it may end early. None builds
            them here.
        filter_mode: "nearest", "linear" (bilinear; in a volume trilinear), "linear-mipmap-nearest",
            "linear-mipmap-linear", or "auto": the last if uv_da or mip_level_bias is given, otherwise "linear".
            "anisotropic" is for surfaces that are seen at a grazing angle: taps of "linear-mipmap-linear" in a row
            along the long axis of the pixel's footprint, on the level that fits its short axis. It is for 2-D textures,
            and needs uv_da; mip_level_bias shifts the level, not the row.
        boundary_mode: "wrap", "clamp", "zero" (nothing outside [0, 1]) or "cube" (a cube map, filtered across its
            edges).
        max_mip_level: the highest level to use (0: none but the texture itself).
        max_anisotropy: 1 to 64, of the filter "anisotropic": up to which ratio of the axes the footprint is followed,
            longer ones are blurred. There are at most max_anisotropy + 1 taps, and 1 is "linear-mipmap-linear". Other
            filters ignore it.

    Returns:
        `[B, H, W, C]`. Zeros where uv is not finite, or where a direction is zero.

    Half-precision input is computed in float32 and returned in the dtype of tex.

    Differentiable: in tex (through all levels that are built here or by `texture_construct_mip`), in the tensors of a
        list `mip`
    (each for itself; nothing goes from them to tex), and in uv, uv_da and mip_level_bias. "nearest" has gradients for
    tex only, and "linear-mipmap-nearest" none for uv_da and mip_level_bias. A level of detail that is clamped to the
    levels that there are has no derivative. Derivatives are one-sided where a texel, a level or a tap takes over
    (docs/MATH.md, section 4).

    Raises:
        ValueError, TypeError: arguments that break the rules above; a mipmap filter without both uv_da and
            mip_level_bias; "anisotropic" without uv_da, for a volume or for a cube map.
    """
    op, dtype = "texture", getattr(tex, "dtype", None)
    tex, uv, uv_da, mip_level_bias = validate.widened(tex, uv, uv_da, mip_level_bias)
    validate.choice(op, "filter_mode", filter_mode, ("auto", *FILTERS))
    validate.choice(op, "boundary_mode", boundary_mode, BOUNDARIES)
    max_anisotropy = validate.integer(op, "max_anisotropy", max_anisotropy, 1, MAX_ANISOTROPY)
    kind = "cube" if boundary_mode == "cube" else "volume" if is_volume(tex, False) else "2d"
    axes, images = COORDINATES[kind]
    validate.tensor(op, "uv", uv, images, validate.shape_is(uv, None, None, None, axes))
    check_texture(op, tex, kind == "cube", uv.shape[0], ("uv", uv))
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"
    levels, count = [tex.contiguous()], 0
    if FILTERS[filter_mode].mipmapped:
        _check_filter(op, filter_mode, kind, uv_da, mip_level_bias)
        for name, value, sizes in (("uv_da", uv_da, (2 * axes,)), ("mip_level_bias", mip_level_bias, ())):
            if value is not None:
                shape = (*uv.shape[:3], *sizes)
                validate.tensor(op, name, value, f"{list(shape)}", validate.shape_is(value, *shape), like=("uv", uv))
        limit, shrinking = check_max_level(op, max_mip_level), shrinking_axes(tex, kind == "cube")
        count = level_count(tex, shrinking, limit) if mip is None else 0
        levels += [] if mip is None else _given_levels(op, tex, shrinking, mip)[:limit]
    else:
        check_max_level(op, max_mip_level)
        uv_da, mip_level_bias = None, None
    uv_da = None if uv_da is None else uv_da.contiguous()
    bias = None if mip_level_bias is None else mip_level_bias.contiguous()
    sampling = (uv.contiguous(), uv_da, bias, filter_mode, boundary_mode, max_anisotropy)
    if count > 0:
        out = forward_mode.call("texture_mipmapped", levels[0], count, *sampling)[0]
    else:
        out = forward_mode.call("texture", levels, *sampling)
    return out.to(dtype)


def _check_filter(op: str, filter_mode: str, kind: str, uv_da: torch.Tensor | None, bias: torch.Tensor | None) -> None:
    """Raises unless there is what a filter with mip levels needs."""
    if filter_mode == "anisotropic":
        if kind != "2d":
            what = {"cube": "a cube map (boundary_mode 'cube')", "volume": "a volume"}[kind]
            raise ValueError(
                f"{op}(): filter_mode 'anisotropic' is for 2-D textures; got {what}, use 'linear-mipmap-linear'"
            )
        if uv_da is None:
            raise ValueError(
                f"{op}(): filter_mode 'anisotropic' needs uv_da, which gives the footprint its shape; got None"
            )
    elif uv_da is None and bias is None:
        raise ValueError(f"{op}(): filter_mode {filter_mode!r} needs uv_da or mip_level_bias; got None for both")


def _given_levels(op: str, tex: torch.Tensor, axes: int, mip: Any) -> list[torch.Tensor]:
    """The levels above tex that the caller has brought along."""
    if isinstance(mip, Mip):
        if mip.shape != tex.shape:
            raise ValueError(
                f"{op}(): mip must be made from a texture of the shape of tex, {list(tex.shape)}; got one of "
                f"{list(mip.shape)}"
            )
        mip = mip.levels
    if not isinstance(mip, (list, tuple)):
        raise TypeError(
            f"{op}(): mip must be made by texture_construct_mip, or be a list of tensors; got {validate.describe(mip)}"
        )
    mip, most = validate.widened(*mip), level_count(tex, axes, MAX_LEVELS)
    if len(mip) > most:
        raise ValueError(f"{op}(): mip must have at most {most} levels above tex {list(tex.shape)}; got {len(mip)}")
    for level, value in enumerate(mip, 1):
        shape = level_shape(tex, axes, level)
        rule = f"{list(shape)} (level {level} of tex {list(tex.shape)})"
        validate.tensor(op, f"mip[{level - 1}]", value, rule, validate.shape_is(value, *shape), like=("tex", tex))
    return [value.contiguous() for value in mip]
