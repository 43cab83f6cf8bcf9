"""Triangle meshes with an optional texture, and their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .files import atomic_path
from .image import from_pil, to_pil


@dataclass
class Mesh:
    """``vertices`` float32 ``[V, 3]``, ``faces`` int32 ``[F, 3]`` (counter-clockwise from outside), and optionally
    ``uv`` float32 ``[V, 2]`` (origin at the bottom left) with ``texture`` float32 ``[H, W, 3]`` (linear, row 0 at the
    bottom). A vertex on a texture seam appears once per chart, as GPUs and glTF want it.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor | None = None
    texture: torch.Tensor | None = None

    def normals(self) -> torch.Tensor:
        """Unit vertex normals ``[V, 3]``, area-weighted. Differentiable into ``vertices``."""
        return vertex_normals(self.vertices, self.faces)


def vertex_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Unit normals ``[V, 3]`` from vertices ``[V, 3]`` and faces ``[F, 3]``: the sum of the area-weighted face
    normals around each vertex, zero where no face with an area touches it. Differentiable into ``vertices``."""
    index = faces.long()
    a, b, c = vertices[index].unbind(dim=1)
    n = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices).index_add(0, index.reshape(-1), n.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def save_mesh(path: str | os.PathLike, mesh: Mesh) -> None:
    """Write ``.glb``, ``.ply`` or ``.obj`` (glTF: base colour texture, metallic 0, roughness 1), whole or not at all.

    ``.obj`` and ``.ply`` carry the geometry only. Raises ``ValueError`` for another suffix, ``OSError`` that names
    the file when it cannot be written.
    """
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    path = Path(path)
    if path.suffix.lower() not in (".glb", ".ply", ".obj"):
        raise ValueError(f"save_mesh(): expected a path that ends in .glb, .ply or .obj but got {path}")
    visual = None
    if mesh.uv is not None and path.suffix.lower() == ".glb":
        material = PBRMaterial(
            baseColorTexture=None if mesh.texture is None else to_pil(mesh.texture),
            metallicFactor=0.0,
            roughnessFactor=1.0,
        )
        visual = TextureVisuals(uv=mesh.uv.detach().cpu().numpy(), material=material)
    out = trimesh.Trimesh(
        mesh.vertices.detach().cpu().numpy(), mesh.faces.detach().cpu().numpy(), visual=visual, process=False
    )
    options: dict[str, Any] = {"include_normals": True} if path.suffix.lower() == ".glb" else {}
    with atomic_path(path) as temporary:
        temporary.write_bytes(_as_bytes(out.export(file_type=path.suffix[1:].lower(), **options)))


def _as_bytes(data) -> bytes:
    return data.encode("utf-8") if isinstance(data, str) else data


def load_mesh(path: str | os.PathLike) -> Mesh:
    """Read ``.glb``, ``.ply``, ``.obj`` or whatever trimesh reads; several parts become one mesh.

    Texture and UVs come along where the file has one texture. Raises ``ValueError`` that names the file when it is
    missing, cannot be read, or holds no triangle.
    """
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"mesh {path} does not exist")
    try:
        loaded = trimesh.load(path, process=False, force="mesh")
    except Exception as error:  # trimesh's readers raise whatever their parsers do
        raise ValueError(f"mesh {path} cannot be read: {error}") from error
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise ValueError(f"mesh {path} holds no triangle")
    uv = getattr(loaded.visual, "uv", None)
    material = getattr(loaded.visual, "material", None)
    picture = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    texture = None
    if uv is not None and picture is not None:
        texture = from_pil(picture.convert("RGB"))
    return Mesh(
        torch.from_numpy(np.asarray(loaded.vertices, dtype=np.float32).copy()),
        torch.from_numpy(np.asarray(loaded.faces, dtype=np.int32).copy()),
        None if uv is None else torch.from_numpy(np.asarray(uv, dtype=np.float32).copy()),
        texture,
    )
