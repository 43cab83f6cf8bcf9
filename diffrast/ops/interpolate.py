"""Attribute interpolation with pixel derivatives. Laine et al. 2020, section 3.3; docs/MATH.md, section 3."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from .. import backends
from . import forward_mode, validate


def interpolate(
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: Sequence[int] | str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
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


def _channels(diff_attrs: Sequence[int] | str | None, count: int) -> list[int]:
    if diff_attrs is None:
        return []
    if isinstance(diff_attrs, str):
        validate.choice("interpolate", "diff_attrs", diff_attrs, ("all",))
        return list(range(count))
    values = diff_attrs.tolist() if isinstance(diff_attrs, torch.Tensor) else list(diff_attrs)
    channels = [validate.integer("interpolate", "diff_attrs", c, -count, count - 1) for c in values]
    return [c % count for c in channels]


@lru_cache(maxsize=256)
def _channel_table(channels: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """The channels as int64 `[D]` on the device; kept, so that only their first use copies them there."""
    return torch.tensor(channels, dtype=torch.int64, device=device)


# --- The operators ----------------------------------------------------------------------------------------------------


def _attr_stride(attr: torch.Tensor) -> int:
    shared = attr.dim() == 2 or attr.shape[0] == 1
    return 0 if shared else attr.shape[-2] * attr.shape[-1]


def _sizes(attr: torch.Tensor, rast: torch.Tensor, tri: torch.Tensor, diff_attrs: list[int], slab: int) -> tuple:
    pixels = rast.shape[1] * rast.shape[2]
    return (pixels, attr.shape[-2], tri.shape[0], attr.shape[-1], len(diff_attrs), _attr_stride(attr), slab)


# Schemas are spelt out where lists occur: torch 2.6 cannot read `list[int]`.
@torch.library.custom_op(
    "diffrast::interpolate",
    mutates_args=(),
    schema="(Tensor attr, Tensor rast, Tensor tri, Tensor? rast_db, int[] diff_attrs) -> (Tensor, Tensor)",
)
def _interpolate(
    attr: torch.Tensor, rast: torch.Tensor, tri: torch.Tensor, rast_db: torch.Tensor | None, diff_attrs: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    validate.index_range("interpolate", tri, attr.shape[-2], "attr")
    run = backends.kernels_for(rast)
    out = run.empty((*rast.shape[:3], attr.shape[-1]), rast.dtype, rast.device)
    out_da = run.empty((*rast.shape[:3], 2 * len(diff_attrs)), rast.dtype, rast.device)
    channels = _channel_table(tuple(diff_attrs), rast.device)
    sizes = _sizes(attr, rast, tri, diff_attrs, 0)
    args = (attr, rast, rast_db, tri, channels, out, out_da, None, None, None, None, None, *sizes)
    run.launch("interpolate_fwd", rast.dtype, rast.shape[:3].numel(), args)
    return out, out_da


@_interpolate.register_fake
def _(attr, rast, tri, rast_db, diff_attrs):
    return rast.new_empty((*rast.shape[:3], attr.shape[-1])), rast.new_empty((*rast.shape[:3], 2 * len(diff_attrs)))


@torch.library.custom_op(
    "diffrast::interpolate_backward",
    mutates_args=(),
    schema="(Tensor grad_out, Tensor? grad_out_da, Tensor attr, Tensor rast, Tensor tri, Tensor? rast_db, int[] "
    "diff_attrs, "
    "bool needs_attr) -> (Tensor, Tensor, Tensor)",
)
def _interpolate_backward(
    grad_out: torch.Tensor,
    grad_out_da: torch.Tensor | None,
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None,
    diff_attrs: list[int],
    needs_attr: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    run = backends.kernels_for(rast)
    if grad_out_da is None:
        diff_attrs = []
    workers = run.workers(rast.shape[:3].numel()) if needs_attr else None
    grad_attr = attr.new_zeros((workers or 0, *attr.shape))
    grad_rast = run.empty(rast.shape, rast.dtype, rast.device)
    grad_db = run.empty(rast.shape if diff_attrs else (0,), rast.dtype, rast.device)
    channels = _channel_table(tuple(diff_attrs), rast.device)
    da = grad_out_da.contiguous() if grad_out_da is not None else None
    sizes = _sizes(attr, rast, tri, diff_attrs, attr.numel())
    args = (
        attr,
        rast,
        rast_db,
        tri,
        channels,
        None,
        None,
        grad_out.contiguous(),
        da,
        grad_attr if needs_attr else None,
        grad_rast,
        grad_db if diff_attrs else None,
        *sizes,
    )
    sums = (grad_attr,) if needs_attr else ()
    run.launch("interpolate_bwd", rast.dtype, rast.shape[:3].numel(), args, workers, sums=sums)
    return grad_attr[0] if workers == 1 else grad_attr.sum(0), grad_rast, grad_db


@_interpolate_backward.register_fake
def _(grad_out, grad_out_da, attr, rast, tri, rast_db, diff_attrs, needs_attr):
    with_db = bool(diff_attrs) and grad_out_da is not None
    return torch.empty_like(attr), torch.empty_like(rast), rast.new_empty(rast.shape if with_db else (0,))


def _setup_context(ctx, inputs, output):
    attr, rast, tri, rast_db, ctx.diff_attrs = inputs
    ctx.save_for_backward(attr, rast, tri, rast_db)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, grad_out_da):
    attr, rast, tri, rast_db = ctx.saved_tensors
    if not ctx.diff_attrs:
        grad_out_da = None
    if grad_out is None and grad_out_da is None:
        return None, None, None, None, None
    if grad_out is None:
        grad_out = rast.new_zeros((*rast.shape[:3], attr.shape[-1]))
    needs_attr = ctx.needs_input_grad[0]
    grad_attr, grad_rast, grad_db = torch.ops.diffrast.interpolate_backward(
        grad_out, grad_out_da, attr, rast, tri, rast_db, ctx.diff_attrs, needs_attr
    )
    with_db = rast_db is not None and grad_out_da is not None
    return grad_attr if needs_attr else None, grad_rast, None, grad_db if with_db else None, None


_interpolate.register_autograd(_backward, setup_context=_setup_context)
