"""A mesh's textures made ready for files: charts padded into the gaps between them, or all of it baked into vertex
colours."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy import ndimage

import diffrast.torch as dr

from .atlas import atlas
from .material_data import TEXTURES
from .mesh import Mesh


def fill_gaps(texture: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Texels `[H, W, C]` that are not `known` `[H, W]` take the colour of the nearest that is: filters and mipmaps
    across a chart's border then find its own colour."""
    if bool(known.all()) or not bool(known.any()):
        return texture
    nearest = ndimage.distance_transform_edt(~known.cpu().numpy(), return_distances=False, return_indices=True)
    rows, cols = (torch.from_numpy(i.astype("int64")).to(texture.device) for i in nearest)
    return texture[rows, cols]


def padded(mesh: Mesh) -> tuple[Mesh, int]:
    """The mesh with the gaps of all its textures filled (`fill_gaps`), and the number of texels filled.

    A picture that several materials share stays one. One that its UVs repeat many times has no seams and stays as it
    is.
    """
    if mesh.uv is None:
        return mesh, 0
    materials = list(mesh.material_list())
    users: dict[int, list[tuple[int, str]]] = {}
    for i, material in enumerate(materials):
        for name in TEXTURES:
            if getattr(material, name) is not None:
                users.setdefault(id(getattr(material, name)), []).append((i, name))
    count = 0
    for places in users.values():
        picture = getattr(materials[places[0][0]], places[0][1])
        try:
            covered, _ = atlas(_faces_of(mesh, [i for i, _ in places]), (picture.shape[0], picture.shape[1]))
        except ValueError:
            continue
        picture, count = fill_gaps(picture, covered), count + int((~covered).sum())
        for i, name in places:
            materials[i] = replace(materials[i], **{name: picture})
    base = materials[0].base_color_texture if len(materials) == 1 else None
    texture = mesh.texture if base is None else base[..., :3]
    return replace(mesh, materials=materials if mesh.materials else [], texture=texture), count


def _faces_of(mesh: Mesh, materials: list[int]) -> Mesh:
    """The part of a mesh that has some of its materials."""
    if mesh.material_ids is None:
        return mesh
    own = torch.isin(mesh.material_ids, torch.tensor(materials).to(mesh.material_ids))
    return replace(mesh, faces=mesh.faces[own], uv_faces=mesh.uv_index[own])


def vertex_colors(mesh: Mesh) -> torch.Tensor | None:
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
