"""Isotropic remeshing (Botsch and Kobbelt 2004, "A Remeshing Approach to Multiresolution Modeling", section 4).

Split long edges, collapse short ones, flip towards valence six, relax along the surface; in NumPy, each pass over a set
of edges so far apart that their changes do not touch. Vertices are float64 `[V, 3 + C]`: the position and C values
(colours) that travel along. Meshes are closed two-manifolds; boundary edges are split but otherwise left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from .mesh import Mesh
from .topology import adjacency, laplacian

Vertices = Float[np.ndarray, "V C"]
Faces = Int[np.ndarray, "F 3"]
Remeshed = tuple[Float[np.ndarray, "W C"], Int[np.ndarray, "G 3"]]


class _Edges:
    """Unique edges of faces `[F, 3]`: ends `[E, 2]`, the number of adjacent faces, and for the first two of them the
    face `[E, 2]` and the opposite vertex `[E, 2]` (-1 where there is none)."""

    def __init__(self, faces: np.ndarray):
        half = np.concatenate([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]])
        half.sort(axis=1)
        key = half[:, 0].astype(np.int64) * (int(faces.max()) + 1) + half[:, 1]
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        self.count = np.diff(first, append=len(order))
        self.ends = half[order[first]]
        second = order[np.minimum(first + 1, len(order) - 1)]
        face = np.tile(np.arange(len(faces)), 3)
        opposite = faces.T.ravel()
        alone = self.count == 1
        self.face = np.stack([face[order[first]], np.where(alone, -1, face[second])], axis=1)
        self.opposite = np.stack([opposite[order[first]], np.where(alone, -1, opposite[second])], axis=1)
        self.of_face = np.empty(len(order), dtype=np.int64)  # edge opposite each corner
        self.of_face[order] = np.repeat(np.arange(len(first)), self.count)
        self.of_face = self.of_face.reshape(3, -1).T

    def lengths(self, v: np.ndarray, sized: bool = False) -> np.ndarray:
        """Of each edge; `sized`: in units of what the last column of `v` asks for at that end where it is less."""
        length = np.linalg.norm(v[self.ends[:, 0], :3] - v[self.ends[:, 1], :3], axis=1)
        return length / v[self.ends, -1].min(axis=1) if sized else length


def split_long(v: Vertices, f: Faces, limit: float, sized: bool = False) -> Remeshed:
    """Halve edges longer than `limit` (`sized`: times the last column), longest first, until none is left. Returns new
    `(v, f)`."""
    while True:
        edges = _Edges(f)
        length = edges.lengths(v, sized)
        longest = np.take_along_axis(edges.of_face, length[edges.of_face].argmax(axis=1)[:, None], axis=1)[:, 0]
        # An edge that is the longest of all its faces shares no face with another such edge.
        votes = np.bincount(longest, minlength=len(length))
        chosen = np.flatnonzero((length > limit) & (votes == edges.count))
        if len(chosen) == 0:
            return v, f
        middle = np.full(len(length), -1)
        middle[chosen] = len(v) + np.arange(len(chosen))
        v = np.concatenate([v, v[edges.ends[chosen]].mean(axis=1)])
        corner = middle[edges.of_face].argmax(axis=1)
        m = middle[edges.of_face].max(axis=1)
        cut = m >= 0
        g, k, m = f[cut], corner[cut][:, None], m[cut]
        apex, a, b = (np.take_along_axis(g, (k + s) % 3, axis=1)[:, 0] for s in range(3))
        f = np.concatenate([f[~cut], np.stack([apex, a, m], 1), np.stack([apex, m, b], 1)])


def _face_normals(v: np.ndarray, f: np.ndarray) -> np.ndarray:
    a, b, c = v[f[..., 0], :3], v[f[..., 1], :3], v[f[..., 2], :3]
    return np.cross(b - a, c - a)


def _vertex_normals(v: np.ndarray, f: np.ndarray) -> np.ndarray:
    normal = np.zeros((len(v), 3))
    np.add.at(normal, f, _face_normals(v, f)[:, None])
    return normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-300)


def _ranks(cost: np.ndarray) -> np.ndarray:
    """Distinct ranks by ascending cost. Ties fall in a shuffled order (the same each time): in the order of the edges,
    which on regular meshes is a path, each would block the next and one pass would change next to nothing."""
    ranks = np.empty(len(cost), dtype=np.int64)
    ranks[np.lexsort((np.random.default_rng(0).permutation(len(cost)), cost))] = np.arange(len(cost))
    return ranks


def _independent(rank: np.ndarray, touched: np.ndarray, num_vertices: int) -> np.ndarray:
    """Of candidates with distinct `rank` that touch vertices `[N, K]`, those that win at every vertex."""
    best = np.full(num_vertices, np.iinfo(np.int64).max)
    np.minimum.at(best, touched, np.broadcast_to(rank[:, None], touched.shape))
    return (best[touched] == rank[:, None]).all(axis=1)


def collapse_short(
    v: Vertices, f: Faces, limit: float, longest: float, passes: int = 60, sized: bool = False
) -> Remeshed:
    """Collapse edges shorter than `limit` (`sized`: times the last column) to their midpoints, shortest first, unless
    that would change the topology (link condition), turn a face over, or make an edge longer than `longest`. Returns
    new `(v, f)`."""
    n = len(v)
    v = v.copy()
    refused = np.empty(0, dtype=np.int64)
    for _ in range(passes):
        edges = _Edges(f)
        length = edges.lengths(v, sized)
        ends = edges.ends
        key = ends @ np.array([n, 1])
        valence = np.bincount(ends.ravel(), minlength=n)
        boundary = np.zeros(n, dtype=bool)
        boundary[ends[edges.count != 2].ravel()] = True
        ok = (length < limit) & (edges.count == 2) & ~boundary[ends].any(axis=1)
        ok &= (valence[edges.opposite] >= 4).all(axis=1) & ~np.isin(key, refused)
        pick = np.flatnonzero(ok)
        if len(pick) == 0:
            break
        order = _ranks(length[pick])
        rank = np.full(n, np.iinfo(np.int64).max)
        np.minimum.at(rank, ends[pick], np.broadcast_to(order[:, None], (len(pick), 2)))
        near = rank.copy()  # the best rank within one edge of each vertex: winners share no neighbour that moves
        np.minimum.at(near, ends[:, 0], rank[ends[:, 1]])
        np.minimum.at(near, ends[:, 1], rank[ends[:, 0]])
        pick = pick[(near[ends[pick]] == order[:, None]).all(axis=1)]
        near_by, (i, j) = adjacency(ends, n), ends[pick].T
        common = np.asarray(near_by[i].multiply(near_by[j]).sum(axis=1)).ravel()
        good = (common == 2) & _collapse_keeps_shape(v, f, edges, pick, longest, sized)
        refused = np.r_[refused, key[pick[~good]]]
        keep, drop = ends[pick[good]].T
        v[keep] = 0.5 * (v[keep] + v[drop])
        target = np.arange(n)
        target[drop] = keep
        f = target[f]
        f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    return drop_unused(v, f)


def _collapse_keeps_shape(
    v: np.ndarray, f: np.ndarray, edges: _Edges, pick: np.ndarray, longest: float, sized: bool
) -> np.ndarray:
    """For each candidate edge: would its faces keep their sides and lengths if it shrank to its midpoint?"""
    order = np.argsort(f.ravel(), kind="stable")
    faces_of = order // 3
    start = np.searchsorted(f.ravel()[order], np.arange(len(v) + 1))
    good = np.ones(len(pick), dtype=bool)
    middle = v[edges.ends[pick], :3].mean(axis=1)
    allowed = longest * (v[edges.ends[pick], -1].mean(axis=1) if sized else np.ones(len(pick)))
    for side in range(2):
        moved = edges.ends[pick, side]
        other = edges.ends[pick, 1 - side]
        degree = start[moved + 1] - start[moved]
        owner = np.repeat(np.arange(len(pick)), degree)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(degree) - degree, degree)
        g = f[faces_of[start[moved[owner]] + offset]]
        keep = ~(g == other[owner, None]).any(axis=1)  # the two faces at the edge itself vanish
        owner, g = owner[keep], g[keep]
        before = _face_normals(v, g)
        corners = v[g][..., :3].copy()
        here = g == moved[owner, None]
        corners[here] = middle[owner]
        after = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        dot = (before * after).sum(axis=1)
        turned = dot < 0.3 * np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        reach = np.linalg.norm(corners - middle[owner][:, None], axis=2).max(axis=1)
        np.logical_and.at(good, owner, ~(turned | (reach > allowed[owner])))
    return good


def flip_edges(v: Vertices, f: Faces, passes: int = 12) -> Faces:
    """Flip edges where that brings valences closer to six and does not fold the surface. Returns new faces."""
    n = len(v)
    for _ in range(passes):
        edges = _Edges(f)
        valence = np.bincount(edges.ends.ravel(), minlength=n)
        a, b = edges.ends.T
        c, d = edges.opposite.T
        gain = np.zeros(len(a), dtype=valence.dtype)
        for x, s in ((a, -1), (b, -1), (c, 1), (d, 1)):
            gain += np.abs(valence[x] - 6) - np.abs(valence[x] + s - 6)
        key = np.sort(edges.ends, axis=1) @ np.array([n, 1])
        new = np.minimum(c, d) * n + np.maximum(c, d)
        ok = (edges.count == 2) & (gain > 0) & (c != d) & ~np.isin(new, key)
        ok &= (valence[a] > 3) & (valence[b] > 3)
        ok &= np.linalg.norm(v[c, :3] - v[d, :3], axis=1) < 1.5 * edges.lengths(v)
        pick = np.flatnonzero(ok)
        if len(pick) == 0:
            break
        # Orient so that face 0 runs a -> b with c opposite; the new faces are (c, a, d) and (d, b, c).
        g = f[edges.face[pick, 0]]
        at = (g == c[pick, None]).argmax(axis=1)[:, None]
        a, b = (np.take_along_axis(g, (at + s) % 3, axis=1)[:, 0] for s in (1, 2))
        c, d = c[pick], d[pick]
        one, two = np.stack([c, a, d], 1), np.stack([d, b, c], 1)
        old = _face_normals(v, g) + _face_normals(v, f[edges.face[pick, 1]])
        old /= np.linalg.norm(old, axis=1, keepdims=True) + 1e-300
        flat = np.ones(len(pick), dtype=bool)
        for new_face in (one, two):
            normal = _face_normals(v, new_face)
            flat &= (normal * old).sum(axis=1) > 0.5 * np.linalg.norm(normal, axis=1)
        pick, one, two = pick[flat], one[flat], two[flat]
        touched = np.stack([one[:, 0], one[:, 1], one[:, 2], two[:, 1]], axis=1)
        chosen = _independent(_ranks(-gain[pick]), touched, n)
        f = f.copy()
        f[edges.face[pick[chosen], 0]] = one[chosen]
        f[edges.face[pick[chosen], 1]] = two[chosen]
    return f


def relax(v: Vertices, f: Faces, amount: float = 0.5) -> Vertices:
    """Move vertices towards the mean of their neighbours, along the surface only; those of a boundary stay."""
    edges = _Edges(f)
    free = np.ones((len(v), 1))
    free[edges.ends[edges.count != 2].ravel()] = 0
    lap = laplacian(f, len(v))
    step = -(lap @ v[:, :3]) / np.maximum(lap.diagonal(), 1)[:, None]
    normal = _vertex_normals(v, f)
    out = v.copy()
    out[:, :3] += amount * free * (step - (step * normal).sum(axis=1, keepdims=True) * normal)
    return out


def smooth(v: Vertices, f: Faces, iterations: int = 10) -> Vertices:
    """Taubin's lambda-mu smoothing (1995): removes the steps of a voxel surface without shrinking it."""
    lap = laplacian(f, len(v))
    scale = 1 / np.maximum(lap.diagonal(), 1)[:, None]
    for weight in (0.5, -0.53) * iterations:
        v = v - weight * scale * (lap @ v)
    return v


