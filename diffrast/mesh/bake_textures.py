"""A mesh's textures, texel by texel: which lie on the surface and where, gaps between charts filled, or all of it baked
into vertex colours."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

import diffrast.torch as dr

from .material_data import TEXTURES
from .mesh import Mesh

TILES = 16  # copies of the unit square that UVs may touch: beyond, a texture is repeated on purpose


def atlas(mesh: Mesh, resolution: tuple[int, int]) -> tuple[Bool[Tensor, "H W"], Float[Tensor, "H W 3"]]:
    """The texels whose centres are inside of triangles, bool `[H, W]`, and their places in the world `[H, W, 3]`.

    UVs may leave 0..1; textures wrap around there. Where charts overlap, one of their places. Not differentiable.

    Raises:
        ValueError: the mesh has no UVs, or UVs that repeat the texture more than a few times.
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


def fill_gaps(texture: Float[Tensor, "H W C"], known: Bool[Tensor, "H W"]) -> Float[Tensor, "H W C"]:
    """Texels `[H, W, C]` that are not `known` `[H, W]` take the colour of the nearest that is: filters and mipmaps
    across a chart's border then find its own colour."""
    if bool(known.all()) or not bool(known.any()):
        return texture
    nearest = ndimage.distance_transform_edt(~known.cpu().numpy(), return_distances=False, return_indices=True)
    rows, cols = torch.from_numpy(nearest).long().to(texture.device)
    return texture[rows, cols]


def padded(mesh: Mesh) -> tuple[Mesh, int]:
    """The mesh with the gaps of all its textures filled (`fill_gaps`), and the number of texels filled.

    A texture that several materials share stays one. One that its UVs repeat many times has no seams and stays as it
    is.
    """
    if mesh.uv is None:
        return mesh, 0
    materials = list(mesh.material_list())
    users: dict[Tensor, list[tuple[int, str]]] = {}
    for i, material in enumerate(materials):
        for name in TEXTURES:
            if getattr(material, name) is not None:
                users.setdefault(getattr(material, name), []).append((i, name))
    count = 0
    for image, places in users.items():
        try:
            covered, _ = atlas(_faces_of(mesh, [i for i, _ in places]), (image.shape[0], image.shape[1]))
        except ValueError:
            continue
        filled, count = fill_gaps(image, covered), count + int((~covered).sum())
        for i, name in places:
            materials[i] = replace(materials[i], **{name: filled})
    base = materials[0].base_color_texture if len(materials) == 1 else None
    texture = mesh.texture if base is None else base[..., :3]
    return replace(mesh, materials=materials if mesh.materials else [], texture=texture), count


def _faces_of(mesh: Mesh, materials: list[int]) -> Mesh:
    """The part of a mesh that has some of its materials."""
    if mesh.material_ids is None:
        return mesh
    own = torch.isin(mesh.material_ids, torch.tensor(materials).to(mesh.material_ids))
    others = {"normal": None, "normal_faces": None, "material_ids": None}
    return replace(mesh, faces=mesh.faces[own], uv_faces=mesh.uv_index[own], **others)


def vertex_colors(mesh: Mesh) -> Float[Tensor, "V 3"] | None:
    """Linear colours `[V, 3]`: at every vertex the mean of its faces' base colours, from texture and factor, times the
    mesh's own colours. None for a mesh that has neither textures nor colours nor tinted materials. Not
    differentiable."""
    materials = mesh.material_list()
    plain = all(m.base_color_texture is None and m.base_color_factor[:3] == (1.0, 1.0, 1.0) for m in materials)
    if plain:
        return None if mesh.colors is None else mesh.colors[:, :3]
    total, count = torch.zeros_like(mesh.vertices), torch.zeros_like(mesh.vertices[:, :1])
    for i, material in enumerate(materials):
        part = _faces_of(mesh, [i])
        corners = part.faces.long().reshape(-1)
        color = mesh.vertices.new_tensor(material.base_color_factor[:3]).expand(len(corners), 3)
        if material.base_color_texture is not None and len(corners):
            uv = mesh.require_uv("vertex_colors()")[part.uv_index.long().reshape(-1)]
            picture = material.base_color_texture[None, ..., :3].contiguous()
            color = color * dr.texture(picture, uv[None, None].contiguous(), filter_mode="linear")[0, 0]
        total.index_add_(0, corners, color)
        count.index_add_(0, corners, torch.ones_like(color[:, :1]))
    mean = total / count.clamp_min(1)
    return mean if mesh.colors is None else mean * mesh.colors[:, :3]
