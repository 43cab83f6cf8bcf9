"""Meshes and their files: one table of readers, one of writers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..mesh.mesh import Mesh
from .atomic import write_bytes
from .gltf_read import load_gltf
from .gltf_write import gltf_bytes
from .image import MAX_PIXELS, linear_to_srgb, srgb_to_linear
from .obj import load_obj, save_obj


def load_mesh(
    path: str | os.PathLike[str], *, textures: bool = True, weld: bool = True, max_pixels: int = MAX_PIXELS
) -> Mesh:
    """Read `.glb`, `.gltf`, `.obj` with its material library, or whatever geometry trimesh reads (`.ply`, `.stl`, ...).

    Several parts and materials become one mesh with `material_ids`. Polygons are triangulated.

    Args:
        textures: read the images of the materials.
        weld: share the indices of positions that coincide, as silhouettes need it (see `Mesh.welded`).
        max_pixels: larger images are refused.

    Raises:
        ValueError: the file, which is named, is missing, cut short, of another format, or holds no triangle, vertices
            that are not finite, indices out of range, a texture without UVs, or a path that leaves its folder.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"mesh {path} does not exist")
    reader = READERS.get(path.suffix.lower(), _load_trimesh)
    mesh = reader(path, textures=textures, max_pixels=max_pixels).validate(f"mesh {path}")
    if len(mesh.faces) == 0:
        raise ValueError(f"mesh {path} holds no triangle")
    if len(mesh.materials) == 1 and mesh.materials[0].base_color_texture is not None:
        mesh.texture = mesh.materials[0].base_color_texture[..., :3]
    return mesh.welded() if weld else mesh


def _load_trimesh(path: Path, *, textures: bool, max_pixels: int) -> Mesh:
    """Geometry, vertex colours and UVs by trimesh, from memory, so that a file can name no other."""
    import trimesh

    data = path.read_bytes()
    if path.suffix.lower() == ".stl" and len(data) >= 84 and not data.startswith(b"solid"):
        size = 84 + 50 * int.from_bytes(data[80:84], "little")
        if len(data) < size:  # trimesh would take it for text
            raise ValueError(f"mesh {path} cannot be read: it is cut short: {len(data)} bytes of {size}")
    try:
        loaded = trimesh.load(io.BytesIO(data), file_type=path.suffix[1:].lower(), process=False, force="mesh")
    except Exception as error:  # trimesh's readers raise whatever their parsers do
        raise ValueError(f"mesh {path} cannot be read: {error}") from error
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError(f"mesh {path} holds no triangle")
    mesh = Mesh(
        torch.from_numpy(np.asarray(loaded.vertices, dtype=np.float32).copy()),
        torch.from_numpy(np.asarray(loaded.faces, dtype=np.int32).copy()),
    )
    uv = getattr(loaded.visual, "uv", None)
    if uv is not None and len(uv) == len(mesh.vertices):
        mesh.uv = torch.from_numpy(np.asarray(uv, dtype=np.float32).copy())
    if getattr(loaded.visual, "kind", None) == "vertex":
        levels = getattr(loaded.visual, "vertex_colors", None)
        colors = torch.from_numpy(np.asarray(levels, dtype=np.float32) / 255)
        mesh.colors = srgb_to_linear(colors[:, :3])
    return mesh


READERS: dict[str, Callable[..., Mesh]] = {".glb": load_gltf, ".gltf": load_gltf, ".obj": load_obj}


# --- Writing ----------------------------------------------------------------------------------------------------------


def save_mesh(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write `.glb`, `.gltf`, `.obj` (with `.mtl` and images), `.ply` or `.stl`, each file whole or not at all.

    A mesh without `materials` gets one: its `texture` as the base colour, metallic 0, roughness 1. `.ply` carries
    geometry and vertex colours, `.stl` geometry only.

    Raises:
        ValueError: another suffix, or a mesh that breaks its rules.
        OSError: the file, which is named, cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"save_mesh(): expected a path that ends in {', '.join(WRITERS)} but got {path}")
    mesh.validate("save_mesh()")
    WRITERS[path.suffix.lower()](path, mesh)


def _save_gltf(path: Path, mesh: Mesh) -> None:
    write_bytes(path, gltf_bytes(mesh, mesh.material_list(), binary=path.suffix.lower() == ".glb"))


def _save_obj(path: Path, mesh: Mesh) -> None:
    described = bool(mesh.materials) or (mesh.uv is not None and mesh.texture is not None)
    save_obj(path, mesh, mesh.material_list() if described else [])


def _save_trimesh(path: Path, mesh: Mesh) -> None:
    import trimesh

    colors = None
    if mesh.colors is not None:
        rgb = linear_to_srgb(mesh.colors[:, :3].detach().cpu().clamp(0, 1))
        colors = (rgb * 255 + 0.5).to(torch.uint8).numpy()
    out = trimesh.Trimesh(
        mesh.vertices.detach().cpu().numpy(), mesh.faces.detach().cpu().numpy(), vertex_colors=colors, process=False
    )
    data: Any = out.export(file_type=path.suffix[1:].lower())
    write_bytes(path, data.encode("utf-8") if isinstance(data, str) else data)


WRITERS: dict[str, Callable[[Path, Mesh], None]] = {
    **dict.fromkeys((".glb", ".gltf"), _save_gltf),
    ".obj": _save_obj,
    **dict.fromkeys((".ply", ".stl"), _save_trimesh),
}
