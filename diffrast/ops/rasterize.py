"""Rasterization: the visible triangle of each pixel, then barycentrics from the shared resolve kernel.

Laine et al. 2020, section 3.2; coverage after Olano and Greer 1997; the rules are those of docs/MATH.md, sections 1 and
2.
"""

from collections.abc import Sequence
from typing import Any, SupportsIndex, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from .. import backends
from ..backends.arguments import choices
from . import forward_mode, registration, validate
from .context import RasterizeContext, choose, say_once

CULL = choices("Cull")


def rasterize(
    ctx: RasterizeContext,
    pos: Float[Tensor, "*batch vertices 4"],
    tri: Integer[Tensor, "faces 3"],
    resolution: Sequence[SupportsIndex] | Integer[Tensor, "2"],
    ranges: Integer[Tensor, "images 2"] | None = None,
    grad_db: bool = True,
    *,
    cull: str = "none",
) -> tuple[Float[Tensor, "images height width 4"], Float[Tensor, "images height width db"]]:
    """Rasterizes triangles at pixel centres.

    Args:
        ctx: a rasterizer context.
        pos: float32 or float64 clip-space positions `[B, V, 4]` (instanced mode: B views of one mesh) or `[V, 4]`
            (range mode).
        tri: int32 or int64 vertex indices `[F, 3]`.
        resolution: (height, width) in pixels; any size of at least 1x1.
        ranges: range mode: int32 `[B, 2]` on the CPU, first triangle and number of triangles of each image.
        grad_db: whether gradients of `rast_db` flow into `pos`.
        cull: "none" draws both faces; "back" drops clockwise triangles, "front" counter-clockwise ones. An extension:
            pass the same to `antialias`.

    Returns:
        rast `[B, H, W, 4]` = (u, v, z/w, triangle id + 1), zeros where nothing is hit; row 0 is the bottom row; (u, v)
        = (1, 0) at the first vertex, (0, 1) at the second. rast_db `[B, H, W, 4]` = (du/dX, du/dY, dv/dX, dv/dY), X and
        Y in pixels (`[B, H, W, 0]` if output_db=False in
            the context).

    Half-precision positions are computed in float32, and so are rast and rast_db: a half could not hold a triangle's
    id.

    Indices on CUDA are read once for each tensor `tri`, and no call waits for the GPU after that.

    Differentiable: u, v and rast_db with respect to x, y and w of `pos`. z/w and the id carry no gradient, and coverage
        changes
    only through `antialias`. Triangles that are degenerate or not finite cover nothing and get no gradient.

    Raises:
        ValueError, TypeError: arguments that break the rules above, or indices outside [0, V).
        MemoryError, torch.OutOfMemoryError on CUDA: an output does not fit in memory; it says how many bytes for what.
    """
    pos, tri, height, width = _validate(ctx, pos, tri, resolution, ranges, cull)
    visible = torch.ops.diffrast.visibility(
        pos.detach(), tri, ranges, height, width, cull, ctx.backend, None, None, False
    )
    ids = visible[0]
    return _resolve(pos, tri, ids, ctx.output_db, grad_db)


class DepthPeeler:
    """Peels depth layers, nearest first; use as a context manager.

    Args: as for `rasterize`.

    Each call of `rasterize_next_layer()` returns `(rast, rast_db)` of the next layer, differentiable like the first.
    Surfaces at equal depth come in the order of their index. Layers behind the last surface are empty.
    """

    def __init__(
        self,
        ctx: RasterizeContext,
        pos: Float[Tensor, "*batch vertices 4"],
        tri: Integer[Tensor, "faces 3"],
        resolution: Sequence[SupportsIndex] | Integer[Tensor, "2"],
        ranges: Integer[Tensor, "images 2"] | None = None,
        grad_db: bool = True,
        *,
        cull: str = "none",
    ) -> None:
        self.pos, self.tri, self.height, self.width = _validate(ctx, pos, tri, resolution, ranges, cull)
        self.ctx, self.ranges, self.grad_db, self.cull = ctx, ranges, grad_db, cull
        self.before: tuple[torch.Tensor, torch.Tensor] | None = None

    def __enter__(self) -> "DepthPeeler":
        if self.ctx.active_depth_peeler is not None:
            raise RuntimeError("DepthPeeler: this context is already peeling; leave the other `with` block first")
        self.ctx.active_depth_peeler = self
        return self

    def __exit__(self, *exception: object) -> None:
        self.ctx.active_depth_peeler = None
        self.before = None

    def rasterize_next_layer(
        self,
    ) -> tuple[Float[Tensor, "images height width 4"], Float[Tensor, "images height width db"]]:
        """The next layer as `(rast, rast_db)`. Raises RuntimeError outside the `with` block."""
        if self.ctx.active_depth_peeler is not self:
            raise RuntimeError(
                "DepthPeeler: rasterize_next_layer() must be called inside `with DepthPeeler(...) as peeler:`"
            )
        ids, depth = self.before or (None, None)
        ids, depth = torch.ops.diffrast.visibility(
            self.pos.detach(),
            self.tri,
            self.ranges,
            self.height,
            self.width,
            self.cull,
            self.ctx.backend,
            ids,
            depth,
            True,
        )
        self.before = (ids, depth)
        return _resolve(self.pos, self.tri, ids, self.ctx.output_db, self.grad_db)


