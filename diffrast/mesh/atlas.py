"""The texels of a mesh's texture: which of them lie on the surface, and where."""

from __future__ import annotations

import math

import torch

import diffrast.torch as dr

from .mesh import Mesh

TILES = 16  # copies of the unit square that UVs may touch: beyond, a texture is repeated on purpose


def atlas(mesh: Mesh, resolution: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The texels whose centres are inside of triangles, bool `[H, W]`, and their places in the world `[H, W, 3]`.

    UVs may leave 0..1; textures wrap around there. Where charts overlap, one of their places. Not differentiable.
    Raises `ValueError` for a mesh without UVs, or with UVs that repeat the texture more than a few times.
    """
    uv = mesh.require_uv("atlas()").detach()
    (u0, v0), (u1, v1) = (x.floor().int().tolist() for x in (uv.amin(0), uv.amax(0) - 1e-6))
    tiles = [(u, v) for u in range(u0, max(u0, u1) + 1) for v in range(v0, max(v0, v1) + 1)]
    if len(tiles) > TILES or not math.isfinite(float(uv.sum())):
        raise ValueError(
            f"atlas(): UVs must touch at most {TILES} copies of 0..1; these repeat the texture {len(tiles)} times"
        )
    flat = torch.stack([2 * (uv - uv.new_tensor(tile)) - 1 for tile in tiles])
    flat = torch.nn.functional.pad(torch.nn.functional.pad(flat, (0, 1)), (0, 1), value=1.0)
    rast, _ = dr.rasterize(dr.RasterizeContext(), flat, mesh.uv_index, resolution, grad_db=False)
    places, _ = dr.interpolate(mesh.vertices.detach(), rast, mesh.faces)
    hit = rast[..., 3] > 0
    first = hit.int().argmax(dim=0)[None, ..., None].expand(-1, -1, -1, 3)
    return hit.any(dim=0), places.gather(0, first)[0]
