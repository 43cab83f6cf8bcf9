"""What a search for visible triangles is given."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Visibility:
    """One search, for all images of a batch. Tensors are contiguous and on one device, but for `ranges`."""

    pos: torch.Tensor  # float32 or float64 [B, V, 4], or [V, 4] with ranges
    tri: torch.Tensor  # int32 [F, 3]
    id: torch.Tensor  # out: int32 [B, H, W], triangle + 1, or 0
    depth: torch.Tensor | None = None  # out: [B, H, W] like pos, depth of the visible triangle
    ranges: torch.Tensor | None = None  # int32 [B, 2] on the CPU: first triangle and number of triangles of each image
    before_depth: torch.Tensor | None = None  # the layer before the one that is searched, as the search before left it
    before_id: torch.Tensor | None = None
    cull: int = 0  # of `enum Cull` in cuda/common.h

    @property
    def dtype(self) -> torch.dtype:
        return self.pos.dtype

    @property
    def batch(self) -> int:
        return self.id.shape[0]

    @property
    def height(self) -> int:
        return self.id.shape[1]

    @property
    def width(self) -> int:
        return self.id.shape[2]

    @property
    def vertices(self) -> int:
        return self.pos.shape[-2]

    @property
    def triangles(self) -> int:
        return self.tri.shape[0]

    def fields(self) -> dict[str, Any]:
        """The fields that all kernels share which search, or look again at what was found."""
        return {
            "pos": self.pos,
            "tri": self.tri,
            "before_depth": self.before_depth,
            "before_id": self.before_id,
            "id": self.id,
            "depth": self.depth,
            "vertices": self.vertices,
            "triangles": self.triangles,
            "height": self.height,
            "width": self.width,
            "pos_stride": 4 * self.vertices if self.ranges is None else 0,
            "cull": self.cull,
        }
