"""Oracle of rasterize (docs/MATH.md, sections 1 and 2): brute force over triangles in exact arithmetic."""

import numpy as np
import torch

# Keeps the triangles with a given sign of D.
CULLED_SIGN = {"none": 0, "back": -1, "front": 1}


def pixel_centres(resolution):
    """Pixel centres in normalized device coordinates: X float64 [W], Y float64 [H]."""
    H, W = resolution
    X = (2 * torch.arange(W, dtype=torch.float64) + 1 - W) / W
    Y = (2 * torch.arange(H, dtype=torch.float64) + 1 - H) / H
    return X, Y


def _exact(triangle):
    """Three clip-space vertices [3, 4] as Python integers: the floats times one common power of two."""
    ratios = [[float(c).as_integer_ratio() for c in vertex] for vertex in triangle]
    scale = max(denominator for vertex in ratios for _, denominator in vertex)
    return [[n * (scale // d) for n, d in vertex] for vertex in ratios]


def _fragments(triangle, resolution, cull):
    """Coverage bool [H, W] of a triangle [3, 4] and its exact z/w rounded to float64 [H, W], inf outside."""
    H, W = resolution
    covered = np.zeros((H, W), bool)
    depth = np.full((H, W), np.inf)
    if not np.isfinite(triangle).all():
        return covered, depth
    p = _exact(triangle)

    # e_i = a_i X + b_i Y + c_i, the determinant of rows (X, Y, 1), q_j, q_k.
    edges = []
    for i in range(3):
        (xj, yj, _, wj), (xk, yk, _, wk) = p[(i + 1) % 3], p[(i + 2) % 3]
        edges.append((yj * wk - wj * yk, wj * xk - xj * wk, xj * yk - yj * xk))
    D = sum(edges[0][c] * p[0][k] for c, k in enumerate((0, 1, 3)))
    sign = (D > 0) - (D < 0)
    if sign == 0 or sign == CULLED_SIGN[cull]:
        return covered, depth

    # Everything times W H, so that the pixel centres are integers.
    X = np.array([2 * ix + 1 - W for ix in range(W)], dtype=object)
    Y = np.array([2 * iy + 1 - H for iy in range(H)], dtype=object)
    numerator = np.zeros((H, W), dtype=object)
    covered[:] = True
    for (a, b, c), vertex in zip(edges, p, strict=True):
        a, b, c = sign * a, sign * b, sign * c
        e = (a * H * X)[None, :] + (b * W * Y + c * W * H)[:, None]
        left_or_top = a > 0 or (a == 0 and b < 0)
        covered &= ((e >= 0) if left_or_top else (e > 0)).astype(bool)
        numerator = numerator + e * vertex[2]
    denominator = abs(D) * W * H
    covered &= (abs(numerator) <= denominator).astype(bool)  # -1 <= z/w <= 1
    depth[covered] = [n / denominator for n in numerator[covered]]  # int / int is correctly rounded
    return covered, depth


def visibility(pos, tri, resolution, ranges=None, cull="none", layer=0):
    """Index of the visible triangle per pixel, int64 [B, H, W], -1 where there is none.

    pos: [B, V, 4], or [V, 4] with ranges int [B, 2] = (first triangle, count); tri: int [F, 3].
    layer: how many fragments to peel off (0 is the visible surface).
    """
    faces = tri.detach().cpu().long()
    vertices = pos.detach().cpu()
    if ranges is None:
        images = [(p, range(len(faces))) for p in vertices]
    else:
        images = [(vertices, range(int(first), int(first) + int(n))) for first, n in ranges]

    ids = torch.full((len(images), *resolution), -1, dtype=torch.int64)
    for b, (p, triangles) in enumerate(images):
        depths = [_fragments(p[faces[f]].double().numpy(), resolution, cull)[1] for f in triangles]
        if len(depths) <= layer:
            continue
        depth = np.stack(depths).astype(np.float32 if pos.dtype == torch.float32 else np.float64)
        order = np.argsort(depth, axis=0, kind="stable")[layer]  # stable: the lower index wins a tie
        hit = np.isfinite(np.take_along_axis(depth, order[None], 0)[0])
        ids[b] = torch.from_numpy(np.where(hit, triangles.start + order, -1))
    return ids


def edge_functions(p, X, Y):
    """a_i of section 2 at (X, Y): p float64 [N, 3, 4], X and Y [N] -> [N, 3]."""
    x = p[..., 0] - X[:, None] * p[..., 3]
    y = p[..., 1] - Y[:, None] * p[..., 3]
    return torch.stack([x[:, j] * y[:, k] - x[:, k] * y[:, j] for j, k in ((1, 2), (2, 0), (0, 1))], -1)


def _resolve(p, X, Y, pixel):
    """p float64 [N, 3, 4] at X, Y [N], pixel = (2/W, 2/H) -> (u, v) [N, 2], z/w [N], rast_db [N, 4]."""
    x = p[..., 0] - X[:, None] * p[..., 3]
    y = p[..., 1] - Y[:, None] * p[..., 3]
    w = p[..., 3]
    a = edge_functions(p, X, Y)
    s = a.sum(-1, keepdim=True)
    uv = a[:, :2] / s
    zw = (a * p[..., 2]).sum(-1) / (a * w).sum(-1)

    pairs = ((1, 2), (2, 0), (0, 1))
    da_dX = torch.stack([w[:, k] * y[:, j] - w[:, j] * y[:, k] for j, k in pairs], -1) * pixel[0]
    da_dY = torch.stack([w[:, j] * x[:, k] - w[:, k] * x[:, j] for j, k in pairs], -1) * pixel[1]
    du_dX, dv_dX = ((da_dX[:, :2] - uv * da_dX.sum(-1, keepdim=True)) / s).unbind(-1)
    du_dY, dv_dY = ((da_dY[:, :2] - uv * da_dY.sum(-1, keepdim=True)) / s).unbind(-1)

    clamped = uv.detach().clamp(min=0)
    clamped = clamped / clamped.sum(-1, keepdim=True).clamp(min=1)
    uv = uv + (clamped - uv.detach())  # the clamp is the identity in the derivative
    return uv, zw.detach(), torch.stack([du_dX, du_dY, dv_dX, dv_dY], -1)


def rasterize(pos, tri, resolution, ranges=None, cull="none", layer=0, ids=None):
    """rast and rast_db, both [B, H, W, 4] in the dtype of pos, differentiable in pos.

    ids: int64 [B, H, W], -1 for nothing: visibility from outside, instead of visibility().
    """
    if ids is None:
        ids = visibility(pos, tri, resolution, ranges, cull, layer)
    H, W = resolution
    ids = ids.to(pos.device)
    b, iy, ix = torch.nonzero(ids >= 0, as_tuple=True)
    faces = tri.long()[ids[b, iy, ix]]  # [N, 3]
    p = (pos[faces] if pos.ndim == 2 else pos[b[:, None], faces]).double()
    X, Y = (c.to(pos.device) for c in pixel_centres(resolution))
    uv, zw, uv_db = _resolve(p, X[ix], Y[iy], (2 / W, 2 / H))

    empty = torch.zeros(*ids.shape, 4, dtype=torch.float64, device=pos.device)
    values = torch.cat([uv, zw[:, None], (ids[b, iy, ix] + 1)[:, None].double()], -1)
    rast = empty.index_put((b, iy, ix), values)
    rast_db = empty.index_put((b, iy, ix), uv_db)
    return rast.to(pos.dtype), rast_db.to(pos.dtype)
