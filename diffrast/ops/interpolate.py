"""Attribute interpolation with pixel derivatives. Laine et al. 2020, section 3.3; docs/MATH.md, section 3."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from .. import backends
from . import forward_mode, registration, validate


def interpolate(
    attr: Float[Tensor, "*shared vertices channels"],
    rast: Float[Tensor, "batch height width 4"],
    tri: Integer[Tensor, "faces 3"],
    rast_db: Float[Tensor, "batch height width 4"] | None = None,
    diff_attrs: Sequence[int] | Integer[Tensor, " differentiated"] | str | None = None,
) -> tuple[Float[Tensor, "batch height width channels"], Float[Tensor, "batch height width derivatives"]]:
    """Interpolates vertex attributes over the visible triangles.

    Args:
        attr: float32 or float64 `[B, V, A]`, `[1, V, A]` (broadcast) or `[V, A]` (shared by the batch).
        rast: `[B, H, W, 4]` from `rasterize`, of the same dtype.
        tri: int32 or int64 `[F, 3]`, the triangles that `rast` was made from, or others of the same number with indices
            of their own into `attr` (such as UV indices).
        rast_db: `[B, H, W, 4]` from `rasterize`; needed for `diff_attrs`.
        diff_attrs: the attributes that get pixel derivatives: a list of channel indices (negative counts from the end),
            or "all".

    Returns:
        out `[B, H, W, A]`, zeros where nothing is visible.
        out_da `[B, H, W, 2 * len(diff_attrs)]`: a pair (dA/dX, dA/dY) per attribute, per pixel; `[B, H, W, 0]` without
        diff_attrs.

    A half-precision attr is computed in float32; out and out_da have its dtype. rast is never half: it could not hold
    an id.

    Differentiable: out and out_da with respect to attr, (u, v) of rast, and rast_db.

    Raises:
        ValueError, TypeError: arguments that break the rules above, or indices outside [0, V).
    """
    op, dtype = "interpolate", getattr(attr, "dtype", None)
    (attr,) = validate.widened(attr)
    validate.tensor(op, "rast", rast, "[B, H, W, 4]", validate.shape_is(rast, None, None, None, 4))
    batch = rast.shape[0]
    fits = validate.shape_is(attr, None, None) or validate.shape_is(attr, (1, batch), None, None)
    validate.tensor(op, "attr", attr, f"[V, C] or [B|1, V, C] with B={batch} (from rast)", fits, like=("rast", rast))
    tri = validate.triangles(op, tri, ("rast", rast))
    channels = _channels(diff_attrs, attr.shape[-1])
    if not channels:
        rast_db = None
    elif rast_db is None:
        raise ValueError(f"{op}(): rast_db must be given with diff_attrs; got None")
    else:
        fits = validate.shape_is(rast_db, *rast.shape)
        validate.tensor(op, "rast_db", rast_db, f"{list(rast.shape)} like rast", fits, like=("rast", rast))
        rast_db = rast_db.contiguous()
    out, out_da = forward_mode.call("interpolate", attr.contiguous(), rast.contiguous(), tri, rast_db, channels)
    return out.to(dtype), out_da.to(dtype)


def _channels(diff_attrs: Any, count: int) -> list[int]:
    if diff_attrs is None:
        return []
    if isinstance(diff_attrs, str):
        validate.choice("interpolate", "diff_attrs", diff_attrs, ("all",))
        return list(range(count))
    values: Sequence[Any] = validate.listed(diff_attrs)
    channels = [validate.integer("interpolate", "diff_attrs", c, -count, count - 1) for c in values]
    return [c % count for c in channels]


@lru_cache(maxsize=256)
def _channel_table(channels: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """The channels as int64 `[D]` on the device; kept, so that only their first use copies them there."""
    return torch.tensor(channels, dtype=torch.int64, device=device)


# --- The operators ----------------------------------------------------------------------------------------------------


def _fields(x: Any, diff_attrs: list[int]) -> dict[str, Any]:
    """What both kernels are given."""
    attr, shared = x.attr, x.attr.dim() == 2 or x.attr.shape[0] == 1
    return {
        "attr": attr,
        "rast": x.rast,
        "rast_db": x.rast_db,
        "tri": x.tri,
        "diff_attrs": _channel_table(tuple(diff_attrs), attr.device),
        "pixels": x.rast.shape[1:3].numel(),
        "vertices": attr.shape[-2],
        "triangles": x.tri.shape[0],
        "channels": attr.shape[-1],
        "diff_count": len(diff_attrs),
        "attr_stride": 0 if shared else attr.shape[-2] * attr.shape[-1],
    }


@registration.operator(
    "interpolate", "(Tensor attr, Tensor rast, Tensor tri, Tensor? rast_db, int[] diff_attrs) -> (Tensor, Tensor)"
)
def _interpolate(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    validate.index_range("interpolate", x.tri, x.attr.shape[-2], "attr")
    run, image = backends.kernels_for(x.rast), x.rast.shape[:3]
    out = run.empty((*image, x.attr.shape[-1]), x.rast.dtype, x.rast.device)
    out_da = run.empty((*image, 2 * len(x.diff_attrs)), x.rast.dtype, x.rast.device)
    run.launch("interpolate_fwd", x.rast.dtype, image.numel(), **_fields(x, x.diff_attrs), out=out, out_da=out_da)
    return out, out_da


registration.fake(
    _interpolate,
    lambda x: (
        x.rast.new_empty((*x.rast.shape[:3], x.attr.shape[-1])),
        x.rast.new_empty((*x.rast.shape[:3], 2 * len(x.diff_attrs))),
    ),
)


@registration.operator(
    "interpolate_backward",
    "(Tensor grad_out, Tensor? grad_out_da, Tensor attr, Tensor rast, Tensor tri, Tensor? rast_db, "
    "int[] diff_attrs, bool needs_attr) -> (Tensor, Tensor, Tensor)",
)
def _interpolate_backward(x: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rast, pixels = x.rast, x.rast.shape[:3].numel()
    run = backends.kernels_for(rast)
    diff_attrs: list[int] = [] if x.grad_out_da is None else x.diff_attrs
    workers = run.workers(pixels) if x.needs_attr else None
    grad_attr = x.attr.new_zeros((workers or 0, *x.attr.shape))
    grad_rast = run.empty(rast.shape, rast.dtype, rast.device)
    grad_db = run.empty(rast.shape if diff_attrs else (0,), rast.dtype, rast.device)
    run.launch(
        "interpolate_bwd",
        rast.dtype,
        pixels,
        **_fields(x, diff_attrs),
        grad_out=x.grad_out.contiguous(),
        grad_out_da=None if x.grad_out_da is None else x.grad_out_da.contiguous(),
        grad_attr=grad_attr if x.needs_attr else None,
        grad_rast=grad_rast,
        grad_rast_db=grad_db if diff_attrs else None,
        slab_size=x.attr.numel(),
        workers=workers,
        shared=grad_attr if x.needs_attr else None,
    )
    return grad_attr[0] if workers == 1 else grad_attr.sum(0), grad_rast, grad_db


registration.fake(
    _interpolate_backward,
    lambda x: (
        torch.empty_like(x.attr),
        torch.empty_like(x.rast),
        x.rast.new_empty(x.rast.shape if x.diff_attrs and x.grad_out_da is not None else (0,)),
    ),
)


def _backward(
    saved: Any, needs: Any, grad_out: torch.Tensor | None, grad_out_da: torch.Tensor | None
) -> registration.Gradients:
    if not saved.diff_attrs:
        grad_out_da = None
    if grad_out is None and grad_out_da is None:
        return {}
    if grad_out is None:
        grad_out = saved.rast.new_zeros((*saved.rast.shape[:3], saved.attr.shape[-1]))
    grad_attr, grad_rast, grad_db = torch.ops.diffrast.interpolate_backward(
        grad_out=grad_out, grad_out_da=grad_out_da, **vars(saved), needs_attr=needs.attr
    )
    with_db = saved.rast_db is not None and grad_out_da is not None
    return {"attr": grad_attr if needs.attr else None, "rast": grad_rast, "rast_db": grad_db if with_db else None}


registration.gradients(_interpolate, _backward, registration.names_of(_interpolate), outputs=("out", "out_da"))
