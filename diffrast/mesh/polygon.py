"""Polygons to triangles, by clipping ears."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def triangulate(points: Float[np.ndarray, "N 3"]) -> list[tuple[int, int, int]]:
    """A simple planar polygon, corners `[N, 3]` in order, as N - 2 triangles of the same winding, indices into it.

    Convex polygons become a fan around the first corner. What is not a simple polygon becomes a fan of what remains.
    """
    n = len(points)
    if n == 3:
        return [(0, 1, 2)]
    following = np.roll(points, -1, axis=0)
    normal = np.cross(points, following).sum(axis=0)  # Newell's method
    drop = int(np.abs(normal).argmax())
    flat = np.delete(points, drop, axis=1)
    if (normal[drop] < 0) != (drop == 1):
        flat = flat[:, ::-1]

    def turn(a: int, b: int, c: int) -> float:
        (x, y), (u, v) = flat[b] - flat[a], flat[c] - flat[a]
        return x * v - y * u

    if all(turn(0, i, i + 1) > 0 and turn(i - 1, i, i + 1) > 0 for i in range(1, n - 1)):
        return [(0, i, i + 1) for i in range(1, n - 1)]
    left, triangles = list(range(n)), []
    while len(left) > 3:
        for k in range(len(left)):
            a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
            others = [p for p in left if p not in (a, b, c)]
            inside = any(turn(a, b, p) >= 0 and turn(b, c, p) >= 0 and turn(c, a, p) >= 0 for p in others)
            if turn(a, b, c) > 0 and not inside:
                triangles.append((a, b, c))
                del left[k]
                break
        else:
            break
    return triangles + [(left[0], left[i], left[i + 1]) for i in range(1, len(left) - 1)]
