"""Triangle meshes: positions with their own indices, UVs and normals with theirs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch

from .material_data import TEXTURES, MaterialData
from .topology import MeshReport, edges, report


@dataclass
class Mesh:
    """`vertices` float32 `[V, 3]` and `faces` int32 `[F, 3]` (counter-clockwise from outside), and optionally

    - `uv` float32 `[T, 2]` (origin at the bottom left) with `uv_faces` int32 `[F, 3]`;
    - `normal` float32 `[N, 3]`, unit normals as a file gave them, with `normal_faces` int32 `[F, 3]`;
    - `colors` float32 `[V, 3]` or `[V, 4]`, linear, one per vertex;
    - `texture` float32 `[H, W, 3]` (linear, row 0 at the bottom): the base colour where there is only one;
    - `materials`, and `material_ids` int32 `[F]` into them (None: all zero).

    `uv_faces` or `normal_faces` of None: `faces` index UVs or normals too. Faces that share an edge must share its two
    *position* indices, or `antialias` takes the edge for a silhouette; a seam of the texture splits UVs only. Plain
    data: `MeshParameters` makes parts of it trainable.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    uv: torch.Tensor | None = None
    texture: torch.Tensor | None = None
    uv_faces: torch.Tensor | None = None
    normal: torch.Tensor | None = None
    normal_faces: torch.Tensor | None = None
    colors: torch.Tensor | None = None
    material_ids: torch.Tensor | None = None
    materials: list[MaterialData] = field(default_factory=list)

    # --- Indices ------------------------------------------------------------------------------------------------------

    @property
    def uv_index(self) -> torch.Tensor:
        """What indexes `uv`, int32 `[F, 3]`."""
        return self.faces if self.uv_faces is None else self.uv_faces

    @property
    def normal_index(self) -> torch.Tensor:
        """What indexes `normal`, int32 `[F, 3]`."""
        return self.faces if self.normal_faces is None else self.normal_faces

    def shading_normals(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit normals `[N, 3]` and their indices `[F, 3]`: the file's where there are any, else `normals()`."""
        if self.normal is not None:
            return self.normal, self.normal_index
        return self.normals(), self.faces

    # --- Geometry -----------------------------------------------------------------------------------------------------

    def normals(self) -> torch.Tensor:
        """Unit vertex normals `[V, 3]`, area-weighted. Differentiable into `vertices`."""
        return vertex_normals(self.vertices, self.faces)

    def face_normals(self) -> torch.Tensor:
        """Unit face normals `[F, 3]`, zero for faces without an area. Differentiable into `vertices`."""
        return face_normals(self.vertices, self.faces)

    def areas(self) -> torch.Tensor:
        """Areas `[F]` of the faces. Differentiable into `vertices`."""
        return 0.5 * _area_vectors(self.vertices, self.faces).norm(dim=-1)

    def edges(self) -> torch.Tensor:
        """Every edge once, int64 `[E, 2]`, the smaller index first."""
        return edges(self.faces).ends

    def edge_lengths(self) -> torch.Tensor:
        """Lengths `[E]` of `edges()`. Differentiable into `vertices`."""
        a, b = self.vertices[self.edges()].unbind(1)
        return (a - b).norm(dim=-1)

    def bounds(self) -> torch.Tensor:
        """The corners `[2, 3]` of the box around all vertices."""
        return torch.stack([self.vertices.amin(0), self.vertices.amax(0)])

    def report(self) -> MeshReport:
        """Boundary, non-manifold and degenerate parts and other faults; print it."""
        return report(self.vertices, self.faces)

    # --- Other meshes from it -----------------------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> Mesh:
        """The same mesh on another device, its materials' pictures too."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if isinstance(getattr(self, f.name), torch.Tensor)
        }
        materials = [
            replace(m, **{n: getattr(m, n).to(device) for n in TEXTURES if isinstance(getattr(m, n), torch.Tensor)})
            for m in self.materials
        ]
        return replace(self, **moved, materials=materials)

    def welded(self) -> Mesh:
        """Vertices at the very same place (and of the same colour) become one; UVs and normals stay split where they
        were.

        Files such as glTF and STL repeat positions along seams; silhouettes need them shared. Not differentiable.
        """
        key = self.vertices.detach() + 0.0  # -0 and 0 are the same place
        if self.colors is not None:
            key = torch.cat([key, self.colors.detach().to(key)], dim=1)
        _, inverse = torch.unique(key, dim=0, return_inverse=True)
        count = int(inverse.max()) + 1 if len(inverse) else 0
        if count == len(key):
            return self
        # Keep the order of first appearance.
        place = torch.arange(len(inverse), device=inverse.device)
        first = torch.full((count,), len(inverse), device=inverse.device).scatter_reduce_(0, inverse, place, "amin")
        order = first.argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(count, device=order.device)
        keep = first[order]
        return replace(
            self,
            vertices=self.vertices[keep],
            faces=rank[inverse][self.faces.long()].to(torch.int32),
            colors=None if self.colors is None else self.colors[keep],
            uv_faces=self.uv_index if self.uv is not None else None,
            normal_faces=self.normal_index if self.normal is not None else None,
        )

    def single_index(self) -> Mesh:
        """One index per corner for everything, vertices repeated along seams: what glTF and graphics cards want."""
        index = [self.faces]
        index += [self.uv_faces] if self.uv is not None and self.uv_faces is not None else []
        index += [self.normal_faces] if self.normal is not None and self.normal_faces is not None else []
        if len(index) == 1:
            return self
        corners = torch.stack([i.long().reshape(-1) for i in index], dim=1)
        unique, inverse = torch.unique(corners, dim=0, return_inverse=True)
        column = iter(unique.unbind(1))
        v = next(column)
        uv_at = next(column) if self.uv is not None and self.uv_faces is not None else v
        normal_at = next(column) if self.normal is not None and self.normal_faces is not None else v
        return replace(
            self,
            vertices=self.vertices[v],
            faces=inverse.view(-1, 3).to(torch.int32),
            uv=None if self.uv is None else self.uv[uv_at],
            normal=None if self.normal is None else self.normal[normal_at],
            colors=None if self.colors is None else self.colors[v],
            uv_faces=None,
            normal_faces=None,
        )

    def material_list(self) -> list[MaterialData]:
        """The materials; where there are none, one of `texture` as the base colour, metallic 0, roughness 1."""
        picture = self.texture if self.uv is not None else None
        return self.materials or [MaterialData(base_color_texture=picture, metallic_factor=0.0)]

    def validate(self, name: str = "Mesh") -> Mesh:
        """Returns itself, or raises `ValueError` that says which rule is broken, beginning with `name`."""
        v, f = self.vertices, self.faces
        if v.ndim != 2 or v.shape[1] != 3 or not v.is_floating_point():
            raise ValueError(f"{name}: vertices must be float [V, 3]; got {v.dtype} {list(v.shape)}")
        if f.ndim != 2 or f.shape[1] != 3 or f.is_floating_point():
            raise ValueError(f"{name}: faces must be int32 [F, 3]; got {f.dtype} {list(f.shape)}")
        bad = int((~torch.isfinite(v)).any(1).sum())
        if bad:
            raise ValueError(f"{name}: {bad} of {len(v)} vertices are not finite")
        tables = [("faces", f, "vertices", v)]
        if self.uv is not None:
            tables.append(("uv_index", self.uv_index, "uv", self.uv))
        if self.normal is not None:
            tables.append(("normal_index", self.normal_index, "normal", self.normal))
        for what, index, of, table in tables:
            if index.shape != f.shape:
                raise ValueError(f"{name}: {what} must be {list(f.shape)} like faces; got {list(index.shape)}")
            if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < len(table)):
                raise ValueError(
                    f"{name}: {what} must lie in 0..{len(table) - 1}, the {of}; "
                    f"got {int(index.min())}..{int(index.max())}"
                )
        ids = self.material_ids
        if ids is not None:
            if ids.shape != f.shape[:1]:
                raise ValueError(f"{name}: material_ids must be [F] = [{len(f)}]; got {list(ids.shape)}")
            if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < len(self.materials)):
                raise ValueError(
                    f"{name}: material_ids must lie in 0..{len(self.materials) - 1}, the materials; "
                    f"got {int(ids.min())}..{int(ids.max())}"
                )
        return self

    def require_uv(self, name: str = "Mesh") -> torch.Tensor:
        """`uv`, or `ValueError` that says how to get some."""
        if self.uv is None:
            raise ValueError(
                f"{name}: a texture needs UVs and the mesh has none; diffrast.mesh.unwrap(mesh) makes some"
            )
        return self.uv


def _area_vectors(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Face normals times twice the area, `[F, 3]`."""
    a, b, c = vertices[faces.long()].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


def face_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Unit face normals `[F, 3]`, zero for faces without an area. Differentiable into `vertices`."""
    return torch.nn.functional.normalize(_area_vectors(vertices, faces), dim=-1, eps=1e-20)


def vertex_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Unit normals `[V, 3]` from vertices `[V, 3]` and faces `[F, 3]`: the sum of the area-weighted face normals around
    each vertex, zero where no face with an area touches it. Differentiable into `vertices`."""
    n = _area_vectors(vertices, faces)
    index = faces.long().reshape(-1)
    total = torch.zeros_like(vertices).index_add(0, index, n.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)