def drop_unused(v: Vertices, f: Faces) -> Remeshed:
    """Remove vertices that no face uses."""
    used = np.zeros(len(v), dtype=bool)
    used[f] = True
    return v[used], (np.cumsum(used) - 1)[f]


# Where the surface bends the edges are shorter, down to this share of what they are elsewhere: about six around a thin
# bar.
FINEST = 0.25


def curvature_radii(v: Vertices, f: Faces) -> Float[np.ndarray, " V"]:
    """The radius of the strongest bend at each vertex `[V]`: how far apart neighbours are whose normals differ by a
    radian. Normals and the result are averaged over neighbours twice, which takes the noise of single faces away."""
    lap = laplacian(f, len(v))
    scale = sp.diags(1 / np.maximum(lap.diagonal(), 1))
    around = sp.identity(len(v)) - 0.5 * scale @ lap
    normal = _vertex_normals(v, f)
    for _ in range(2):
        normal = around @ (normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-300))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-300
    ends = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    bend = np.linalg.norm(normal[ends[:, 0]] - normal[ends[:, 1]], axis=1)
    bend /= np.linalg.norm(v[ends[:, 0], :3] - v[ends[:, 1], :3], axis=1) + 1e-300
    strongest = np.zeros(len(v))
    for k in range(2):
        np.maximum.at(strongest, ends[:, k], bend)
    for _ in range(2):
        strongest = around @ strongest
    return 1 / np.maximum(strongest, 1e-300)


