"""Prefiltered cube maps: each level is a constant linear operator on the map, so its adjoint is the gradient.

Karis 2013, "Real Shading in Unreal Engine 4" (split sum): the lobe of a rough mirror seen head-on (normal, viewer and
reflected direction agree) has the kernel `D(h) (n . l)` about the reflected direction, D the GGX distribution at half
the angle. The irradiance is the same with the kernel `n . l`.
"""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 4  # texels along a face of the coarsest level
IRRADIANCE = 16  # texels along a face of the irradiance map, and of what wide lobes are computed from
COARSE = 8  # texels along a face of the coarsest map that the tails of narrow lobes are computed from
NEAR = 2.5  # a texel is looked at as a whole where it is farther away than so many times its size
TEXEL_LIMIT = 256  # along a face: the operator takes about 6 KB for each texel of the second level


def texel_directions(size: int, sub: int = 1) -> np.ndarray:
    """Unit vectors of the texels of a cube map (OpenGL's faces), float64 `[6, size, size, sub * sub, 3]`, and of so
    many points within each."""
    at = (np.arange(size * sub) + 0.5) / (size * sub) * 2 - 1
    t, s = np.meshgrid(at, at, indexing="ij")
    one = np.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    d = np.stack([np.stack(face, -1) for face in faces])
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    d = d.reshape(6, size, sub, size, sub, 3).transpose(0, 1, 3, 2, 4, 5)
    return d.reshape(6, size, size, sub * sub, 3)


def solid_angles(size: int, sub: int = 1) -> np.ndarray:
    """Of the points of `texel_directions`, float64 `[6, size, size, sub * sub]`, approximately; their sum is near 4
    pi."""
    at = (np.arange(size * sub) + 0.5) / (size * sub) * 2 - 1
    area = (2 / (size * sub)) ** 2 / (1 + at[:, None] ** 2 + at[None] ** 2) ** 1.5
    area = area.reshape(size, sub, size, sub).transpose(0, 2, 1, 3).reshape(size, size, sub * sub)
    return np.broadcast_to(area, (6, size, size, sub * sub))


