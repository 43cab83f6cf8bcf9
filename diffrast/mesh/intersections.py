"""Where a triangle mesh cuts itself.

Two triangles that cross do so along a segment, and each end of it is where an edge of one pierces the other (Guigue and
Devillers 2003, "Fast and Robust Triangle-Triangle Overlap Test Using Orientation Predicates", section 2: signs of 4 x 4
determinants decide). Edges that begin at a common vertex meet there by right and are left out. Pairs in one plane
overlap unless a side of one of them keeps them apart. Which pairs to test at all says a uniform grid over their
bounding boxes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

# Of determinants of differences of coordinates, relative to the largest products in them: a generous bound.
ROUNDING = 32 * np.finfo(np.float64).eps


def self_intersections(vertices: Float[np.ndarray, "V _"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "N 2"]:
    """The pairs of faces, int64 `[N, 2]`, that share more than the corners they have in common.

    `vertices` `[V, 3]` and `faces` `[F, 3]`. Orientations smaller than the rounding of float64 count as zero: a vertex
    that only touches another face is no intersection, an edge that runs through an edge is one, and so is a face folded
    flat onto its neighbour. Faces without an area cut nothing.
    """
    v, f = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    if len(f) == 0:
        return np.empty((0, 2), dtype=np.int64)
    corners = v[f]
    sides = corners[:, 1:] - corners[:, :1]
    area = np.abs(np.cross(sides[:, 0], sides[:, 1])).max(axis=1)
    with np.errstate(invalid="ignore"):
        solid = np.flatnonzero(area > ROUNDING * np.abs(sides).max(axis=(1, 2)) ** 2)
    # About the origin, and of size one: then one bound holds for the rounding of all determinants.
    finite = corners[solid]
    if len(solid) == 0:
        return np.empty((0, 2), dtype=np.int64)
    low, high = finite.min(axis=(0, 1)), finite.max(axis=(0, 1))
    corners = (corners - 0.5 * (low + high)) / (high - low).max()
    found = [np.empty((0, 2), dtype=np.int64)]
    for pairs in _candidates(corners[solid], solid):
        a, b = f[pairs].transpose(1, 0, 2)
        same = a[:, :, None] == b[:, None, :]
        common = same.sum(axis=(1, 2))
        p, q = corners[pairs].transpose(1, 0, 2, 3)
        over_q, over_p = _sides(q, p), _sides(p, q)  # of p's corners over q's plane, and the other way round
        crossing = common < 2
        crossing &= ~((over_q != 0).all(axis=1) & (np.abs(over_q.sum(axis=1)) == 3))
        crossing &= ~((over_p != 0).all(axis=1) & (np.abs(over_p.sum(axis=1)) == 3))
        cuts = np.zeros(len(pairs), dtype=bool)
        i = np.flatnonzero(crossing)
        cuts[i] = _pierces(p[i], q[i], over_q[i], same[i].any(axis=2))
        cuts[i] |= _pierces(q[i], p[i], over_p[i], same[i].any(axis=1))
        flat = np.flatnonzero((common < 3) & (over_q == 0).all(axis=1) & (over_p == 0).all(axis=1))
        cuts[flat] |= _overlap_in_plane(p[flat], q[flat])
        cuts |= common == 3
        found.append(pairs[cuts])
    return np.unique(np.concatenate(found), axis=0)


def _orientation(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The sign, int8 `[N]`, of the volume of tetrahedra with corners `[N, 3]`; zero within the rounding."""
    a, b, c = a - d, b - d, c - d
    volume = (a * np.cross(b, c)).sum(axis=-1)
    size = np.abs(a).max(axis=-1) * np.abs(b).max(axis=-1) * np.abs(c).max(axis=-1)
    return (np.sign(volume) * (np.abs(volume) > ROUNDING * size)).astype(np.int8)


def _sides(triangle: np.ndarray, points: np.ndarray) -> np.ndarray:
    """On which side of the planes of triangles `[N, 3, 3]` the points `[N, 3, 3]` lie, int8 `[N, 3]`."""
    a, b, c = triangle.transpose(1, 0, 2)
    return np.stack([_orientation(a, b, c, points[:, k]) for k in range(3)], axis=1)