def isotropic(v: Vertices, f: Faces, edge: float, iterations: int = 4, adapt: bool = False) -> Remeshed:
    """Remesh towards edges of length `edge`: vertices `[V, 3 + C]` and faces `[F, 3]` in, new ones out. `adapt`: as
    long as the radius of the surface's bend where that is less, down to `FINEST` times `edge`, so that thin parts
    survive."""
    v, f = np.asarray(v, dtype=np.float64), np.asarray(f, dtype=np.int64)
    points, at = cover(v, f, 0.4 * edge)
    normals = _face_normals(v, f)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-300
    surface = cKDTree(points), points, normals[at]
    for _ in range(iterations):
        if adapt:
            v = np.c_[v, np.clip(curvature_radii(v, f), FINEST * edge, edge) / edge]
        v, f = split_long(v, f, 4 / 3 * edge, adapt)
        v, f = collapse_short(v, f, 4 / 5 * edge, 4 / 3 * edge, sized=adapt)
        v = v[:, :-1] if adapt else v
        f = flip_edges(v, f)
        v = _onto(relax(v, f), *surface, 0.3 * edge)
    return v, f


def cover(v: Vertices, f: Faces, distance: float) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, " N"]]:
    """Points `[N, 3]` inside of faces, about `distance` apart, and the face of each `[N]`."""
    corners = v[f][..., :3]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    cuts = np.clip(np.ceil(longest / distance), 1, 64).astype(int)
    points: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    for n in np.unique(cuts):
        i, j = np.triu_indices(n)
        weights = (np.stack([i, j - i, n - 1 - j], axis=1) + 1 / 3) / n
        some = np.flatnonzero(cuts == n)
        points.append((weights @ corners[some]).reshape(-1, 3))
        faces.append(np.repeat(some, len(weights)))
    return np.concatenate(points), np.concatenate(faces)


