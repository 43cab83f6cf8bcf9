"""Which triangles share an edge: what `antialias` needs to know about a mesh to tell silhouettes from interior
edges."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Integer
from torch import Tensor

from .. import backends
from . import registration, validate
from .known import Known


@dataclass(frozen=True)
class Topology:
    """The edges of a mesh, opaque; made by `antialias_construct_topology_hash` and good for any vertex positions."""

    # int32 [F, 3]. Half-edge 3 f + e is the edge of triangle f opposite to its corner e. The half-edges of one edge
    # form a ring: each holds the next one, or ~ of it where the next runs in the same direction.
    ring: torch.Tensor

    def to(self, device: torch.device | str) -> "Topology":
        """The same on another device."""
        return Topology(self.ring.to(device))


def antialias_construct_topology_hash(tri: Integer[Tensor, "faces 3"]) -> Topology:
    """Finds the triangles that share each edge, for `antialias`.

    Args:
        tri: int32 or int64 vertex indices `[F, 3]`. Edges of one, two or more triangles are all right. Two vertices of
            the same position are two vertices: the edges between them are open.

    Returns:
        An opaque object for `antialias(topology_hash=...)`, with any vertex positions; `.to(device)` copies it
        elsewhere.

    The time is that of sorting the edges, however many triangles share a vertex.

    Raises:
        ValueError, TypeError: tri is not `[F, 3]` of int32 or int64, or has more than 715 million triangles.
    """
    op = "antialias_construct_topology_hash"
    fits = validate.shape_is(tri, None, 3)
    validate.tensor(op, "tri", tri, "[F, 3]", fits, rank=2, dtype=(torch.int32, torch.int64))
    return Topology(torch.ops.diffrast.topology(validate.triangles(op, tri, ("tri", tri))))


# Code that leaves `topology_hash` out does so in a loop.
_topology_of: Known[Topology] = Known(antialias_construct_topology_hash)


def topology_of(op: str, topology: Any, tri: torch.Tensor) -> Topology:
    """The topology that was passed, checked against valid `tri`, or that of `tri`, remembered while it lives
    unchanged."""
    if topology is None:
        return _topology_of(tri)
    if not isinstance(topology, Topology):
        raise TypeError(
            f"{op}(): topology_hash must be None or made by antialias_construct_topology_hash(); "
            f"got {validate.describe(topology)}"
        )
    if topology.ring.shape[0] != tri.shape[0]:
        raise ValueError(
            f"{op}(): topology_hash must be of the {tri.shape[0]} triangles of tri; got one of {topology.ring.shape[0]}"
        )
    if topology.ring.device != tri.device:
        raise ValueError(
            f"{op}(): topology_hash must be on {tri.device} like tri (use .to()); got one on {topology.ring.device}"
        )
    return topology


@torch.library.custom_op("diffrast::topology", mutates_args=())
def _topology(tri: torch.Tensor) -> torch.Tensor:
    if tri.numel() >= 2**31:
        raise ValueError(
            f"antialias_construct_topology_hash(): tri must have fewer than 2^31 / 3 triangles; got {tri.shape[0]}"
        )
    start, end = tri.roll(-1, 1), tri.roll(-2, 1)
    key = (torch.minimum(start, end).long() << 32 | torch.maximum(start, end).long()).flatten()
    key, order = torch.sort(key, stable=True)
    ring = torch.empty_like(tri)
    run, edges = backends.kernels_for(tri), key.numel()
    run.launch("topology_link", torch.float32, edges, tri=tri, key=key, order=order, ring=ring, count=edges)
    return ring


registration.fake(_topology, lambda x: torch.empty_like(x.tri))