def triangle_id(rast: Float[Tensor, "*image 4"]) -> Integer[Tensor, "*image"]:
    """Triangle indices of a `rast` image as int64 `[B, H, W]`, -1 for background; exact at any number of triangles.

    Above 2^24 a float32 no longer counts exactly, so `rast[..., 3]` stores 2^24 + k as the k-th float32 after 2^24.
    """
    value = rast[..., 3].detach()
    if value.dtype != torch.float32:
        return value.long() - 1
    code = value.contiguous().view(torch.int32).long() - 0x4B800000 + (1 << 24)
    return torch.where(value > (1 << 24), code, value.long()) - 1


def _validate(
    ctx: Any, pos: torch.Tensor, tri: torch.Tensor, resolution: Any, ranges: torch.Tensor | None, cull: str
) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    op = "rasterize"
    if not isinstance(ctx, RasterizeContext):
        raise TypeError(f"{op}(): ctx must be a RasterizeContext; got {validate.describe(ctx)}")
    (pos,) = validate.widened(pos)
    shape = "[B, V, 4], or [V, 4] together with ranges"
    fits = validate.shape_is(pos, None, None, 4) if ranges is None else validate.shape_is(pos, None, 4)
    if ranges is not None:
        shape = "[V, 4] when ranges are given"
    validate.tensor(op, "pos", pos, shape, fits)
    validate.context_device(op, ctx.device, pos)
    tri = validate.triangles(op, tri, ("pos", pos))
    sizes = validate.listed(resolution)
    if not isinstance(sizes, Sequence) or len(cast(Sequence[Any], sizes)) != 2:
        raise ValueError(f"{op}(): resolution must be (height, width); got {validate.describe(sizes)}")
    height = validate.integer(op, "resolution[0] (height)", sizes[0], 1, 1 << 20)
    width = validate.integer(op, "resolution[1] (width)", sizes[1], 1, 1 << 20)
    validate.choice(op, "cull", cull, CULL)
    if ranges is not None:
        rule = "[B, 2] = (first triangle, count)"
        fits = validate.shape_is(ranges, None, 2)
        validate.tensor(op, "ranges", ranges, rule, fits, rank=2, dtype=(torch.int32, torch.int64))
        if ranges.device.type != "cpu":
            raise ValueError(f"{op}(): ranges must be on the CPU; got {validate.describe(ranges)}")
    return pos.contiguous(), tri, height, width


