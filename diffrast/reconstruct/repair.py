"""What a mesh must not have at the end: faces that cut others, and parts that no mask asks for."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree

import diffrast.torch as dr

from ..fitting.geometry import Shape
from ..mesh.intersections import self_intersections
from ..mesh.remesh import at_most, drop_unused, edge_for_faces
from ..mesh.solid import solid_surface
from ..mesh.topology import laplacian, part_volumes, parts_of
from ..photos.data import View
from .hull import silhouettes


def tidy(
    ctx: dr.RasterizeContext, views: list[View], box: np.ndarray, shape: Shape, faces: int, even: bool = True
) -> tuple[Shape, list[str]]:
    """The shape without floaters and without faces that cut others, on at most `faces` faces; `even`: of equal size.
    And notes: what was found."""
    v = torch.cat([shape.vertices, shape.colors], dim=1).double().cpu().numpy()
    f = shape.faces.long().cpu().numpy()
    v, f, floaters = drop_floaters(ctx, views, v, f, box, shape.vertices.device)
    if even or len(f) > faces:
        v, f = at_most(v, f, faces)
    v = v.astype(np.float32)
    cuts = left = len(self_intersections(v[:, :3], f))
    for _ in range(3):
        if left == 0:
            break
        v, f, left = resolve(v, f, 0.5 * edge_for_faces(v, f, faces))
        if len(f) > faces:
            v, f = at_most(v, f, faces)
            v = v.astype(np.float32)
            left = len(self_intersections(v[:, :3], f))
    found = {
        "parts removed that no mask asks for": floaters,
        "pairs of faces that cut each other and were mended": cuts,
    }
    return Shape.of(v, f, shape.vertices.device), [f"{what}: {count}" for what, count in found.items() if count]


def without_cuts(vertices: torch.Tensor, before: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """`vertices` `[V, 3]`, smoothed where their faces cut each other, or else as they were `before`."""
    f = faces.long().cpu().numpy()
    v, left = untangle(vertices.cpu().numpy(), f, passes=4)
    return torch.from_numpy(restore(v, before.cpu().numpy(), f) if left else v).to(vertices)


def untangle(v: np.ndarray, f: np.ndarray, passes: int = 8) -> tuple[np.ndarray, int]:
    """Smooth vertices `[V, 3 + C]` where faces cut each other, in growing patches, until none does.

    Returns the vertices and the number of pairs of faces that still cut each other. It undoes folds and tangles; parts
    that have grown into each other stay so.
    """
    adjacency, weight = _neighbours(f, len(v))
    pairs = self_intersections(v[:, :3], f)
    for k in range(passes):
        if len(pairs) == 0:
            break
        patch = _grow(adjacency, f[pairs].ravel(), 1 + k // 2)
        for _ in range(3 + k):
            smoothed = 0.3 * v[patch] + 0.7 * (weight[patch] @ v)
            v = v.copy()
            v[patch] = smoothed
        pairs = self_intersections(v[:, :3], f)
    return v, len(pairs)


def resolve(v: np.ndarray, f: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray, int]:
    """As `untangle`, and what that leaves is cut open and joined anew: the surface of the solid that the mesh winds
    around, on a lattice of `edge`, where values `[V, 3:]` come from the nearest vertex. Returns `(v, f, pairs
    left)`."""
    smoothed, left = untangle(v, f)
    if left == 0:
        return smoothed, f, 0
    p, f = solid_surface(v[:, :3], f, edge)
    v = np.concatenate([p, v[cKDTree(v[:, :3]).query(p)[1], 3:]], axis=1).astype(v.dtype)
    v, left = untangle(v, f)
    return v, f, left


def restore(v: np.ndarray, before: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Vertices `v`, but where faces cut each other those of `before`, in patches that grow until none does.

    Where the mesh did not cut itself before, it does not afterwards: at the latest when all vertices are back.
    """
    adjacency, _ = _neighbours(f, len(v))
    rings, back = 1, np.zeros(len(v), dtype=bool)
    while len(pairs := self_intersections(v, f)) and not back.all():
        back[_grow(adjacency, f[pairs].ravel(), rings)] = True
        v = np.where(back[:, None], before, v)
        rings *= 2
    return v


def _neighbours(f: np.ndarray, n: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Which vertices have an edge in common (and each with itself), and the matrix that takes neighbours' mean."""
    lap = laplacian(f, n)
    degree = sp.diags(1 / np.maximum(lap.diagonal(), 1))
    return (lap != 0).tocsr(), (sp.identity(n) - degree @ lap).tocsr()


def _grow(adjacency: sp.csr_matrix, start: np.ndarray, rings: int) -> np.ndarray:
    on = np.zeros(adjacency.shape[0], dtype=bool)
    on[start] = True
    for _ in range(rings):
        on |= (adjacency @ on.astype(np.int32)) > 0
    return np.flatnonzero(on)


MOST = 32  # parts, by volume: what is left of a hull in space may be crumbs without number
NEEDED = 0.2  # of a part's image that no other part covers: then the view's mask asks for it


def drop_floaters(
    ctx: dr.RasterizeContext,
    views: list[View],
    v: np.ndarray,
    f: np.ndarray,
    box: np.ndarray,
    device: torch.device | str = "cpu",
    size: int = 192,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Without cavities, which no photograph can show, and without floaters: parts of which fewer than two masks (or one
    in twenty) would miss anything. The largest part stays, and of the others at most `MOST` do. Returns `(v, f,
    number of parts dropped)`.

    What the hull of a few views leaves in space lies, in each of them, in front of or behind something that explains
    the mask; a part of the object, however small, has views in which nothing else does.
    """
    part = parts_of(f, len(v))
    volume = part_volumes(v, f, part)
    keep = volume >= volume.max()
    others = [k for k in np.argsort(-volume)[:MOST] if volume[k] > 0 and not keep[k]]
    if others:
        masks, clip = (x.to(device) for x in silhouettes(views, v, box, size))
        alone = []
        for k in [int(volume.argmax()), *others]:
            faces = torch.from_numpy(f[part == k].astype(np.int32)).to(device)
            alone.append(dr.rasterize(ctx, clip, faces, (size, size), grad_db=False)[0][..., 3] > 0)
        once = torch.stack(alone).sum(dim=0) == 1
        for k, cover in zip(others, alone[1:], strict=True):
            missed = (cover & once & masks).sum(dim=(1, 2))
            asks = (missed >= 4) & (missed >= NEEDED * cover.sum(dim=(1, 2)))
            keep[k] = int(asks.sum()) >= max(2, 0.05 * len(views))
    v, f = drop_unused(v, f[keep[part]])
    return v, f, int((~keep).sum())
