"""Points of surfaces to shade: what the visible pixels show, as a list."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

import diffrast.torch as dr

from .mesh import Mesh


@dataclass
class Surface:
    """N points. Vectors are in world space; ``normal`` and ``view`` (towards the eye) have unit length.

    ``uv`` ``[N, 2]`` and its pixel derivatives ``uv_da`` ``[N, 4]`` are None for a mesh without UVs; ``tangent`` ``[N, 4]`` (the
    direction of growing u, and the side of the bitangent) only where a material asks for it; ``color`` ``[N, 3|4]`` where the
    mesh has vertex colours. ``facing`` bool ``[N, 1]``: seen from outside; the normal is turned towards the viewer.
    """

    position: torch.Tensor
    normal: torch.Tensor
    view: torch.Tensor
    facing: torch.Tensor
    uv: torch.Tensor | None = None
    uv_da: torch.Tensor | None = None
    tangent: torch.Tensor | None = None
    color: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.position)

    def pick(self, index: torch.Tensor) -> Surface:
        """Some of the points, by index ``[M]``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(
            self, **{n: None if v is None else v.index_select(0, index) for n, v in values.items()}
        )


def points(
    mesh: Mesh, rast: torch.Tensor, rast_db: torch.Tensor, eye: torch.Tensor, tangents: bool
) -> Surface:
    """The surface at the covered pixels ``rast`` ``[N, 4]``, ``rast_db`` ``[N, 4]``, seen from ``eye`` (per point: its
    position and 1, or for a parallel projection the direction to it and 0) ``[N, 4]``. Differentiable into mesh, rast and eye."""
    rast, rast_db = rast[None, None], rast_db[None, None]
    position = dr.interpolate(mesh.vertices, rast, mesh.faces)[0][0, 0]
    normals, normal_faces = mesh.shading_normals()
    normal = torch.nn.functional.normalize(dr.interpolate(normals, rast, normal_faces)[0][0, 0], dim=-1)
    view = torch.nn.functional.normalize(eye[:, :3] - eye[:, 3:] * position, dim=-1)
    triangle = dr.triangle_id(rast)[0, 0]
    with torch.no_grad():
        a, b, c = mesh.vertices[mesh.faces.long()].unbind(1)
        face_normal = torch.linalg.cross(b - a, c - a)
        facing = (face_normal[triangle] * view).sum(-1, keepdim=True) >= 0
    normal = torch.where(facing, normal, -normal)
    uv = uv_da = tangent = color = None
    if mesh.uv is not None:
        uv, uv_da = (x[0, 0] for x in dr.interpolate(mesh.uv, rast, mesh.uv_index, rast_db, diff_attrs="all"))
        if tangents:
            along, side = _tangents(mesh)
            along = dr.interpolate(along, rast, mesh.uv_index)[0][0, 0]
            tangent = torch.cat([along, side[triangle]], dim=-1)
    if mesh.colors is not None:
        color = dr.interpolate(mesh.colors, rast, mesh.faces)[0][0, 0]
    return Surface(position, normal, view, facing, uv, uv_da, tangent, color)


def _tangents(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    """The direction in which u grows at each UV vertex ``[T, 3]``, area-weighted, and the side (1 or -1) of each face ``[F, 1]``:
    -1 where the texture is mirrored."""
    assert mesh.uv is not None
    index = mesh.uv_index.long()
    (p0, p1, p2), (t0, t1, t2) = mesh.vertices[mesh.faces.long()].unbind(1), mesh.uv[index].unbind(1)
    (du1, dv1), (du2, dv2) = (t1 - t0).unbind(-1), (t2 - t0).unbind(-1)
    side = (du1 * dv2 - du2 * dv1).detach().sign()[:, None]
    # dp/du times the UV area, whose sign is taken out: large triangles count for more, degenerate ones for nothing.
    along = side * (dv2[:, None] * (p1 - p0) - dv1[:, None] * (p2 - p0))
    total = torch.zeros_like(mesh.uv[:, :1]).repeat(1, 3)
    return total.index_add(0, index.reshape(-1), along.repeat_interleave(3, dim=0)), torch.where(
        side < 0, -1.0, 1.0
    ).to(total)