def _resolve(
    pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor, with_db: bool, grad_db: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    rast, rast_db = forward_mode.call("resolve", pos, tri, ids, with_db)
    return rast, rast_db if grad_db else rast_db.detach()


# --- The operators ----------------------------------------------------------------------------------------------------


@registration.operator(
    "visibility",
    "(Tensor pos, Tensor tri, Tensor? ranges, SymInt height, SymInt width, str cull, str backend, Tensor? before_id, "
    "Tensor? before_depth, bool with_depth) -> (Tensor, Tensor)",
)
def _visibility(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pos, tri, ranges = x.pos, x.tri, x.ranges
    validate.index_range("rasterize", tri, pos.shape[-2], "pos")
    if tri.shape[0] >= 2**31 - 1:
        raise ValueError(f"rasterize(): tri must have fewer than 2^31 - 1 triangles; got {tri.shape[0]}")
    if ranges is not None:
        ranges = _checked_ranges(ranges, tri.shape[0])
    shape = ((pos if ranges is None else ranges).shape[0], x.height, x.width)
    run = backends.get(choose(x.backend, pos))
    ids = run.empty(shape, torch.int32, pos.device)
    depth = run.empty(shape if x.with_depth else (0,), pos.dtype, pos.device)
    # Asking a GPU would make the CPU wait for it; what is not finite is not drawn there either.
    if pos.device.type == "cpu" and not bool(torch.isfinite(pos).all()):
        bad = int((~torch.isfinite(pos)).any(-1).sum())
        say_once(f"rasterize(): {bad} of {pos[..., 0].numel()} positions are not finite; their triangles are not drawn")
    before = {"before_depth": x.before_depth, "before_id": x.before_id}
    run.visibility(
        backends.Visibility(pos, tri, ids, depth if x.with_depth else None, ranges, **before, cull=CULL.index(x.cull))
    )
    return ids, depth


def _checked_ranges(ranges: torch.Tensor, triangles: int) -> torch.Tensor:
    first, count = ranges.long().unbind(1)
    if bool(((first < 0) | (count < 0) | (first + count > triangles)).any()):
        given = validate.listed(ranges)
        raise ValueError(f"rasterize(): ranges must lie within the {triangles} triangles of tri; got {given}")
    return ranges.to(torch.int32).contiguous()


def _visibility_outputs(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    shape = ((x.pos if x.ranges is None else x.ranges).shape[0], x.height, x.width)
    return x.pos.new_empty(shape, dtype=torch.int32), x.pos.new_empty(shape if x.with_depth else (0,))


registration.fake(_visibility, _visibility_outputs)


@registration.operator("resolve", "(Tensor pos, Tensor tri, Tensor ids, bool with_db) -> (Tensor, Tensor)")
def _resolve_op(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pos, ids = x.pos, x.ids
    run = backends.kernels_for(pos)
    shape = tuple(ids.shape)
    rast = run.empty((*shape, 4), pos.dtype, pos.device)
    rast_db = run.empty((*shape, 4 if x.with_db else 0), pos.dtype, pos.device)
    given: dict[str, Any] = {
        **_resolve_fields(pos, x.tri, ids),
        "rast": rast,
        "rast_db": rast_db if x.with_db else None,
    }
    run.launch("resolve_fwd", pos.dtype, ids.numel(), **given)
    return rast, rast_db


registration.fake(
    _resolve_op, lambda x: (x.pos.new_empty((*x.ids.shape, 4)), x.pos.new_empty((*x.ids.shape, 4 if x.with_db else 0)))
)


@registration.operator(
    "resolve_backward", "(Tensor grad_rast, Tensor? grad_rast_db, Tensor pos, Tensor tri, Tensor ids) -> Tensor"
)
def _resolve_backward(x: Any) -> torch.Tensor:
    pos, ids, grad_db = x.pos, x.ids, x.grad_rast_db
    run = backends.kernels_for(pos)
    workers = run.workers(ids.numel())
    grad_pos = pos.new_zeros((workers, *pos.shape))
    run.launch(
        "resolve_bwd",
        pos.dtype,
        ids.numel(),
        **_resolve_fields(pos, x.tri, ids),
        grad_rast=x.grad_rast.contiguous(),
        grad_rast_db=None if grad_db is None else grad_db.contiguous(),
        grad_pos=grad_pos,
        slab_size=pos.numel(),
        workers=workers,
        shared=grad_pos,
    )
    return grad_pos.sum(0) if workers > 1 else grad_pos[0]


registration.fake(_resolve_backward, lambda x: torch.empty_like(x.pos))


def _resolve_fields(pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    height, width = ids.shape[1:]
    return {
        "pos": pos,
        "tri": tri,
        "id": ids,
        "count": ids.numel(),
        "height": height,
        "width": width,
        "inv_height": 1.0 / height,
        "inv_width": 1.0 / width,
        "pos_stride": pos.shape[1] * 4 if pos.dim() == 3 else 0,
    }


def _backward(
    saved: Any, needs: Any, grad_rast: torch.Tensor | None, grad_rast_db: torch.Tensor | None
) -> registration.Gradients:
    if not saved.with_db:
        grad_rast_db = None
    if grad_rast is None and grad_rast_db is None:
        return {}
    if grad_rast is None:
        grad_rast = saved.pos.new_zeros((*saved.ids.shape, 4))
    return {"pos": torch.ops.diffrast.resolve_backward(grad_rast, grad_rast_db, saved.pos, saved.tri, saved.ids)}


registration.gradients(_resolve_op, _backward, ("pos", "tri", "ids", "with_db"), outputs=("rast", "rast_db"))
