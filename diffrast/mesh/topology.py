"""Edges, parts and the Laplacian of triangle meshes, and what is wrong with a mesh in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components


class Edges(NamedTuple):
    """Every edge once: `ends` int64 `[E, 2]`, the smaller vertex first; `count` `[E]` faces at each; `of_face` int64
    `[F, 3]`, the edges (0, 1), (1, 2), (2, 0) of each face; `forward` bool `[F, 3]`, whether the face runs from the
    smaller vertex to the larger."""

    ends: torch.Tensor
    count: torch.Tensor
    of_face: torch.Tensor
    forward: torch.Tensor


def edges(faces: torch.Tensor) -> Edges:
    """The edges of faces `[F, 3]`."""
    f = faces.long()
    half = torch.stack([f, f.roll(-1, dims=1)], dim=-1)
    ends, inverse, count = torch.unique(
        half.sort(dim=-1).values.view(-1, 2), dim=0, return_inverse=True, return_counts=True
    )
    return Edges(ends, count, inverse.view(-1, 3), half[..., 0] < half[..., 1])


def face_pairs(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Faces on both sides of each edge that has exactly two: the faces int64 `[P, 2]` and the edge's vertices `[P,
    2]`."""
    e = edges(faces)
    order = e.of_face.reshape(-1).argsort(stable=True)
    start = e.count.cumsum(0) - e.count
    two = (e.count == 2).nonzero()[:, 0]
    pair = torch.stack([order[start[two]], order[start[two] + 1]], dim=1) // 3
    return pair, e.ends[two]


def laplacian(faces: np.ndarray, num_vertices: int) -> sp.csr_matrix:
    """The combinatorial Laplacian (degree minus adjacency), float64 sparse `[V, V]`, of faces `[F, 3]`."""
    i = faces[:, [0, 1, 2]].ravel()
    j = faces[:, [1, 2, 0]].ravel()
    adjacency = sp.coo_matrix((np.ones(len(i)), (i, j)), shape=(num_vertices, num_vertices)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    return (sp.diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency).tocsr()


def parts_of(f: np.ndarray, count: int) -> np.ndarray:
    """The number, from 0, of the connected part that each face belongs to, int `[F]`."""
    ends = (np.ones(2 * len(f)), (f[:, :2].ravel(), f[:, 1:].ravel()))
    _, part = connected_components(sp.coo_matrix(ends, shape=(count, count)), directed=False)
    return np.unique(part[f[:, 0]], return_inverse=True)[1].reshape(-1)


def part_volumes(v: np.ndarray, f: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The signed volume of each part: negative for a cavity, which faces inwards."""
    a, b, c = (v[f[:, k], :3] for k in range(3))
    return np.bincount(part, weights=(a * np.cross(b, c)).sum(axis=1) / 6)


@dataclass
class MeshReport:
    """What a mesh is made of and what is wrong with it; tensors are indices, int64. `print` it."""

    vertices: int
    faces: int
    edges: int
    components: int  # connected through shared edges
    boundary_edges: torch.Tensor  # [N, 2] vertices of edges with one face
    non_manifold_edges: torch.Tensor  # [N, 2] ... with more than two
    inconsistent_edges: torch.Tensor  # [N, 2] ... whose two faces run the same way: one of them is turned over
    non_manifold_vertices: torch.Tensor  # [N] where fans of faces touch in the vertex only
    degenerate_faces: torch.Tensor  # [N] without an area, or not finite
    duplicated_vertices: torch.Tensor  # [N] at the place of an earlier vertex
    unused_vertices: torch.Tensor  # [N]
    not_finite: torch.Tensor  # [N] vertices with NaN or infinity

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
        faults = {
            "boundary_edges": "edges with one face: a boundary",
            "non_manifold_edges": "edges with more than two faces",
            "inconsistent_edges": "edges whose faces are wound against each other",
            "non_manifold_vertices": "vertices where separate fans of faces touch",
            "degenerate_faces": "faces without an area",
            "duplicated_vertices": "vertices at the place of another: edges there count as silhouettes; weld them",
            "unused_vertices": "vertices that no face uses",
            "not_finite": "vertices that are not finite",
        }
        for name, words in faults.items():
            found = getattr(self, name)
            if len(found):
                lines.append(f"{len(found)} {words} (first: {found[0].tolist()})")
        return "\n".join(lines)


def report(vertices: torch.Tensor, faces: torch.Tensor) -> MeshReport:
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
    _, where, many = torch.unique(v + 0.0, dim=0, return_inverse=True, return_counts=True)
    duplicated = torch.zeros(len(v), dtype=torch.bool)
    if bool((many > 1).any()):
        order = where.argsort(stable=True)
        again = torch.cat([torch.zeros(1, dtype=torch.bool), where[order][1:] == where[order][:-1]])
        duplicated[order[again]] = True
    used = torch.zeros(len(v), dtype=torch.bool)
    used[f.reshape(-1)] = True
    return MeshReport(
        vertices=len(v),
        faces=len(f),
        edges=len(e.ends),
        components=_components(f, e),
        boundary_edges=e.ends[e.count == 1],
        non_manifold_edges=e.ends[e.count > 2],
        inconsistent_edges=e.ends[(e.count == 2) & (runs != 0)],
        non_manifold_vertices=_touching_fans(f, e, len(v)),
        degenerate_faces=flat.nonzero()[:, 0],
        duplicated_vertices=(duplicated & finite).nonzero()[:, 0],
        unused_vertices=(~used).nonzero()[:, 0],
        not_finite=(~finite).nonzero()[:, 0],
    )


def _linked(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """The connected part `[count]` of each node of a graph with these links."""
    graph = sp.coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _sides(e: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Half-edges (3 * face + corner) that lie on the same edge, in consecutive pairs."""
    of = e.of_face.reshape(-1).numpy()
    order = of.argsort(kind="stable")
    same = of[order][1:] == of[order][:-1]
    return order[:-1][same], order[1:][same]


def _components(f: torch.Tensor, e: Edges) -> int:
    if len(f) == 0:
        return 0
    first, second = _sides(e)
    return int(_linked(first // 3, second // 3, len(f)).max()) + 1


def _touching_fans(f: torch.Tensor, e: Edges, count: int) -> torch.Tensor:
    """Vertices whose corners are not all connected through edges at that vertex."""
    corners = f.numpy()
    first, second = _sides(e)
    links = []
    for end in (
        0,
        1,
    ):  # the corner of the first half-edge at each of its ends, and that of the second at the same vertex
        a = first - first % 3 + (first + end) % 3
        vertex = corners.reshape(-1)[a]
        starts = corners.reshape(-1)[second] == vertex
        b = np.where(starts, second, second - second % 3 + (second + 1) % 3)
        links.append(np.stack([a, b]))
    pairs = np.concatenate(links, axis=1)
    part = _linked(pairs[0], pairs[1], 3 * len(f))
    fans = np.unique(np.stack([corners.reshape(-1), part], axis=1), axis=0)[:, 0]
    return torch.from_numpy(np.flatnonzero(np.bincount(fans, minlength=count) > 1))