def _onto(v: np.ndarray, tree: Any, points: np.ndarray, normals: np.ndarray, most: float) -> np.ndarray:
    """Vertices back onto the planes of the faces that they came from, by `most` at most: collapsing edges to midpoints
    would make round parts thinner each time."""
    nearest = tree.query(v[:, :3])[1]
    height = ((v[:, :3] - points[nearest]) * normals[nearest]).sum(axis=1)
    out = v.copy()
    out[:, :3] -= np.clip(height, -most, most)[:, None] * normals[nearest]
    return out


def at_most(v: Vertices, f: Faces, faces: int, iterations: int = 4) -> Remeshed:
    """Remesh to nearly `faces` faces, but not more, finer where the surface bends.

    Raises:
        ValueError: the topology needs more faces.
    """
    edge, best = edge_for_faces(v, f, faces, adapt=True), None
    for tries in range(12):
        v, f = isotropic(v, f, edge, iterations, adapt=True)
        if len(f) <= faces and (best is None or len(f) > len(best[1])):
            best = v, f
        if best and (tries >= 4 or len(f) > 0.85 * faces):
            return best
        edge, iterations = edge * (1.03 * len(f) / faces) ** 0.5, 2
    raise ValueError(f"{faces} faces are too few for this shape: its handles alone need {len(f)}")


def remesh(mesh: Mesh, edge: float | None = None, *, faces: int | None = None, iterations: int = 4) -> Mesh:
    """A mesh of even triangles, of edge length `edge` or about `faces` in number; `colors` travel along.

    UVs, stored normals, materials and the texture do not: charts have no place on another triangulation (`unwrap` makes
    new ones). Not differentiable; between steps of an optimization, start a new optimizer with the result.
    """
    mesh.validate("remesh()")
    v = mesh.vertices.detach().double().cpu().numpy()
    f = mesh.faces.long().cpu().numpy()
    if (edge is None) == (faces is None):
        raise ValueError("remesh(): give either edge or faces")
    if mesh.colors is not None:
        v = np.concatenate([v, mesh.colors.detach().double().cpu().numpy()], axis=1)
    length = edge_for_faces(v, f, faces) if faces is not None else edge
    if length is None or not length > 0:
        raise ValueError(f"remesh(): edge must be positive; got {edge}")
    v, f = isotropic(v, f, length, iterations)
    to = mesh.vertices
    values = torch.from_numpy(np.ascontiguousarray(v)).to(to)
    return Mesh(
        values[:, :3].contiguous(),
        torch.from_numpy(f.astype(np.int32)).to(to.device),
        colors=values[:, 3:].contiguous() if mesh.colors is not None else None,
    )


def edge_for_faces(v: Vertices, f: Faces, faces: int, adapt: bool = False) -> float:
    """The edge length at which equilateral triangles cover this surface with `faces` faces; `adapt` as in
    `isotropic`."""
    v = np.asarray(v, dtype=np.float64)
    area = 0.5 * np.linalg.norm(_face_normals(v, f), axis=1)
    edge = float(np.sqrt(4 * area.sum() / (np.sqrt(3) * faces)))
    if adapt:
        radius = curvature_radii(v, f)[f].mean(axis=1)
        for _ in range(30):  # more faces than wanted: coarser
            size = np.clip(radius, FINEST * edge, edge)
            edge *= (4 / np.sqrt(3) * (area / size**2).sum() / faces) ** 0.25
    return edge