def level_sizes(size: int) -> list[int]:
    """Texels along a face of each level; level i of n is for roughness `i / (n - 1)`."""
    sizes = [size]
    while sizes[-1] // 2 >= LEAST:
        sizes.append(sizes[-1] // 2)
    return sizes


def _kernel(roughness: float | None, n_l: np.ndarray) -> np.ndarray:
    """Weight of light from an angle with cosine `n_l` for the lobe of a roughness, or for irradiance (None)."""
    cosine = n_l.clip(0)
    if roughness is None:
        return cosine
    a2 = roughness**4
    half2 = (1 + n_l) / 2  # the squared cosine of half the angle
    return cosine * (a2 / (half2 * (a2 - 1) + 1) ** 2)


def _rows(directions: np.ndarray, roughness: float | None, pyramid: list[int]):
    """One row of weights for each direction `[R, 3]`, over the texels of all levels of a pyramid (finest first): row
    numbers, columns and weights. From the coarsest level on, a texel that is too near to be taken as a whole is
    replaced by its four."""
    starts = np.cumsum([0] + [6 * n * n for n in pyramid])
    size = pyramid[-1]
    row = np.repeat(np.arange(len(directions), dtype=np.int32), 6 * size * size)
    texel = np.tile(np.arange(6 * size * size, dtype=np.int32), len(directions))
    found = []
    for level in range(len(pyramid) - 1, -1, -1):
        size = pyramid[level]
        sub = 2 if level == 0 else 1  # those of coarser levels are small for where they are
        middle = texel_directions(size).reshape(-1, 3)
        n_l = np.einsum("ij,ij->i", directions[row], middle[texel])
        if level > 0:
            reach = 1.5 * NEAR / size
            split = n_l > math.cos(min(reach, math.pi))
            behind = n_l < -3.0 / size  # wholly below the horizon
        else:
            split = np.zeros(len(row), bool)
            behind = n_l < -3.0 / size
        take = ~split & ~behind
        points, angles = texel_directions(size, sub).reshape(-1, sub * sub, 3), solid_angles(size, sub)
        weight = np.zeros(int(take.sum()))
        r, t = row[take], texel[take]
        for k in range(sub * sub):
            cosine = np.einsum("ij,ij->i", directions[r], points[t, k])
            weight += _kernel(roughness, cosine) * angles.reshape(-1, sub * sub)[t, k]
        found.append((r, t + starts[level], weight))
        # The four texels of the next finer level: row and column doubled, and one more.
        row, texel = row[split], texel[split]
        face, y, x = texel // (size * size), texel // size % size, texel % size
        fine = 2 * size
        first = (face * fine + 2 * y) * fine + 2 * x
        row = np.repeat(row, 4)
        texel = (first[:, None] + np.array([0, 1, fine, fine + 1])).reshape(-1).astype(np.int32)
    return (np.concatenate(parts) for parts in zip(*found, strict=True))


@functools.lru_cache(maxsize=8)
def dense_operator(targets: tuple[tuple[int, float | None], ...], inputs: int, device: torch.device) -> Tensor:
    """For wide lobes: from a map of `inputs` texels along a face to maps of the sizes and roughnesses `targets`, one
    below the other. Rows sum to 1."""
    sub, rows = 2, []
    points, angles = texel_directions(inputs, sub).reshape(-1, 3), solid_angles(inputs, sub).reshape(-1)
    for size, roughness in targets:
        n_l = texel_directions(size).reshape(-1, 3) @ points.T
        weight = (_kernel(roughness, n_l) * angles).reshape(len(n_l), -1, sub * sub).sum(-1)
        rows.append(weight / weight.sum(1, keepdims=True))
    return torch.from_numpy(np.concatenate(rows).astype(np.float32)).to(device)


@functools.lru_cache(maxsize=8)
def sparse_operator(size: int, roughness: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For narrow lobes: a sparse matrix that takes the pyramid of a map (from `size` to `COARSE` texels along a face,
    finest first, flattened) to the prefiltered map, and its transpose. Rows sum to 1."""
    import scipy.sparse

    pyramid = [n for n in level_sizes(size) if n >= COARSE]
    directions, parts = texel_directions(size).reshape(-1, 3), []
    for part in np.array_split(directions, -(-len(directions) // 4096)):
        row, column, weight = _rows(part, roughness, pyramid)
        shape = (len(part), sum(6 * n * n for n in pyramid))
        m = scipy.sparse.csr_matrix((weight, (row, column)), shape)
        parts.append(scipy.sparse.diags(1 / np.asarray(m.sum(1))[:, 0]) @ m)
    whole = scipy.sparse.vstack(parts).tocsr().astype(np.float32)
    return _torch_csr(whole, device), _torch_csr(whole.T.tocsr(), device)


def _torch_csr(m, device: torch.device) -> Tensor:
    parts = torch.from_numpy(m.indptr.astype(np.int32)), torch.from_numpy(m.indices.astype(np.int32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(*parts, torch.from_numpy(m.data), m.shape, check_invariants=False).to(device)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix, transposed, x):
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx, *grads):
        return None, None, ctx.transposed @ grads[0]


def prefilter(cube: Float[Tensor, "*shape"]) -> tuple[list[Tensor], Float[Tensor, "6 N N 3"]]:
    """A cube map `[6, S, S, 3]`, S = 8 * 2^k up to `TEXEL_LIMIT`, to its prefiltered levels (`[6, n, n, 3]`, the map
    itself first) and the irradiance over pi `[6, 16, 16, 3]`. Differentiable; float32 inside. The first call for a size
    builds the operator (a second or so for 64), which is kept."""
    size = cube.shape[1]
    if cube.shape != (6, size, size, 3) or size > TEXEL_LIMIT or size < 2 * LEAST or size & (size - 1):
        raise ValueError(
            f"prefilter(): cube must be [6, S, S, 3] with S a power of two from {2 * LEAST} to {TEXEL_LIMIT}; "
            f"got {list(cube.shape)}"
        )
    pyramid = {size: cube.float()}
    for n in level_sizes(size)[1:]:
        pyramid[n] = pyramid[2 * n].view(6, n, 2, n, 2, 3).mean((2, 4))
    sizes, inputs = level_sizes(size), min(size, IRRADIANCE)
    steps = [(n, i / (len(sizes) - 1)) for i, n in enumerate(sizes)][1:]
    wide = (*((n, r) for n, r in steps if n <= inputs), (IRRADIANCE, None))
    levels = [cube]
    with torch.autocast(cube.device.type, enabled=False):
        for n, roughness in steps:
            if n > inputs:
                flat = torch.cat([pyramid[k].reshape(-1, 3) for k in sizes if COARSE <= k <= n])
                level = _Apply.apply(*sparse_operator(n, roughness, cube.device), flat)
                levels.append(level.view(6, n, n, 3).to(cube.dtype))
        out = dense_operator(wide, inputs, cube.device) @ pyramid[inputs].reshape(-1, 3)
    parts = out.to(cube.dtype).split([6 * n * n for n, _ in wide])
    maps = [part.view(6, n, n, 3) for part, (n, _) in zip(parts, wide, strict=True)]
    return levels + maps[:-1], maps[-1]
