"""The solid that a closed mesh bounds, on a lattice: how often the surface winds around each point.

A mesh that cuts itself still winds a whole number of times around every point off its surface. The points with a
positive number are one solid; its surface neither cuts itself nor folds inside out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from .remesh import cover


def winding_numbers(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    origin: Float[np.ndarray, " 3"] | Sequence[float],
    step: float,
    shape: Int[np.ndarray, " 3"] | Sequence[int],
) -> Int[np.ndarray, "X Y Z"]:
    """How often a closed mesh, counter-clockwise from outside, winds around lattice points, int32 `[X, Y, Z]`.

    Point (i, j, k) is at `origin + step * (i, j, k)`. Along each line of the lattice in z the number changes by one at
    every face that it crosses, by the side from which it does. Lines through an edge count it for one of its faces: the
    top-left rule of rasterization, on coordinates rounded to 1/1024 of a step so that integers decide.
    """
    nx, ny, nz = (int(n) for n in shape)
    grid = (np.asarray(vertices, dtype=np.float64) - np.asarray(origin)) / step
    xy = np.rint(grid[:, :2] * 1024).astype(np.int64)
    p, z = xy[faces], grid[:, 2][faces]
    first = np.maximum(-(-p.min(axis=1) // 1024), 0)
    last = np.minimum(p.max(axis=1) // 1024, [nx - 1, ny - 1])
    size = np.maximum(last - first + 1, 0)
    count = size.prod(axis=1)
    face = np.repeat(np.arange(len(p)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    line = first[face] + np.stack([offset // size[face, 1], offset % size[face, 1]], axis=1)
    a, b, c = p[face].transpose(1, 0, 2)
    x = line * 1024
    area = _cross(b - a, c - a)
    sign = np.sign(area)
    weights = np.stack([_cross(c - b, x - b), _cross(a - c, x - c), _cross(b - a, x - a)], axis=1) * sign[:, None]
    sides = np.stack([c - b, a - c, b - a], axis=1) * sign[:, None, None]
    owns = (sides[..., 1] < 0) | ((sides[..., 1] == 0) & (sides[..., 0] > 0))
    inside = ((weights > 0) | ((weights == 0) & owns)).all(axis=1) & (sign != 0)
    face, line, sign, weights = face[inside], line[inside], sign[inside], weights[inside]
    depth = (weights * z[face]).sum(axis=1) / np.abs(area[inside])
    layer = np.clip(np.ceil(depth), 0, nz).astype(np.int64)
    change = np.zeros((nx, ny, nz + 1), dtype=np.int32)
    # A face that looks down (negative area seen from above) is where a line enters.
    np.add.at(change, (line[:, 0], line[:, 1], layer), -sign.astype(np.int32))
    return np.cumsum(change, axis=2)[:, :, :nz]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def solid_surface(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], step: float
) -> tuple[Float[np.ndarray, "W 3"], Int[np.ndarray, "G 3"]]:
    """The surface of the solid, by marching cubes on a lattice of `step`: what lies inside is bridged or removed.

    Returns `vertices` float64 `[V, 3]` and `faces` int64 `[F, 3]`.

    Raises:
        ValueError: nothing is inside.
    """
    v = np.asarray(vertices, dtype=np.float64)
    origin = v.min(axis=0) - 2.3 * step
    shape = np.ceil((v.max(axis=0) + 2.3 * step - origin) / step).astype(int) + 1
    inside = winding_numbers(v, faces, origin, step, shape) > 0
    if not inside.any():
        raise ValueError("solid_surface(): the mesh has no inside; are its faces counter-clockwise from outside?")
    # In steps: counted in voxels far from the surface, and measured to it beside it.
    field = distance_transform_edt(inside) - distance_transform_edt(~inside)
    near = np.argwhere(np.abs(field) < 2)
    samples, _ = cover(v, faces, 0.4 * step)
    distance = cKDTree(samples).query(origin + step * near, distance_upper_bound=1.5 * step)[0] / step
    at = tuple(near.T)
    field[at] = np.sign(field[at]) * np.clip(distance, 0.05, 1.0)
    p, f, _, _ = marching_cubes(np.clip(field, -1, 1), 0.0, gradient_direction="ascent")
    return origin + step * p, f.astype(np.int64)
