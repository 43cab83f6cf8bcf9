"""Oracle of volume textures (docs/MATH.md, section 4)."""

import itertools

import torch

from .texture import _averaging


def construct_mip(tex, max_mip_level=None):
    """The levels above tex [N, D, Ht, Wt, C], a list of the same dtype."""
    levels = []
    level = tex.double()
    while max(level.shape[1:4]) > 1 and (max_mip_level is None or len(levels) < max_mip_level):
        z, y, x = (_averaging(n, max(1, n // 2)).to(tex.device) for n in level.shape[1:4])
        level = torch.einsum("kd,jh,iw,ndhwc->nkjic", z, y, x, level)
        levels.append(level)
    return [level.to(tex.dtype) for level in levels]


def level_of_detail(size, uv_da, bias):
    """Unclamped level [N] from uv_da float64 [N, 6], bias [N] or both; size = (Wt, Ht, D)."""
    if uv_da is None:
        assert bias is not None, "a level comes from uv_da, from a bias, or from both"
        return bias
    scale = torch.tensor(size, dtype=torch.float64, device=uv_da.device)[:, None]
    J = uv_da.unflatten(-1, (3, 2)) * scale
    level = torch.linalg.svdvals(J)[:, 0].log2()
    return level if bias is None else level + bias


def _sample(level, b, p, nearest, boundary_mode):
    """Level float64 [B, D, Ht, Wt, C] at (u, v, w) [N, 3] -> [N, C]."""
    size = torch.tensor([level.shape[3], level.shape[2], level.shape[1]], device=p.device)

    def fetch(ijk):
        inside = ((ijk >= 0) & (ijk < size)).all(-1)
        ijk = ijk % size if boundary_mode == "wrap" else torch.minimum(ijk.clamp(min=0), size - 1)
        texel = level[b, ijk[:, 2], ijk[:, 1], ijk[:, 0]]
        return texel * inside[:, None] if boundary_mode == "zero" else texel

    if nearest:
        return fetch((p.detach() * size).floor().long())
    position = p * size - 0.5
    corner = position.detach().floor()
    fraction, corner = position - corner, corner.long()
    result = 0
    for offset in itertools.product((0, 1), repeat=3):
        o = torch.tensor(offset, device=p.device)
        weight = torch.where(o == 1, fraction, 1 - fraction).prod(-1, keepdim=True)
        result = result + weight * fetch(corner + o)
    return result


def texture(
    tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap", max_mip_level=None
):
    """[B, H, W, C]. tex: [1|B, D, Ht, Wt, C]; uv: [B, H, W, 3]; uv_da: [B, H, W, 6]; mip: list of levels above tex."""
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"
    mipmapped = "mipmap" in filter_mode
    levels = [tex]
    if mipmapped:
        levels += construct_mip(tex, max_mip_level) if mip is None else mip
    levels = [level.double() for level in levels]
    where = torch.nonzero(uv.detach().isfinite().all(-1), as_tuple=True)
    b = where[0] if tex.shape[0] > 1 else torch.zeros_like(where[0])
    p = uv[where].double()

    def sample(level):
        return _sample(level, b, p, filter_mode == "nearest", boundary_mode)

    if not mipmapped:
        values = sample(levels[0])
    else:
        top = len(levels) - 1
        da = None if uv_da is None else uv_da[where].double()
        bias = None if mip_level_bias is None else mip_level_bias[where].double()
        level = level_of_detail((tex.shape[3], tex.shape[2], tex.shape[1]), da, bias).clamp(0, top)
        stack = torch.stack([sample(one) for one in levels])  # [L, N, C]
        n = torch.arange(len(b), device=b.device)
        if filter_mode == "linear-mipmap-nearest":
            values = stack[(level.detach() + 0.5).floor().long().clamp(max=top), n]
        else:
            low = level.detach().floor().long()
            values = torch.lerp(stack[low, n], stack[(low + 1).clamp(max=top), n], (level - low)[:, None])
    empty = torch.zeros(*uv.shape[:-1], tex.shape[-1], dtype=torch.float64, device=uv.device)
    return empty.index_put(where, values).to(tex.dtype)
