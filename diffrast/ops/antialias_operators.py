"""The operators behind both modes of `antialias`; docs/MATH.md, section 5.

The modes find discontinuities in their own ways; what is made of them afterwards, derivatives above all, is alike.
"""

from typing import Any, NamedTuple

import torch

from .. import backends
from . import registration, validate
from .rasterize import CULL


class Mode(NamedTuple):
    operator: str
    kernels: str  # what their names begin with
    found: tuple[str, ...]  # what is found, as its kernels call it


MODES = {
    "silhouette": Mode("antialias", "antialias", ("pairs",)),
    "area": Mode("antialias_area", "antialias_walk", ("code", "place", "owner")),
}

# Pixels per element of the image kernels: on the CPU a run shares the search for its place in the image and is copied
# as one.
RUN = {"cpu": 16}


class Launcher:
    """Launches kernels with the fields that all of them share."""

    def __init__(self, color: torch.Tensor, rast: torch.Tensor, pos: torch.Tensor, tri: torch.Tensor) -> None:
        self.run = backends.kernels_for(rast)
        self.dtype, self.device, self.image = rast.dtype, rast.device, rast.shape[:3]
        self.pixels, self.length = self.image.numel(), RUN.get(self.run.device_type, 1)
        self.tables = (pos.shape[0] if pos.dim() == 3 else 1, tri.shape[0])  # what there is of each triangle
        own = self.tables[0] > 1
        self.shared: dict[str, Any] = {
            "color": color,
            "rast": rast,
            "pos": pos,
            "tri": tri,
            "count": self.pixels,
            "height": rast.shape[1],
            "width": rast.shape[2],
            "channels": color.shape[-1],
            "triangles": tri.shape[0],
            "pos_stride": pos.shape[-2] * 4 if own else 0,
            "table_stride": tri.shape[0] if own else 0,
        }

    def of_triangles(self, kernel: str, **fields: Any) -> None:
        """A kernel with an element for each triangle of each mesh."""
        self.run.launch(kernel, self.dtype, self.tables[0] * self.tables[1], **self.shared, **fields)

    def of_pixels(self, kernel: str, **fields: Any) -> None:
        """A kernel with an element for each run of pixels."""
        elements = -(-self.pixels // self.length)
        self.run.launch(kernel, self.dtype, elements, **self.shared, run=self.length, **fields)

    def table(self, dtype: torch.dtype) -> torch.Tensor | None:
        """A number for each triangle; None where only the triangles at discontinuities are worth a look, as there are
        more triangles than pixels."""
        few = self.tables[0] * self.tables[1] <= self.pixels
        return torch.empty(self.tables, dtype=dtype, device=self.device) if few else None

    def empty(self, *channels: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """An image."""
        return self.run.empty((*self.image, *channels), dtype or self.dtype, self.device)


@torch.library.custom_op("diffrast::antialias", mutates_args=())
def _silhouette(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    ring: torch.Tensor,
    boost: float,
    cull: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    validate.index_range("antialias", tri, pos.shape[-2], "pos")
    launch = Launcher(color, rast, pos, tri)
    side, silhouettes = launch.table(torch.int8), launch.table(torch.uint8)
    culled = CULL.index(cull)
    if side is not None:
        launch.of_triangles("antialias_side", cull=culled, side=side)
        launch.of_triangles("antialias_silhouettes", cull=culled, ring=ring, side=side, silhouettes=silhouettes)
    pairs, out = launch.empty(dtype=torch.uint8), launch.empty(color.shape[-1])
    launch.of_pixels("antialias_find", cull=culled, ring=ring, side=side, silhouettes=silhouettes, pairs=pairs)
    launch.of_pixels("antialias_blend", pairs=pairs, out=out)
    return out, pairs


registration.fake(
    _silhouette, lambda x: (torch.empty_like(x.color), x.rast.new_empty(x.rast.shape[:3], dtype=torch.uint8))
)


@torch.library.custom_op("diffrast::antialias_area", mutates_args=())
def _area(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    ring: torch.Tensor,
    boost: float,
    cull: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    validate.index_range("antialias", tri, pos.shape[-2], "pos")
    launch = Launcher(color, rast, pos, tri)
    code, out = launch.empty(dtype=torch.uint8), launch.empty(color.shape[-1])
    # Written at crossings only; an operator's outputs must not be what memory happened to hold.
    place, owner = launch.empty(2).zero_(), launch.empty(2, 2, dtype=torch.int32).zero_()
    side = launch.table(torch.int8)
    if side is not None:
        launch.of_triangles("antialias_walk_side", cull=CULL.index(cull), side=side)
    found = {"code": code, "place": place, "owner": owner}
    launch.of_pixels("antialias_walk_find", cull=CULL.index(cull), ring=ring, side=side, **found)
    launch.of_pixels("antialias_walk_blend", out=out, **found)
    return out, code, place, owner


registration.fake(
    _area,
    lambda x: (
        torch.empty_like(x.color),
        x.rast.new_empty(x.rast.shape[:3], dtype=torch.uint8),
        x.rast.new_empty((*x.rast.shape[:3], 2)),
        x.rast.new_empty((*x.rast.shape[:3], 2, 2), dtype=torch.int32),
    ),
)


# --- Derivatives ------------------------------------------------------------------------------------------------------

INPUTS = "Tensor color, Tensor rast, Tensor pos, Tensor tri"


def _register(operator: Any, mode: Mode) -> None:
    """Gives a mode's operator its backward and its rule for tangents, which are operators too."""
    found = ", ".join(f"Tensor {name}" for name in mode.found)

    @registration.operator(
        f"{mode.operator}_backward",
        f"(Tensor grad_out, {INPUTS}, {found}, float boost, bool needs_color, bool needs_pos) -> (Tensor, Tensor)",
    )
    def backward(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
        launch = Launcher(x.color, x.rast, x.pos, x.tri)
        workers = launch.run.workers(launch.pixels)
        grad_color = launch.run.empty(x.color.shape if x.needs_color else (0,), launch.dtype, launch.device)
        grad_pos = x.pos.new_zeros((workers, *x.pos.shape) if x.needs_pos else (1, 0))
        launch.of_pixels(
            f"{mode.kernels}_bwd",
            **{name: getattr(x, name) for name in mode.found},
            grad_out=x.grad_out.contiguous(),
            grad_color=grad_color if x.needs_color else None,
            grad_pos=grad_pos if x.needs_pos else None,
            slab_size=x.pos.numel(),
            boost=x.boost,
            workers=workers,
            shared=grad_pos if x.needs_pos else None,
        )
        return grad_color, grad_pos.sum(0) if workers > 1 else grad_pos[0]

    @registration.operator(
        f"{mode.operator}_jvp", f"(Tensor tangent_color, Tensor tangent_pos, {INPUTS}, {found}, float boost) -> Tensor"
    )
    def jvp(x: Any) -> torch.Tensor:
        launch = Launcher(x.color, x.rast, x.pos, x.tri)
        out = launch.empty(x.color.shape[-1])
        given = {name: getattr(x, name) for name in mode.found}
        tangents = {"grad_out": x.tangent_color, "grad_pos": x.tangent_pos}
        launch.of_pixels(f"{mode.kernels}_jvp", **given, **tangents, out=out, boost=x.boost)
        return out

    def formula(saved: Any, needs: Any, grad_out: torch.Tensor, *_: None) -> registration.Gradients:
        if not (needs.color or needs.pos):
            return {}
        grad_color, grad_pos = getattr(torch.ops.diffrast, f"{mode.operator}_backward")(
            grad_out=grad_out, **vars(saved), needs_color=needs.color, needs_pos=needs.pos
        )
        return {"color": grad_color if needs.color else None, "pos": grad_pos if needs.pos else None}

    registration.fake(
        backward,
        lambda x: (
            x.color.new_empty(x.color.shape if x.needs_color else (0,)),
            x.pos.new_empty(x.pos.shape if x.needs_pos else (0,)),
        ),
    )
    registration.fake(jvp, lambda x: torch.empty_like(x.color))
    saves = ("color", "rast", "pos", "tri", *mode.found, "boost")
    registration.gradients(operator, formula, saves, outputs=("out", *mode.found), fixed=mode.found)


_register(_silhouette, MODES["silhouette"])
_register(_area, MODES["area"])
