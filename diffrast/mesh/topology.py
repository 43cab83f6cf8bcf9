"""Edges, parts and the Laplacian of triangle meshes, and what is wrong with a mesh in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Sparse = Any  # a `scipy.sparse` matrix: SciPy declares no types


@dataclass(frozen=True)
class Edges:
    """Every edge once: `ends` int64 `[E, 2]`, the smaller vertex first; `count` `[E]` faces at each; `of_face` int64
    `[F, 3]`, the edges (0, 1), (1, 2), (2, 0) of each face; `forward` bool `[F, 3]`, whether the face runs from the
    smaller vertex to the larger."""

    ends: Int[Tensor, "E 2"]
    count: Int[Tensor, " E"]
    of_face: Int[Tensor, "F 3"]
    forward: Bool[Tensor, "F 3"]


def edges(faces: Int[Tensor, "F 3"]) -> Edges:
    """The edges of faces `[F, 3]`."""
    f = faces.long()
    half = torch.stack([f, f.roll(-1, dims=1)], dim=-1)
    ends, inverse, count = torch.unique(
        half.sort(dim=-1).values.view(-1, 2), dim=0, return_inverse=True, return_counts=True
    )
    return Edges(ends, count, inverse.view(-1, 3), half[..., 0] < half[..., 1])


def first_of_each(group: Int[Tensor, " N"]) -> Int[Tensor, " G"]:
    """The place of the first member of each group; `group` holds their numbers, from 0 without gaps."""
    count = int(group.max()) + 1 if len(group) else 0
    place = torch.arange(len(group), device=group.device)
    return torch.full((count,), len(group), device=group.device).scatter_reduce_(0, group, place, "amin")


def face_pairs(faces: Int[Tensor, "F 3"]) -> tuple[Int[Tensor, "P 2"], Int[Tensor, "P 2"]]:
    """Faces on both sides of each edge that has exactly two: the faces int64 `[P, 2]` and the edge's vertices `[P,
    2]`."""
    e = edges(faces)
    order = e.of_face.reshape(-1).argsort(stable=True)
    start = e.count.cumsum(0) - e.count
    two = (e.count == 2).nonzero()[:, 0]
    pair = torch.stack([order[start[two]], order[start[two] + 1]], dim=1) // 3
    return pair, e.ends[two]


def adjacency(ends: Int[np.ndarray, "E 2"], num_vertices: int) -> Sparse:
    """Which vertices have an edge in common: ones in a float64 sparse `[V, V]`, for edges that may repeat."""
    both = np.concatenate([ends, ends[:, ::-1]])
    matrix = sp.csr_matrix((np.ones(len(both)), both.T), shape=(num_vertices, num_vertices))
    matrix.data[:] = 1
    return matrix


def laplacian(faces: Int[np.ndarray, "F 3"], num_vertices: int) -> Sparse:
    """The combinatorial Laplacian (degree minus adjacency), float64 sparse `[V, V]`, of faces `[F, 3]`."""
    near = adjacency(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), num_vertices)
    return (sp.diags(np.asarray(near.sum(axis=1)).ravel()) - near).tocsr()


def components(first: Int[np.ndarray, " L"], second: Int[np.ndarray, " L"], count: int) -> Int[np.ndarray, " N"]:
    """The number, from 0, of the connected part of each of `count` nodes, linked `first[i]` to `second[i]`."""
    graph = sp.coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def parts_of(f: Int[np.ndarray, "F 3"], count: int) -> Int[np.ndarray, " F"]:
    """The number, from 0, of the connected part that each face belongs to, of faces of `count` vertices."""
    part = components(f[:, :2].ravel(), f[:, 1:].ravel(), count)
    return np.unique(part[f[:, 0]], return_inverse=True)[1].reshape(-1)


def part_volumes(
    v: Float[np.ndarray, "V C"], f: Int[np.ndarray, "F 3"], part: Int[np.ndarray, " F"]
) -> Float[np.ndarray, " P"]:
    """The signed volume of each part, in world units cubed: negative for a cavity, which faces inwards."""
    a, b, c = (v[f[:, k], :3] for k in range(3))
    return np.bincount(part, weights=(a * np.cross(b, c)).sum(axis=1) / 6)


@dataclass
class MeshReport:
    """What a mesh is made of and what is wrong with it; tensors are indices, int64. `print` it."""

    vertices: int
    faces: int
    edges: int
    components: int  # connected through shared edges
    boundary_edges: Int[Tensor, "_ 2"]  # vertices of edges with one face
    non_manifold_edges: Int[Tensor, "_ 2"]  # ... with more than two
    inconsistent_edges: Int[Tensor, "_ 2"]  # ... whose two faces run the same way: one of them is turned over
    non_manifold_vertices: Int[Tensor, " _"]  # where fans of faces touch in the vertex only
    degenerate_faces: Int[Tensor, " _"]  # without an area, or not finite
    duplicated_vertices: Int[Tensor, " _"]  # at the place of an earlier vertex
    unused_vertices: Int[Tensor, " _"]
    not_finite: Int[Tensor, " _"]  # vertices with NaN or infinity

    @property
    def closed(self) -> bool:
        """Two faces at every edge, running opposite ways: there is an inside."""
        return not (len(self.boundary_edges) or len(self.non_manifold_edges) or len(self.inconsistent_edges))

    @property
    def euler(self) -> int:
        """Vertices in use minus edges plus faces: 2 for each sphere, 0 for each torus of a closed mesh."""
        return self.vertices - len(self.unused_vertices) - self.edges + self.faces

    def __str__(self) -> str:
        lines = [
            f"{self.vertices} vertices, {self.faces} faces, {self.edges} edges, {self.components} connected parts, "
            f"Euler characteristic {self.euler}, {'closed' if self.closed else 'not closed'}"
        ]
        found = {name: getattr(self, name) for name in FAULTS}
        lines += [f"{len(x)} {FAULTS[name]} (first: {x[0].tolist()})" for name, x in found.items() if len(x)]
        return "\n".join(lines)


# The faults of a `MeshReport`, in words.
FAULTS = {
    "boundary_edges": "edges with one face: a boundary",
    "non_manifold_edges": "edges with more than two faces",
    "inconsistent_edges": "edges whose faces are wound against each other",
    "non_manifold_vertices": "vertices where separate fans of faces touch",
    "degenerate_faces": "faces without an area",
    "duplicated_vertices": "vertices at the place of another: edges there count as silhouettes; weld them",
    "unused_vertices": "vertices that no face uses",
    "not_finite": "vertices that are not finite",
}


def report(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> MeshReport:
    """Examine `vertices` `[V, 3]` and `faces` `[F, 3]`."""
    v, f = vertices.detach().cpu().double(), faces.detach().cpu().long()
    e = edges(f)
    finite = torch.isfinite(v).all(1)
    a, b, c = v[f].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    longest = torch.stack([(a - b).norm(dim=-1), (b - c).norm(dim=-1), (c - a).norm(dim=-1)]).amax(0)
    flat = ~(area > 1e-9 * longest.square())
    runs = torch.zeros(len(e.ends), dtype=torch.long).index_add_(
        0, e.of_face.reshape(-1), e.forward.long().reshape(-1) * 2 - 1
    )
    _, where = torch.unique(v + 0.0, dim=0, return_inverse=True)
    duplicated = first_of_each(where)[where] != torch.arange(len(v))
    first, second = _sides(e)
    used = torch.zeros(len(v), dtype=torch.bool)
    used[f.reshape(-1)] = True
    return MeshReport(
        vertices=len(v),
        faces=len(f),
        edges=len(e.ends),
        components=int(components(first // 3, second // 3, len(f)).max(initial=-1)) + 1,
        boundary_edges=e.ends[e.count == 1],
        non_manifold_edges=e.ends[e.count > 2],
        inconsistent_edges=e.ends[(e.count == 2) & (runs != 0)],
        non_manifold_vertices=_touching_fans(f, e, len(v)),
        degenerate_faces=flat.nonzero()[:, 0],
        duplicated_vertices=(duplicated & finite).nonzero()[:, 0],
        unused_vertices=(~used).nonzero()[:, 0],
        not_finite=(~finite).nonzero()[:, 0],
    )


def _sides(e: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Half-edges (3 * face + corner) that lie on the same edge, in consecutive pairs."""
    of = e.of_face.reshape(-1).numpy()
    order = of.argsort(kind="stable")
    same = of[order][1:] == of[order][:-1]
    return order[:-1][same], order[1:][same]


def _touching_fans(f: Tensor, e: Edges, count: int) -> Tensor:
    """Vertices whose corners are not all connected through edges at that vertex."""
    corners = f.numpy()
    first, second = _sides(e)
    links: list[np.ndarray] = []
    for end in (0, 1):  # the corner of the first half-edge at each end, and that of the second at the same vertex
        a = first - first % 3 + (first + end) % 3
        vertex = corners.reshape(-1)[a]
        starts = corners.reshape(-1)[second] == vertex
        b = np.where(starts, second, second - second % 3 + (second + 1) % 3)
        links.append(np.stack([a, b]))
    pairs = np.concatenate(links, axis=1)
    part = components(pairs[0], pairs[1], 3 * len(f))
    fans = np.unique(np.stack([corners.reshape(-1), part], axis=1), axis=0)[:, 0]
    return torch.from_numpy(np.flatnonzero(np.bincount(fans, minlength=count) > 1))
