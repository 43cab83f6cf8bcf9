"""Marching tetrahedra: the surface where values at the corners of tetrahedra change sign, differentiable into both.

Doi and Koide 1991, "An Efficient Method of Triangulating Equi-Valued Surfaces by Using Tetrahedral Cells"; with
gradients to values and positions as in Shen et al. 2021, "Deep Marching Tetrahedra", section 3.1.2. Every tetrahedron
is cut by one flat piece or none and neighbours agree on the side they share, so that the surface is always a closed
two-manifold that does not cut itself, as long as no tetrahedron is turned inside out and the values at the lattice's
border are negative.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

# The six edges of a tetrahedron, by corners.
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def _table() -> Tensor:
    """For each set of positive corners (bit k: corner k), up to two triangles of edges, `[16, 2, 3]`, -1 where there is
    none.

    They face from the positive corners to the others in a tetrahedron whose corners 1, 2, 3 turn counter-clockwise seen
    from corner 0's far side, that is `det(p1 - p0, p2 - p0, p3 - p0) > 0`.
    """
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    middle = torch.stack([0.5 * (corners[a] + corners[b]) for a, b in EDGES])
    table = torch.full((16, 2, 3), -1, dtype=torch.long)
    for case in range(1, 15):
        on = [k for k in range(4) if case >> k & 1]
        off = [k for k in range(4) if k not in on]
        cut = [e for e, (a, b) in enumerate(EDGES) if (a in on) != (b in on)]
        if len(cut) == 4:  # a quadrilateral, around which neighbouring edges share a corner
            first = cut[0]
            opposite = next(e for e in cut if not set(EDGES[e]) & set(EDGES[first]))
            left, right = (e for e in cut if e not in (first, opposite))
            pieces = [[first, left, opposite], [first, opposite, right]]
        else:
            pieces = [cut]
        out = corners[off].mean(0) - corners[on].mean(0)
        for n, piece in enumerate(pieces):
            a, b, c = middle[piece]
            flip = torch.linalg.cross(b - a, c - a) @ out < 0
            table[case, n] = torch.tensor(piece[::-1] if flip else piece)
    return table


TABLE = _table()


def tet_lattice(shape: Sequence[int]) -> tuple[Int[Tensor, "N 3"], Int[Tensor, "T 4"]]:
    """A lattice of `shape` points, int64 `[N, 3]`, and its cubes cut into six tetrahedra each, int64 `[T, 4]`.

    The six share the cube's diagonal and each walks along the three axes in another order (Kuhn 1960), so that
    neighbouring cubes cut their common side alike; all are positively oriented.
    """
    if min(shape) < 2:
        raise ValueError(f"tet_lattice(): shape must be at least 2 points along each axis; got {tuple(shape)}")
    points = torch.cartesian_prod(*(torch.arange(n) for n in shape))
    stride = torch.tensor([shape[1] * shape[2], shape[2], 1])
    first = torch.cartesian_prod(*(torch.arange(n - 1) for n in shape)) @ stride
    tets: list[Tensor] = []
    for axes in itertools.permutations(range(3)):
        walk = torch.cumsum(torch.cat([torch.zeros(1, dtype=torch.long), stride[list(axes)]]), 0)
        odd = axes in ((0, 2, 1), (1, 0, 2), (2, 1, 0))
        tets.append(first[:, None] + (walk[[0, 2, 1, 3]] if odd else walk))
    return points, torch.stack(tets, dim=1).reshape(-1, 4)


def marching_tets(
    points: Float[Tensor, "N 3"], values: Float[Tensor, " N"], tets: Int[Tensor, "T 4"]
) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"], Int[Tensor, "V 2"]]:
    """The surface between positive `values` (inside) and the others.

    Args:
        points: `[N, 3]`, any floating dtype, and `values` `[N]` of the same.
        tets: int64 `[T, 4]`, positively oriented.

    Returns:
        `vertices` `[V, 3]`, differentiable into `points` and `values`: on each edge whose ends differ in sign, where
        the value would be zero if it changed evenly; `faces` int64 `[F, 3]`, counter-clockwise from the negative side;
        and `ends` int64 `[V, 2]`, the points that each vertex lies between.
    """
    inside = values.detach() > 0
    case = (inside[tets].long() * torch.tensor([1, 2, 4, 8], device=tets.device)).sum(1)
    cut = (case > 0) & (case < 15)
    tets, case = tets[cut], case[cut]
    pairs = tets[:, torch.tensor(EDGES, device=tets.device)]  # [T, 6, 2]
    crossed = inside[pairs[..., 0]] != inside[pairs[..., 1]]
    low, high = pairs.amin(-1), pairs.amax(-1)
    key, where = torch.unique((low * len(values) + high)[crossed], return_inverse=True)
    number = torch.full(crossed.shape, -1, dtype=torch.long, device=tets.device)
    number[crossed] = where
    triangles = TABLE.to(tets.device)[case]  # [T, 2, 3], edges
    real = triangles[..., 0] >= 0
    faces = torch.gather(number[:, None].expand(-1, 2, -1), 2, triangles.clamp_min(0))[real]
    ends = torch.stack([key // len(values), key % len(values)], dim=1)
    a, b = values[ends].unbind(1)
    weight = (a / (a - b))[:, None]  # of the second end; the signs differ, so that a - b is not zero
    p, q = points[ends].unbind(1)
    return p + weight * (q - p), faces, ends
