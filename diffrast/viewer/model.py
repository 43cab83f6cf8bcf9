"""A mesh as the viewer draws it: a copy that nobody changes, and what is visible of it from a camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch

import diffrast.torch as dr

from ..camera.camera import Camera
from ..mesh.mesh import Mesh, vertex_normals
from ..scene.passes import clip_matrices, to_clip
from .surroundings import Environment, studio

GRAY = 0.6  # linear base colour of a mesh that has none
MIP_LEVELS = 6


def copy_mesh(mesh: Mesh) -> Mesh:
    """A copy that training cannot change under the viewer's hands."""

    def own(x: torch.Tensor | None, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
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


class Paint:
    """A base colour: ``factor``, three numbers, times ``texture`` ``[H, W, 3]`` if there is one."""

    def __init__(self, factor: Sequence[float], texture: torch.Tensor | None = None):
        self.factor = list(factor)
        self.texture = None if texture is None else texture[None, ..., :3].contiguous()

    @cached_property
    def mip(self):
        assert self.texture is not None
        return dr.texture_construct_mip(self.texture, max_mip_level=MIP_LEVELS)


class Model:
    """What is prepared once per mesh. ``mesh`` is a copy made by `copy_mesh`; ``gradient`` ``[V, 3]`` is that of the
    loss by its vertices, ``coverage`` ``[H, W]`` the weight of each texel, ``environment`` what `prefilter` returns,
    ``gradient_scale`` the gradient that gets the full colour.

    Vertices at the same place become one for visibility, normals and antialiasing: a chart's border is no silhouette
    and no crease. The faces of ``mesh`` keep their order, so UVs are found by the same triangle ids.
    """

    def __init__(
        self,
        mesh: Mesh,
        gradient: torch.Tensor | None = None,
        coverage: torch.Tensor | None = None,
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
    def gradient(self) -> torch.Tensor:
        """The loss's derivative by moving each vertex along its normal, ``[V, 1]``."""
        return (self.vertex_gradient * self.normals).sum(-1, keepdim=True)

    @cached_property
    def coverage(self) -> torch.Tensor:
        """``[1, H, W, 1]``."""
        return self.vertices.new_zeros(1, 1, 1, 1) if self._coverage is None else self._coverage[None, ..., None]

    @cached_property
    def normals(self) -> torch.Tensor:
        return vertex_normals(self.vertices, self.faces)

    @cached_property
    def face_normals(self) -> torch.Tensor:
        a, b, c = self.vertices[self.faces.long()].unbind(dim=1)
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)

    @cached_property
    def paints(self) -> list[Paint]:
        """The base colours, one for each material; one in all where there is a ``texture`` or no material."""
        mesh = self.mesh
        if mesh.texture is not None and mesh.uv is not None:
            factor = mesh.materials[0].base_color_factor if len(mesh.materials) == 1 else (1.0,) * 3
            return [Paint(factor[:3], mesh.texture)]
        if mesh.materials:
            return [
                Paint(m.base_color_factor[:3], None if mesh.uv is None else m.base_color_texture)
                for m in mesh.materials
            ]
        return [Paint((GRAY if mesh.colors is None else 1.0,) * 3)]

    @cached_property
    def topology(self):
        return dr.antialias_construct_topology_hash(self.faces)


class Surface:
    """What a camera sees of a model: values of the N pixels that show surface, ``[N, C]``, each
    computed when it is first asked for.

    `interpolate` and `texture` work pixel by pixel, so they are given these pixels alone, as a picture of one row.
    `scatter` puts the colours where they belong.
    """

    def __init__(self, ctx: dr.RasterizeContext, model: Model, camera: Camera, flat: bool = False):
        self.model, self.camera, self.flat = model, camera, flat
        box = model.box.double().cpu()
        self.clip = to_clip(model.vertices, clip_matrices([camera], box).to(model.vertices.device))
        self.image, image_db = dr.rasterize(ctx, self.clip, model.faces, (camera.height, camera.width))
        self.pixels = self.image.reshape(-1, 4)[:, 3].nonzero()[:, 0]
        self.rast = self.image.reshape(-1, 4)[self.pixels][None, None]
        self.rast_db = image_db.reshape(-1, 4)[self.pixels][None, None]
        center, radius = box.mean(dim=0), model.radius
        middle = float((center - camera.center) @ camera.forward)
        self.depth_range = (max(middle - radius, 0.0), middle + radius)

    def scatter(self, values: torch.Tensor, around: tuple[float, ...]) -> torch.Tensor:
        """A picture ``[H, W, C]``: ``values`` ``[N, C]`` where there is surface, ``around`` elsewhere."""
        height, width = self.image.shape[1:3]
        picture = values.new_tensor(around).repeat(height * width, 1)
        picture[self.pixels] = values
        return picture.reshape(height, width, -1)

    @cached_property
    def triangle(self) -> torch.Tensor:
        """int64 ``[N]``."""
        return dr.triangle_id(self.rast)[0, 0]

    def _interpolate(self, values: torch.Tensor) -> torch.Tensor:
        return dr.interpolate(values.contiguous(), self.rast, self.model.faces)[0][0, 0]

    @cached_property
    def normal(self) -> torch.Tensor:
        """Unit normals in the world, of the side that one sees: both sides of a triangle are drawn."""
        if self.flat:
            n = self.model.face_normals[self.triangle]
        else:
            n = torch.nn.functional.normalize(self._interpolate(self.model.normals), dim=-1)
        # u and v turn counter-clockwise on screen where the front is seen.
        dux, duy, dvx, dvy = self.rast_db[0, 0].unbind(-1)
        return n * torch.where(dux * dvy - duy * dvx < 0, -1.0, 1.0)[:, None]

    @cached_property
    def depth(self) -> torch.Tensor:
        """Distance along the viewing direction ``[N, 1]``, 0 at the nearest and 1 at the farthest place of the
        model."""
        near, far = self.depth_range
        return (self._interpolate(self.clip[0, :, 3:]) - near) / (far - near)

    @cached_property
    def _uv(self) -> tuple[torch.Tensor, torch.Tensor]:
        mesh = self.model.mesh
        assert mesh.uv is not None
        uv_faces = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
        return dr.interpolate(mesh.uv, self.rast, uv_faces, rast_db=self.rast_db, diff_attrs="all")

    @property
    def uv(self) -> torch.Tensor | None:
        """``[N, 2]``, None where the mesh has none."""
        return None if self.model.mesh.uv is None else self._uv[0][0, 0]

    @cached_property
    def albedo(self) -> torch.Tensor:
        """Linear base colour ``[N, 3]``: material times vertex colour."""
        paints, ids = self.model.paints, self.model.mesh.material_ids
        if len(paints) == 1 or ids is None:
            color = self._painted(paints[0], None)
        else:
            color, ids = self.rast.new_empty(len(self.pixels), 3), ids[self.triangle]
            for i, paint in enumerate(paints):
                mine = (ids == i).nonzero()[:, 0]
                color[mine] = self._painted(paint, mine)
        colors = self.model.mesh.colors
        if colors is None:
            return color
        return color * dr.interpolate(colors[:, :3].contiguous(), self.rast, self.model.mesh.faces)[0][0, 0]

    def _painted(self, paint: Paint, at: torch.Tensor | None) -> torch.Tensor:
        """A material's base colour ``[M, 3]`` at these of the pixels, None: at all."""
        factor = self.rast.new_tensor(paint.factor)
        if paint.texture is None:
            return factor.expand(len(self.pixels) if at is None else len(at), 3)
        uv, uv_da = self._uv if at is None else (x[:, :, at] for x in self._uv)
        return (
            factor
            * dr.texture(
                paint.texture, uv, uv_da, mip=paint.mip, filter_mode="linear-mipmap-linear", boundary_mode="wrap"
            )[0, 0]
        )

    @cached_property
    def gradient(self) -> torch.Tensor:
        """``[N, 1]``, see `Model.gradient`."""
        return self._interpolate(self.model.gradient)

    @cached_property
    def vertex_gradient(self) -> torch.Tensor:
        """``[N, 3]``, in all directions."""
        return self._interpolate(self.model.vertex_gradient)

    @cached_property
    def coverage(self) -> torch.Tensor:
        """The weight of the texel at each pixel, ``[N, 1]``."""
        if self.model.mesh.uv is None:
            return self.rast.new_zeros(len(self.pixels), 1)
        return dr.texture(self.model.coverage, self._uv[0].contiguous(), filter_mode="nearest")[0, 0]

    @cached_property
    def place(self) -> torch.Tensor:
        """In the world, ``[N, 3]``."""
        return self._interpolate(self.model.vertices)

    @cached_property
    def toward_eye(self) -> torch.Tensor:
        """Unit vectors from the surface to the eye, ``[N, 3]``."""
        return torch.nn.functional.normalize(self.camera.center.to(self.place) - self.place, dim=-1)

    @cached_property
    def edge_distance(self) -> torch.Tensor:
        """Distance in pixels to the nearest edge of the triangle that a pixel sees, ``[N, 1]``."""
        u, v = self.rast[0, 0, :, 0], self.rast[0, 0, :, 1]
        dux, duy, dvx, dvy = self.rast_db[0, 0].unbind(-1)
        corners = ((u, dux, duy), (v, dvx, dvy), (1 - u - v, dux + dvx, duy + dvy))
        each = [b / torch.hypot(bx, by).clamp_min(1e-12) for b, bx, by in corners]
        return torch.stack(each, dim=-1).amin(dim=-1, keepdim=True)
