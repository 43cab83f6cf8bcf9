"""Oracle of the anisotropic filter of 2-D textures (docs/MATH.md, section 4)."""

import torch

from .texture import _sample, construct_mip


def line_of_taps(J, max_anisotropy):
    """For J float64 [N, 2, 2] in texels: width [N], step as a vector [N, 2], count [N] of the taps.

    The axes by the library's singular value decomposition.
    """
    U, S, _ = torch.linalg.svd(J)
    major, minor = S.unbind(-1)
    width = torch.maximum(minor, major / max_anisotropy)
    step = width.clamp(min=1)
    count = (major / step).clamp(1, max_anisotropy)
    return width, step[:, None] * U[..., 0], count


def weights(count):
    """[N] -> one weight per tap -K .. K, [N, 2 K + 1], zero where there is no tap; the sum is 1.

    Tap k stands for the part of the segment [-count / 2, count / 2] within [k - 1/2, k + 1/2].
    """
    most = int(((count.max() - 1) / 2).ceil()) if len(count) else 0
    k = torch.arange(-most, most + 1, dtype=torch.float64, device=count.device)
    covered = (count[:, None] / 2 - (k.abs() - 0.5)).clamp(0, 1)
    return torch.where(k == 0, torch.ones_like(covered), covered) / count[:, None]


def texture(tex, uv, uv_da, mip_level_bias=None, mip=None, boundary_mode="wrap", max_mip_level=None, max_anisotropy=16):
    """[B, H, W, C] as texture(..., filter_mode="anisotropic"); tex [1|B, Ht, Wt, C], mip: list of levels above tex."""
    levels = [tex, *(construct_mip(tex, max_mip_level) if mip is None else mip)]
    levels = [level.double() for level in levels]
    where = torch.nonzero(uv.detach().isfinite().all(-1), as_tuple=True)
    b = where[0] if tex.shape[0] > 1 else torch.zeros_like(where[0])
    st = uv[where].double()
    size = torch.tensor([tex.shape[2], tex.shape[1]], dtype=torch.float64, device=uv.device)
    J = uv_da[where].double().unflatten(-1, (2, 2)) * size[:, None]
    width, step, count = line_of_taps(J, max_anisotropy)
    level = width.log2() + (0 if mip_level_bias is None else mip_level_bias[where].double())
    top = len(levels) - 1
    level = level.clamp(0, top)
    low = level.detach().floor().long()
    n = torch.arange(len(b), device=b.device)

    values = 0
    w = weights(count)
    reach = w.shape[1] // 2
    for k in range(-reach, reach + 1):
        at = st + k * step / size
        stack = torch.stack([_sample(one, b, None, at, False, boundary_mode) for one in levels])
        tap = torch.lerp(stack[low, n], stack[(low + 1).clamp(max=top), n], (level - low)[:, None])
        values = values + w[:, k + reach, None] * tap
    empty = torch.zeros(*uv.shape[:-1], tex.shape[-1], dtype=torch.float64, device=uv.device)
    return empty.index_put(where, values).to(tex.dtype)
