"""Oracle of texture (docs/MATH.md, section 4)."""

import functools
import math

import torch

# (sc, tc, ma) as linear forms of (x, y, z), faces +x -x +y -y +z -z (OpenGL 4.6, section 8.13).
CUBE_FACES = torch.tensor(
    [
        [[0, 0, -1], [0, -1, 0], [1, 0, 0]],
        [[0, 0, 1], [0, -1, 0], [-1, 0, 0]],
        [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[1, 0, 0], [0, 0, -1], [0, -1, 0]],
        [[1, 0, 0], [0, -1, 0], [0, 0, 1]],
        [[-1, 0, 0], [0, -1, 0], [0, 0, -1]],
    ],
    dtype=torch.float64,
)


# Mip levels ---------------------------------------------------------------------------------------------


def _averaging(n, m):
    """Matrix [m, n]: row i averages the interval [i n/m, (i+1) n/m) of n texels exactly."""
    rows = [[max(0, min((i + 1) * n, (j + 1) * m) - max(i * n, j * m)) for j in range(n)] for i in range(m)]
    return torch.tensor(rows, dtype=torch.float64) / n


def construct_mip(tex, max_mip_level=None):
    """The levels above tex [..., Ht, Wt, C] (a cube map: each face by itself), a list of the same dtype."""
    levels = []
    level = tex.double()
    while max(level.shape[-3:-1]) > 1 and (max_mip_level is None or len(levels) < max_mip_level):
        Ht, Wt = level.shape[-3:-1]
        rows, columns = _averaging(Ht, max(1, Ht // 2)), _averaging(Wt, max(1, Wt // 2))
        level = torch.einsum("ih,jw,...hwc->...ijc", rows.to(tex.device), columns.to(tex.device), level)
        levels.append(level)
    return [level.to(tex.dtype) for level in levels]


def level_of_detail(size, uv_da, bias):
    """Unclamped level [N] from uv_da float64 [N, 4], bias [N] or both; size = (Wt, Ht)."""
    if uv_da is None:
        assert bias is not None, "a level comes from uv_da, from a bias, or from both"
        return bias
    scale = torch.tensor(size, dtype=torch.float64, device=uv_da.device)[:, None]
    J = uv_da.unflatten(-1, (2, 2)) * scale  # rows: (s, t) in texels, columns: (X, Y)
    a, c = J[:, 0].square().sum(-1), J[:, 1].square().sum(-1)
    b = (J[:, 0] * J[:, 1]).sum(-1)
    radicand = ((a - c) / 2) ** 2 + b**2
    root = torch.where(radicand > 0, radicand.where(radicand > 0, torch.ones_like(a)).sqrt(), radicand * 0)
    sigma2 = (a + c) / 2 + root
    level = sigma2.where(sigma2 > 0, torch.ones_like(a)).log2() / 2
    level = level + (bias if bias is not None else 0)
    return torch.where(sigma2 > 0, level, torch.zeros_like(a))


# Cube maps ----------------------------------------------------------------------------------------------


def cube_face(d):
    """Face index of directions [..., 3]: the largest magnitude, ties prefer z over y over x."""
    x, y, z = d.detach().abs().unbind(-1)
    axis = torch.where((z >= x) & (z >= y), 2, torch.where(y >= x, 1, 0))
    negative = torch.gather(d.detach(), -1, axis[..., None])[..., 0] < 0
    return 2 * axis + negative


def cube_project(d, d_da=None):
    """Directions [N, 3] -> face [N], (s, t) in [0, 1] [N, 2], their derivatives per pixel [N, 4] or None."""
    face = cube_face(d)
    M = CUBE_FACES.to(d.device)[face]  # [N, 3, 3]
    sc_tc, ma = (M[:, :2] @ d[..., None])[..., 0], (M[:, 2] * d).sum(-1)
    projected = sc_tc / ma[:, None]
    st_da = None
    if d_da is not None:
        dd = M @ d_da.unflatten(-1, (3, 2))  # [N, 3, 2]: (sc, tc, ma) by (X, Y)
        st_da = ((dd[:, :2] - projected[..., None] * dd[:, 2:]) / (2 * ma[:, None, None])).flatten(1)
    return face, (projected + 1) / 2, st_da


@functools.cache
def _cube_taps(S):
    """Faces extended by one texel: per texel three (face, row, column) to average, [6, S+2, S+2, 3] each.

    Where a border tap comes from is found geometrically: step a tiny bit over the border and project again.
    """
    step = 1e-3 / S
    faces, rows, columns = (torch.zeros(6, S + 2, S + 2, 3, dtype=torch.int64) for _ in range(3))
    for face in range(6):
        for row in range(-1, S + 1):
            for column in range(-1, S + 1):
                sc_tc = []
                for k in (column, row):
                    centre = (2 * k + 1) / S - 1
                    sc_tc.append(centre if 0 <= k < S else math.copysign(1 + step, centre))
                point = CUBE_FACES[face].T @ torch.tensor([*sc_tc, 1.0], dtype=torch.float64)
                if 0 <= row < S or 0 <= column < S:
                    where = point.expand(3, 3)
                else:  # a corner of the cube: one point in each of its three faces
                    where = point.sign() * (1 - step * (1 - torch.eye(3, dtype=torch.float64)))
                f, st, _ = cube_project(where)
                texel = (st * S).floor().long()
                at = (face, row + 1, column + 1)
                faces[at], rows[at], columns[at] = f, texel[:, 1], texel[:, 0]
    return faces, rows, columns


# Sampling -----------------------------------------------------------------------------------------------


def _fetch_2d(level, b, ij, boundary_mode):
    """Texels ij int64 [N, 2] (column, row) of level [B, Ht, Wt, C] -> [N, C]."""
    size = torch.tensor([level.shape[2], level.shape[1]], device=ij.device)
    inside = ((ij >= 0) & (ij < size)).all(-1)
    index = ij % size if boundary_mode == "wrap" else torch.minimum(ij.clamp(min=0), size - 1)
    texel = level[b, index[:, 1], index[:, 0]]
    return texel * inside[:, None] if boundary_mode == "zero" else texel


def _sample(level, b, face, st, nearest, boundary_mode):
    """Level float64 [B, Ht, Wt, C] or [B, 6, S, S, C] at (s, t) [N, 2] -> [N, C]."""
    cube = boundary_mode == "cube"
    size = torch.tensor([level.shape[-2], level.shape[-3]], dtype=torch.float64, device=st.device)
    if cube:
        taps = [t.to(st.device) for t in _cube_taps(level.shape[-2])]
        extended = level[:, taps[0], taps[1], taps[2]].mean(-2)  # [B, 6, S+2, S+2, C]

    def fetch(ij):
        if not cube:
            return _fetch_2d(level, b, ij, boundary_mode)
        return extended[b, face, ij[:, 1] + 1, ij[:, 0] + 1]

    if nearest:
        ij = (st.detach() * size).floor().long()
        return fetch(torch.minimum(ij, size.long() - 1) if cube else ij)  # s = 1 exactly is on the face still
    position = st * size - 0.5
    corner = position.detach().floor()
    (fx, fy), ij = (position - corner).T[..., None], corner.long()
    result = 0
    for ox, wx in ((0, 1 - fx), (1, fx)):
        for oy, wy in ((0, 1 - fy), (1, fy)):
            result = result + wx * wy * fetch(ij + torch.tensor([ox, oy], device=ij.device))
    return result


def texture(
    tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap", max_mip_level=None
):
    """[B, H, W, C]. tex: [1|B, Ht, Wt, C], or [1|B, 6, S, S, C] with boundary_mode='cube'.

    uv: [B, H, W, 2|3]; uv_da: [B, H, W, 4|6]; mip_level_bias: [B, H, W]; mip: list of levels above tex.
    Differentiable in tex, in the levels of mip, in uv, uv_da and mip_level_bias.
    """
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"
    mipmapped = "mipmap" in filter_mode
    levels = [tex]
    if mipmapped:
        levels += construct_mip(tex, max_mip_level) if mip is None else mip
    if mip is not None and max_mip_level is not None:
        levels = levels[: max_mip_level + 1]
    levels = [level.double() for level in levels]

    # Only the samples that have a place are looked at.
    usable = uv.detach().isfinite().all(-1)
    if boundary_mode == "cube":
        usable &= (uv.detach() != 0).any(-1)
    where = torch.nonzero(usable, as_tuple=True)
    b = where[0] if tex.shape[0] > 1 else torch.zeros_like(where[0])
    st, da = uv[where].double(), uv_da[where].double() if mipmapped and uv_da is not None else None
    bias = mip_level_bias[where].double() if mip_level_bias is not None else None
    face = None
    if boundary_mode == "cube":
        face, st, da = cube_project(st, da)

    def sample(level):
        return _sample(level, b, face, st, filter_mode == "nearest", boundary_mode)

    if not mipmapped:
        values = sample(levels[0])
    else:
        top = len(levels) - 1
        level = level_of_detail((tex.shape[-2], tex.shape[-3]), da, bias).clamp(0, top)
        stack = torch.stack([sample(one) for one in levels])  # [L, N, C]
        n = torch.arange(len(b), device=b.device)
        if filter_mode == "linear-mipmap-nearest":
            values = stack[(level.detach() + 0.5).floor().long().clamp(max=top), n]
        else:
            low = level.detach().floor().long()
            fraction = (level - low)[:, None]
            values = torch.lerp(stack[low, n], stack[(low + 1).clamp(max=top), n], fraction)

    empty = torch.zeros(*uv.shape[:-1], tex.shape[-1], dtype=torch.float64, device=uv.device)
    return empty.index_put(where, values).to(tex.dtype)
