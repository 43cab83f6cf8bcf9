"""Different meshes in one call: `rasterize` in range mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from .material_data import MaterialData
from .mesh import Mesh


@dataclass
class MeshBatch:
    """Several meshes one after the other in `mesh`, the image b being of the faces `ranges[b]`.

    `ranges` int32 `[B, 2]` on the CPU, first face and number of faces; `owner` int64 `[V]`, the mesh of each vertex;
    `materials` of `mesh` are those of all, with `material_ids` into them.
    """

    mesh: Mesh
    ranges: Int[Tensor, "B 2"]
    owner: Int[Tensor, " V"]

    def __len__(self) -> int:
        return len(self.ranges)

    def to_clip(self, matrices: Float[Tensor, "*B 4 4"]) -> Float[Tensor, "V 4"]:
        """Clip positions `[V, 4]` under one matrix for each mesh, `[B, 4, 4]`, or one for all `[4, 4]`.
        Differentiable."""
        v = self.mesh.vertices
        matrices = matrices.to(v).expand(len(self), 4, 4)
        homogeneous = torch.nn.functional.pad(v, (0, 1), value=1.0)
        return (matrices[self.owner] @ homogeneous[..., None])[..., 0]

    def split(self, values: Shaped[Tensor, "V ..."]) -> list[Shaped[Tensor, "..."]]:
        """Values `[V, ...]` of all vertices, mesh by mesh."""
        return list(values.split(torch.bincount(self.owner, minlength=len(self)).tolist()))


def batch(meshes: Sequence[Mesh]) -> MeshBatch:
    """Join meshes, of any sizes, to be drawn in one call. Differentiable into vertices, UVs, normals and colours.

    `rasterize(ctx, b.to_clip(matrices), b.mesh.faces, resolution, ranges=b.ranges)` gives `[B, H, W, 4]`. Where only
    some have UVs, colours or normals, the others get zeros, ones, and computed normals.
    """
    if not meshes:
        raise ValueError("batch(): meshes must not be empty")
    for i, m in enumerate(meshes):
        if not isinstance(m, Mesh):
            raise TypeError(f"batch(): meshes[{i}] must be a Mesh; got {type(m).__name__}")
        if m.vertices.device != meshes[0].vertices.device:
            raise ValueError(
                f"batch(): meshes must be on one device; got {meshes[0].vertices.device} and {m.vertices.device}"
            )
        m.validate(f"batch(): meshes[{i}]")
    faces, _ = _stacked([(m.vertices, m.faces) for m in meshes])
    uv_faces, uv = _stacked(
        [(m.vertices.new_zeros(len(m.vertices), 2), m.faces) if m.uv is None else (m.uv, m.uv_index) for m in meshes]
    )
    normal_faces, normal = _stacked([m.shading_normals() for m in meshes])
    materials: list[MaterialData] = []
    ids: list[Tensor] = []
    for m in meshes:
        own = m.material_ids if m.material_ids is not None else torch.zeros_like(m.faces[:, 0])
        ids.append(own + len(materials))
        materials += m.material_list()
    colors = None
    if any(m.colors is not None for m in meshes):
        width = min(m.colors.shape[1] for m in meshes if m.colors is not None)
        colors = torch.cat(
            [m.vertices.new_ones(len(m.vertices), width) if m.colors is None else m.colors[:, :width] for m in meshes]
        )
    counts = torch.tensor([len(m.faces) for m in meshes], dtype=torch.int32)
    sizes = torch.tensor([len(m.vertices) for m in meshes], device=faces.device)
    joined = Mesh(torch.cat([m.vertices for m in meshes]), faces, colors=colors)
    joined.material_ids, joined.materials = torch.cat(ids), materials
    if any(m.uv is not None for m in meshes):
        joined.uv, joined.uv_faces = uv, uv_faces
    if any(m.normal is not None for m in meshes):
        joined.normal, joined.normal_faces = normal, normal_faces
    ranges = torch.stack([counts.cumsum(0, dtype=torch.int32) - counts, counts], dim=1)
    owner = torch.arange(len(meshes), device=faces.device).repeat_interleave(sizes)
    return MeshBatch(joined, ranges, owner)


def _stacked(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Tables and the indices into them, one after the other: all indices `[F, 3]` and all rows."""
    starts = accumulate((len(rows) for rows, _ in parts), initial=0)
    index = [faces + start for (_, faces), start in zip(parts, starts, strict=False)]
    return torch.cat(index).to(torch.int32), torch.cat([rows for rows, _ in parts])


def concatenate(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, to be drawn in one image."""
    return batch(meshes).mesh
