"""Points of surfaces to shade: what the visible pixels show, as a list."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import diffrast.torch as dr

from ..mesh.mesh import Mesh
from .vectors import constant, scale, unit


@dataclass
class Surface:
    """N points. Vectors are in world space; `normal` and `view` (towards the eye) have unit length.

    `uv` `[N, 2]` and its pixel derivatives `uv_da` `[N, 4]` are None for a mesh without UVs; `tangent` `[N, 4]` (the
    direction of growing u, and the side of the bitangent) only where a material asks for it; `color` `[N, 3|4]` where
    the mesh has vertex colours. `facing` bool `[N, 1]`: seen from outside; the normal is turned towards the viewer.
    """

    position: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"]
    view: Float[Tensor, "N 3"]
    facing: Bool[Tensor, "N 1"]
    uv: Float[Tensor, "N 2"] | None = None
    uv_da: Float[Tensor, "N 4"] | None = None
    tangent: Float[Tensor, "N 4"] | None = None
    color: Float[Tensor, "N C"] | None = None

    def __len__(self) -> int:
        return len(self.position)

    def pick(self, index: Int[Tensor, " M"]) -> Surface:
        """Some of the points, by index `[M]`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: None if v is None else v.index_select(0, index) for n, v in values.items()})


def points(
    mesh: Mesh,
    rast: Float[Tensor, "N 4"],
    rast_db: Float[Tensor, "N 4"],
    eyes: Float[Tensor, "B 4"],
    which: Int[Tensor, " N"] | None,
    tangents: bool,
) -> Surface:
    """The surface at the covered pixels `rast` `[N, 4]`, `rast_db` `[N, 4]`, seen from `eyes` `[B, 4]` (each its
    position and 1, or for a parallel projection the direction to it and 0); `which` `[N]` sees each
    point, None: the only one. Differentiable into mesh, rast and eyes."""
    normals, normal_faces = mesh.shading_normals()
    triangle = dr.triangle_id(rast[None, None])[0, 0]
    row = triangle if which is None else triangle + which * len(mesh.faces)
    facing, limit = (values[row][:, None] for values in _seen(mesh, normals, normal_faces, eyes))
    slivers = rast_db.detach().square().sum(-1) > limit[:, 0]
    rast, rast_db = constant(rast, slivers)[None, None], rast_db[None, None]
    position = dr.interpolate(mesh.vertices, rast, mesh.faces)[0][0, 0]
    normal = unit(dr.interpolate(normals, rast, normal_faces)[0][0, 0])
    normal = scale(normal, 2 * facing.to(normal) - 1)
    eye = eyes if which is None else eyes[which]
    view = unit(eye[:, :3] - eye[:, 3:] * position)
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


@torch.no_grad()
def _seen(mesh, normals, normal_faces, eyes) -> tuple[Tensor, Tensor]:
    """Of each triangle, for one eye after the other `[B F]`: whether it shows its outside, and above which squared
    length of `rast_db` it is a sliver at a pixel.

    A sliver is less than half a pixel high, seen at a slant, and the normal turns by more than 0.3 radians per pixel.
    Few are hit by a pixel's centre, and the derivatives of shading inside of those few have no bound. What moves there
    is the outline with the colour beside it, and `antialias` knows its motion: the sliver's own would count it twice.
    (The limits are the best of those tried on pictures of a fine mesh, against finite differences.)
    """
    corners, ends = mesh.vertices[mesh.faces.long()], normals[normal_faces.long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    to_eye = eyes[:, None, :3] - eyes[:, None, 3:] * corners.mean(1)  # [B, F, 3]
    cosine = torch.nn.functional.cosine_similarity(normal, to_eye, dim=-1, eps=1e-20)
    turn = (ends - ends.roll(1, dims=1)).norm(dim=-1).amax(1)  # over the triangle
    limit = (0.3 / turn).clamp_min(2).square().where(cosine.abs() < 0.5, torch.inf)
    return (cosine >= 0).reshape(-1), limit.reshape(-1)


def _tangents(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """The direction in which u grows at each UV vertex `[T, 3]`, area-weighted, and the side (1 or -1) of each face
    `[F, 1]`:
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
