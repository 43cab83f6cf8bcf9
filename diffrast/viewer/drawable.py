"""A mesh as the viewer draws it: a copy that nobody changes, what is prepared of it, and what lights it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

import diffrast.torch as dr

from ..mesh.mesh import Mesh, vertex_normals
from ..ops.texture_mip import Mip
from ..ops.topology import Topology
from ..scene.environment import EnvironmentLight, latlong_directions
from ..scene.prefilter import prefilter

Environment = tuple[list[Tensor], Tensor]  # levels and irradiance, as `prefilter` returns them
GRAY = 0.6  # linear base colour of a mesh that has none
MIP_LEVELS = 6
SIZE = 64  # texels along a face of the cube map of an environment


def copy_mesh(mesh: Mesh) -> Mesh:
    """A copy that training cannot change under the viewer's hands."""

    def own(x: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor | None:
        return None if x is None else x.detach().to(dtype, copy=True).contiguous()

    if not isinstance(mesh, Mesh):
        raise TypeError(f"Viewer: mesh must be a diffrast.scene.Mesh; got {type(mesh).__name__}")
    vertices, faces = own(mesh.vertices), own(mesh.faces, torch.int32)
    assert vertices is not None and faces is not None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) == 0:
        raise ValueError(f"Viewer: mesh.vertices must be [V, 3] with V > 0; got {list(vertices.shape)}")
    return Mesh(
        vertices,
        faces,
        own(mesh.uv),
        own(mesh.texture),
        own(mesh.uv_faces, torch.int32),
        colors=own(mesh.colors),
        material_ids=own(mesh.material_ids, torch.int64),
        materials=list(mesh.materials),
    )


class BaseColor:
    """A base colour: `factor`, three numbers, times `texture` `[H, W, 3]` if there is one."""

    def __init__(self, factor: Sequence[float], texture: Tensor | None = None):
        self.factor = list(factor)
        self.texture = None if texture is None else texture[None, ..., :3].contiguous()

    @cached_property
    def mip(self) -> Mip:
        assert self.texture is not None
        return dr.texture_construct_mip(self.texture, max_mip_level=MIP_LEVELS)


class Drawable:
    """What is prepared once per mesh. `mesh` is a copy made by `copy_mesh`; `gradient` `[V, 3]` is that of the loss by
    its vertices, `coverage` `[H, W]` the weight of each texel, `environment` what `prefilter` returns, `gradient_scale`
    the gradient that gets the full colour.

    Vertices at the same place become one for visibility, normals and antialiasing: a chart's border is no silhouette
    and no crease. The faces of `mesh` keep their order, so UVs are found by the same triangle ids.
    """

    def __init__(
        self,
        mesh: Mesh,
        gradient: Tensor | None = None,
        coverage: Tensor | None = None,
        environment: Environment | None = None,
        gradient_scale: float = 0.0,
    ):
        self.mesh = mesh
        self.vertices, index = torch.unique(mesh.vertices, dim=0, return_inverse=True)
        self.faces = index[mesh.faces.long()].int().contiguous()
        finite = self.vertices[self.vertices.isfinite().all(dim=1)]
        if len(finite) == 0:
            finite = torch.zeros_like(self.vertices[:1])
        self.box = torch.stack([finite.amin(0), finite.amax(0)])
        self.radius = max(0.5 * math.dist(*self.box.tolist()), 1e-6)
        self._environment = environment
        self.vertex_gradient = torch.zeros_like(self.vertices)
        if gradient is not None:  # a place that several vertices share moves with all of them
            self.vertex_gradient.index_add_(0, index, gradient)
        self._coverage, self.gradient_scale = coverage, gradient_scale
        self.coverage_scale = float(coverage.max()) or 1.0 if coverage is not None else 1.0

    @cached_property
    def environment(self) -> Environment:
        """What was given, or the studio."""
        levels, irradiance = self._environment or studio()
        return [x.to(self.vertices) for x in levels], irradiance.to(self.vertices)

    @cached_property
    def gradient(self) -> Tensor:
        """The loss's derivative by moving each vertex along its normal, `[V, 1]`."""
        return (self.vertex_gradient * self.normals).sum(-1, keepdim=True)

    @cached_property
    def coverage(self) -> Tensor:
        """`[1, H, W, 1]`."""
        return self.vertices.new_zeros(1, 1, 1, 1) if self._coverage is None else self._coverage[None, ..., None]

    @cached_property
    def normals(self) -> Tensor:
        return vertex_normals(self.vertices, self.faces)

    @cached_property
    def face_normals(self) -> Tensor:
        a, b, c = self.vertices[self.faces.long()].unbind(dim=1)
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)

    @cached_property
    def base_colors(self) -> list[BaseColor]:
        """The base colours, one for each material; one in all where there is a `texture` or no material."""
        mesh = self.mesh
        if mesh.texture is not None and mesh.uv is not None:
            factor = mesh.materials[0].base_color_factor if len(mesh.materials) == 1 else (1.0,) * 3
            return [BaseColor(factor[:3], mesh.texture)]
        if mesh.materials:
            return [
                BaseColor(m.base_color_factor[:3], None if mesh.uv is None else m.base_color_texture)
                for m in mesh.materials
            ]
        return [BaseColor((GRAY if mesh.colors is None else 1.0,) * 3)]

    @cached_property
    def topology(self) -> Topology:
        return dr.antialias_construct_topology_hash(self.faces)


# --- What lights it ------------------------------------------------------------------------------------------------


@torch.no_grad()
def prepared(picture: Tensor) -> Environment:
    """A lat-long map `[H, W, 3]` of linear radiance, prefiltered once."""
    return prefilter(EnvironmentLight(picture, size=SIZE).cube())


@functools.cache
def studio() -> Environment:
    """A dim room with a bright window on one side, a warm lamp on the other and a soft light above."""
    direction = latlong_directions(64, 128)

    def lamp(place: tuple[float, float, float], width: float, color: tuple[float, float, float]) -> Tensor:
        toward = torch.nn.functional.normalize(direction.new_tensor(place), dim=0)
        return torch.exp(((direction @ toward) - 1) / width)[..., None] * direction.new_tensor(color)

    height = direction[..., 1:2]
    room = torch.lerp(
        direction.new_tensor([0.16, 0.14, 0.12]), direction.new_tensor([0.42, 0.46, 0.52]), 0.5 + 0.5 * height
    )
    return prepared(
        room
        + lamp((1.0, 0.6, 0.8), 0.06, (4.2, 4.3, 4.5))
        + lamp((-1.0, 0.2, -0.5), 0.03, (4.0, 2.6, 1.4))
        + lamp((0.0, 1.0, 0.0), 0.15, (1.0, 1.0, 1.05))
    )
