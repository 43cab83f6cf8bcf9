"""Oracle of antialias (docs/MATH.md, section 5), after Laine et al. 2020, section 3."""

from collections import defaultdict
from dataclasses import dataclass

import torch

from .rasterize import CULLED_SIGN, edge_functions, pixel_centres


@dataclass
class Blends:
    """Pixels `to` receive colour from pixels `source` with a weight; pixels are (b, iy, ix), int64 [N, 3]."""

    to: torch.Tensor
    source: torch.Tensor
    weight: torch.Tensor  # float64 [N], differentiable in pos
    margin: torch.Tensor  # float64 [N], distance of alpha from 0, 1/2, 1 and the alpha of another edge


def _pairs(ids):
    """All pairs of adjacent pixels with different ids int64 [B, H, W]: two times [N, 3]."""
    pairs = []
    for axis in (1, 2):
        first, second = ids.narrow(axis, 0, ids.shape[axis] - 1), ids.narrow(axis, 1, ids.shape[axis] - 1)
        at = torch.nonzero(first != second)
        step = torch.zeros(3, dtype=torch.int64, device=ids.device)
        step[axis] = 1
        pairs.append((at, at + step))
    return [torch.cat(side) for side in zip(*pairs, strict=True)]


def _side(q, k, i, j):
    """Sign of det[q_k, q_i, q_j], q a list of V (x, y, w)."""
    (xk, yk, wk), (xi, yi, wi), (xj, yj, wj) = q[k], q[i], q[j]
    det = xk * (yi * wj - wi * yj) + yk * (wi * xj - xi * wj) + wk * (xi * yj - yi * xj)
    return (det > 0) - (det < 0)


def _is_silhouette(q, faces, triangle, edge, owners, cull):
    """Whether no triangle continues the surface of `triangle` across its edge opposite to corner `edge`."""
    i, j, m = (faces[triangle][(edge + k) % 3] for k in (1, 2, 0))
    inner = _side(q, m, i, j)
    for other in owners[frozenset((i, j))]:
        corners = faces[other]
        facing = _side(q, *corners)
        if other == triangle or facing == 0 or facing == CULLED_SIGN[cull]:
            continue
        for k in corners:
            if k not in (i, j) and _side(q, k, i, j) * inner < 0:
                return False
    return True


def find_blends(rast, pos, tri, cull="none"):
    """The blends of an image; margin is small where a tiny change of pos changes a decision."""
    device = rast.device
    ids = rast[..., 3].detach().long() - 1
    X, Y = (c.to(device) for c in pixel_centres(rast.shape[1:3]))
    zw = torch.where(ids >= 0, rast[..., 2].detach().double(), torch.inf)
    first, second = _pairs(ids)

    def at(image, pixel):
        return image[pixel.unbind(-1)]

    z1, z2 = at(zw, first), at(zw, second)
    swap = (z2 < z1) | ((z2 == z1) & (at(ids, second) < at(ids, first)))
    near, far = torch.where(swap[:, None], second, first), torch.where(swap[:, None], first, second)

    visible = at(ids, near)
    corners = tri.long()[visible]
    batched = pos if pos.ndim == 3 else pos[None]
    b = near[:, 0] if batched.shape[0] > 1 else torch.zeros_like(near[:, 0])
    p = batched[b[:, None], corners].double()
    a_near = edge_functions(p, X[near[:, 2]], Y[near[:, 1]])
    a_far = edge_functions(p, X[far[:, 2]], Y[far[:, 1]])
    sign = a_near.detach().sum(-1, keepdim=True).sign()
    g_near, g_far = (a_near * sign).clamp(min=0), a_far * sign

    leaves = g_far < 0
    alphas = torch.where(leaves, g_near / torch.where(leaves, g_near - g_far, 1.0), torch.inf)
    alpha, edge = alphas.min(-1)

    faces = tri.tolist()
    owners = defaultdict(list)
    for f, (i, j, k) in enumerate(faces):
        for pair in ((i, j), (j, k), (k, i)):
            owners[frozenset(pair)].append(f)
    q = batched.detach().double()[..., [0, 1, 3]].tolist()
    known = {}

    def silhouette(n):
        key = (int(b[n]), int(visible[n]), int(edge[n]))
        if key not in known:
            known[key] = _is_silhouette(q[key[0]], faces, key[1], key[2], owners, cull)
        return known[key]

    # The exit edge's function is a X + b Y + c; its slopes per pixel are 2 a / W and 2 b / H.
    height, width = rast.shape[1:3]
    (xj, yj, _, wj), (xl, yl, _, wl) = (p[torch.arange(len(edge)), (edge + k) % 3].detach().unbind(-1) for k in (1, 2))
    slope_x, slope_y = (yj * wl - wj * yl).abs() / width, (wj * xl - xj * wl).abs() / height
    vertical = near[:, 2] == far[:, 2]
    oriented = vertical == (slope_y > slope_x)
    flatness = (slope_y - slope_x).abs() / (slope_y + slope_x)

    keep = [n for n in range(len(near)) if bool(leaves[n].any()) and bool(oriented[n]) and silhouette(n)]
    near, far, alpha, alphas, flatness = (near[keep], far[keep], alpha[keep], alphas[keep].detach(), flatness[keep])
    d = alpha - 0.5
    outward = (d >= 0)[:, None]
    runner_up = alphas.sort(-1).values
    a = alpha.detach()
    decisions = torch.stack([a, (a - 0.5).abs(), 1 - a, runner_up[:, 1] - runner_up[:, 0], flatness], -1)
    return Blends(
        to=torch.where(outward, far, near),
        source=torch.where(outward, near, far),
        weight=d.abs(),
        margin=decisions.min(-1).values,
    )


def antialias(color, rast, pos, tri, pos_gradient_boost=1.0, cull="none"):
    """[B, H, W, C] in the dtype of color, differentiable in color and in (x, y, w) of pos.

    color: [B, H, W, C]; rast: [B, H, W, 4]; pos: [V, 4] or [1|B, V, 4]; tri: int [F, 3].
    """
    boosted = pos.detach() + pos_gradient_boost * (pos - pos.detach())
    blends = find_blends(rast, boosted, tri, cull)
    c = color.double()
    to, source = blends.to.unbind(-1), blends.source.unbind(-1)
    total = torch.zeros(rast.shape[:3], dtype=torch.float64, device=c.device)
    total = total.index_put(to, blends.weight, accumulate=True).clamp(min=1)
    share = blends.weight / total[to]
    return c.index_put(to, share[:, None] * (c[source] - c[to]), accumulate=True).to(color.dtype)