def _pierces(p: np.ndarray, q: np.ndarray, side: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Does an edge of `p` without a `shared` corner run through triangle `q`? `side`: p's corners over q's plane."""
    hit = np.zeros(len(p), dtype=bool)
    for k in range(3):
        j = (k + 1) % 3
        i = np.flatnonzero((side[:, k] * side[:, j] < 0) & ~shared[:, k] & ~shared[:, j])
        start, end = p[i, k], p[i, j]
        turns = np.stack([_orientation(start, end, q[i, s], q[i, (s + 1) % 3]) for s in range(3)])
        hit[i] |= (turns >= 0).all(axis=0) | (turns <= 0).all(axis=0)
    return hit


def _overlap_in_plane(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Do triangles of one plane have area in common: does no side of either keep the other outside?"""
    normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    drop = np.abs(normal).argmax(axis=1)  # seen along the axis that shows the largest image
    keep = np.stack([(drop + 1) % 3, (drop + 2) % 3], axis=1)[:, None, :]
    p, q = np.take_along_axis(p, keep, axis=2), np.take_along_axis(q, keep, axis=2)
    apart = np.zeros(len(p), dtype=bool)
    for one, other in ((p, q), (q, p)):
        for k in range(3):
            a, b, c = one[:, k], one[:, (k + 1) % 3], one[:, (k + 2) % 3]
            side = b - a
            bound = ROUNDING * np.abs(side).max(axis=1)

            def over(x: np.ndarray, a: np.ndarray = a, side: np.ndarray = side) -> np.ndarray:
                return side[:, 0] * (x[:, 1] - a[:, 1]) - side[:, 1] * (x[:, 0] - a[:, 0])

            inner = np.sign(over(c))
            apart |= np.stack([over(other[:, m]) * inner <= bound for m in range(3)]).all(axis=0)
    return ~apart


CHUNK = 1 << 19  # pairs tested at a time


def _candidates(corners: np.ndarray, names: np.ndarray) -> Iterator[np.ndarray]:
    """Yield int64 `[N, 2]`, pairs of `names` of triangles `[F, 3, 3]` whose bounding boxes overlap, each once."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    extent = high - low
    cell = max(2 * float(extent.max(axis=1).mean()), float(extent.max()) / 16, 1e-9)
    origin = low.min(axis=0)
    first, last = (((x - origin) / cell).astype(np.int64) for x in (low, high))
    size = last - first + 1
    count = size.prod(axis=1)
    owner = np.repeat(np.arange(len(low)), count)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    sy, sz = size[owner, 1], size[owner, 2]
    place = first[owner] + np.stack([offset // (sy * sz), offset // sz % sy, offset % sz], axis=1)
    shape = last.max(axis=0) + 1
    key = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
    order = np.argsort(key, kind="stable")
    key, owner, place = key[order], owner[order], place[order]
    end = np.searchsorted(key, key, side="right")  # each entry pairs with those behind it in its cell
    more = end - np.arange(len(key)) - 1
    total = np.cumsum(more)
    begin = 0
    while begin < len(key):
        stop = max(begin + 1, int(np.searchsorted(total, (total[begin - 1] if begin else 0) + CHUNK, side="right")))
        n = more[begin:stop]
        a = np.repeat(np.arange(begin, stop), n)
        b = a + 1 + np.arange(len(a)) - np.repeat(np.cumsum(n) - n, n)
        i, j = owner[a], owner[b]
        meet = np.maximum(low[i], low[j])
        ok = (meet <= np.minimum(high[i], high[j])).all(axis=1)
        # Two boxes share several cells: the one that holds the lowest corner of what they share reports the pair.
        ok &= (((meet - origin) / cell).astype(np.int64) == place[a]).all(axis=1)
        yield np.sort(np.stack([names[i[ok]], names[j[ok]]], axis=1), axis=1)
        begin = stop
