"""Triangle meshes: positions with their own indices, UVs and normals with theirs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .material_data import MaterialData
from .topology import MeshReport, edges, first_of_each, report


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

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    uv: Float[Tensor, "T 2"] | None = None
    texture: Float[Tensor, "H W 3"] | None = None
    uv_faces: Int[Tensor, "F 3"] | None = None
    normal: Float[Tensor, "N 3"] | None = None
    normal_faces: Int[Tensor, "F 3"] | None = None
    colors: Float[Tensor, "V C"] | None = None
    material_ids: Int[Tensor, " F"] | None = None
    materials: list[MaterialData] = field(default_factory=list[MaterialData])

    # --- Indices ------------------------------------------------------------------------------------------------------

    @property
    def uv_index(self) -> Int[Tensor, "F 3"]:
        """What indexes `uv`, int32 `[F, 3]`."""
        return self.faces if self.uv_faces is None else self.uv_faces

    @property
    def normal_index(self) -> Int[Tensor, "F 3"]:
        """What indexes `normal`, int32 `[F, 3]`."""
        return self.faces if self.normal_faces is None else self.normal_faces

    def shading_normals(self) -> tuple[Float[Tensor, "N 3"], Int[Tensor, "F 3"]]:
        """Unit normals `[N, 3]` and their indices `[F, 3]`: the file's where there are any, else `normals()`."""
        if self.normal is not None:
            return self.normal, self.normal_index
        return self.normals(), self.faces

    # --- Geometry -----------------------------------------------------------------------------------------------------

    def normals(self) -> Float[Tensor, "V 3"]:
        """Unit vertex normals `[V, 3]`, area-weighted. Differentiable into `vertices`."""
        return vertex_normals(self.vertices, self.faces)

    def face_normals(self) -> Float[Tensor, "F 3"]:
        """Unit face normals `[F, 3]`, zero for faces without an area. Differentiable into `vertices`."""
        return face_normals(self.vertices, self.faces)

    def areas(self) -> Float[Tensor, " F"]:
        """Areas `[F]` of the faces. Differentiable into `vertices`."""
        return 0.5 * _area_vectors(self.vertices, self.faces).norm(dim=-1)

    def edges(self) -> Int[Tensor, "E 2"]:
        """Every edge once, int64 `[E, 2]`, the smaller index first."""
        return edges(self.faces).ends

    def edge_lengths(self) -> Float[Tensor, " E"]:
        """Lengths `[E]` of `edges()`. Differentiable into `vertices`."""
        a, b = self.vertices[self.edges()].unbind(1)
        return (a - b).norm(dim=-1)

    def bounds(self) -> Float[Tensor, "2 3"]:
        """The corners `[2, 3]` of the box around all vertices."""
        return torch.stack([self.vertices.amin(0), self.vertices.amax(0)])

    def report(self) -> MeshReport:
        """Boundary, non-manifold and degenerate parts and other faults; print it."""
        return report(self.vertices, self.faces)

    # --- Other meshes from it -----------------------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> Mesh:
        """The same mesh on another device, its materials' images too."""
        materials = [_moved(m, device) for m in self.materials]
        return replace(_moved(self, device), materials=materials)

    def welded(self) -> Mesh:
        """Vertices at the very same place (and of the same colour) become one; UVs and normals stay split where they
        were.

        Files such as glTF and STL repeat positions along seams; silhouettes need them shared. Not differentiable.
        """
        key = self.vertices.detach() + 0.0  # -0 and 0 are the same place
        if self.colors is not None:
            key = torch.cat([key, self.colors.detach().to(key)], dim=1)
        _, inverse = torch.unique(key, dim=0, return_inverse=True)
        first = first_of_each(inverse)
        if len(first) == len(key):
            return self
        order = first.argsort()  # of first appearance
        keep, rank = first[order], order.argsort()
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
        tables = {"vertices": self.faces, "uv": self.uv_faces, "normal": self.normal_faces, "colors": None}
        own = {name: i for name, i in tables.items() if i is not None and getattr(self, name) is not None}
        if len(own) == 1:
            return self
        corners = torch.stack([i.long().reshape(-1) for i in own.values()], dim=1)
        unique, inverse = torch.unique(corners, dim=0, return_inverse=True)
        at = dict(zip(own, unique.unbind(1), strict=True))
        values = {name: getattr(self, name) for name in tables}
        taken = {name: None if x is None else x[at.get(name, at["vertices"])] for name, x in values.items()}
        return replace(self, faces=inverse.view(-1, 3).to(torch.int32), uv_faces=None, normal_faces=None, **taken)

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
        tables: list[tuple[str, Tensor | None, str, Any]] = [
            ("faces", f, "vertices", v),
            ("uv_index", self.uv_index, "uv", self.uv),
            ("normal_index", self.normal_index, "normal", self.normal),
            ("material_ids", self.material_ids, "materials", self.materials),
        ]
        for what, index, of, table in tables:
            if index is None or table is None:
                continue
            if index.shape != (shape := f.shape[:1] if what == "material_ids" else f.shape):
                raise ValueError(f"{name}: {what} must be {list(shape)} like faces; got {list(index.shape)}")
            if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < len(table)):
                raise ValueError(
                    f"{name}: {what} must lie in 0..{len(table) - 1}, the {of}; "
                    f"got {int(index.min())}..{int(index.max())}"
                )
        return self

    def require_uv(self, name: str = "Mesh") -> Float[Tensor, "T 2"]:
        """`uv`, or `ValueError` that says how to get some."""
        if self.uv is None:
            raise ValueError(
                f"{name}: a texture needs UVs and the mesh has none; diffrast.mesh.unwrap(mesh) makes some"
            )
        return self.uv


def _moved(data: Any, device: torch.device | str) -> Any:
    """A copy of a dataclass with its tensors on a device."""
    values = {f.name: getattr(data, f.name) for f in fields(data)}
    return replace(data, **{name: x.to(device) for name, x in values.items() if isinstance(x, Tensor)})


def _area_vectors(vertices: Tensor, faces: Tensor) -> Tensor:
    """Face normals times twice the area, `[F, 3]`."""
    a, b, c = vertices[faces.long()].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


def face_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "F 3"]:
    """Unit face normals `[F, 3]`, zero for faces without an area. Differentiable into `vertices`."""
    return torch.nn.functional.normalize(_area_vectors(vertices, faces), dim=-1, eps=1e-20)


def vertex_normals(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Unit normals `[V, 3]` from vertices `[V, 3]` and faces `[F, 3]`: the sum of the area-weighted face normals around
    each vertex, zero where no face with an area touches it. Differentiable into `vertices`."""
    n = _area_vectors(vertices, faces)
    index = faces.long().reshape(-1)
    total = torch.zeros_like(vertices).index_add(0, index, n.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)
