"""What is visible of a mesh from a camera."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

import diffrast.torch as dr

from ..camera.camera import Camera
from ..scene.passes import Covered, clip_matrices, to_clip
from .drawable import BaseColor, Drawable


class Surface:
    """What a camera sees of a mesh: values `[N, C]` of the N pixels that show surface, each computed when it is first
    asked for.

    `pixels` are these pixels; `scatter` puts their colors where they belong.
    """

    def __init__(self, ctx: dr.RasterizeContext, drawable: Drawable, camera: Camera, flat: bool = False) -> None:
        self.drawable, self.camera, self.flat = drawable, camera, flat
        box = drawable.box.double().cpu()
        self.clip = to_clip(drawable.vertices, clip_matrices([camera], box).to(drawable.vertices.device))
        self.image, image_db = dr.rasterize(ctx, self.clip, drawable.faces, camera.resolution)
        self.pixels = Covered(self.image, image_db)
        self.rast, self.rast_db = self.pixels.rast, self.pixels.rast_db
        center, radius = box.mean(dim=0), drawable.radius
        middle = float((center - camera.center) @ camera.forward)
        self.depth_range = (max(middle - radius, 0.0), middle + radius)

    def scatter(
        self, values: Float[Tensor, "N C"], around: tuple[float, ...], smooth: bool = False
    ) -> Float[Tensor, "H W C"]:
        """An image with these values where there is surface, and `around` elsewhere; `smooth` antialiases outlines."""
        behind = values.new_tensor(around).expand(*self.pixels.shape, -1)
        image = self.pixels.put(values, behind.contiguous())
        if smooth:
            topology = self.drawable.topology
            image = dr.antialias(image, self.image, self.clip, self.drawable.faces, topology, mode="silhouette")
        return image[0]

    @cached_property
    def triangle(self) -> Tensor:
        """int64 `[N]`."""
        return dr.triangle_id(self.rast)[0, 0]

    def _interpolate(self, values: Tensor) -> Tensor:
        return dr.interpolate(values.contiguous(), self.rast, self.drawable.faces)[0][0, 0]

    @cached_property
    def normal(self) -> Tensor:
        """Unit normals in the world, of the side that one sees: both sides of a triangle are drawn."""
        if self.flat:
            n = self.drawable.face_normals[self.triangle]
        else:
            n = torch.nn.functional.normalize(self._interpolate(self.drawable.normals), dim=-1)
        # u and v turn counter-clockwise on screen where the front is seen.
        dux, duy, dvx, dvy = self.rast_db[0, 0].unbind(-1)
        return n * torch.where(dux * dvy - duy * dvx < 0, -1.0, 1.0)[:, None]

    @cached_property
    def depth(self) -> Tensor:
        """Distance along the viewing direction `[N, 1]`, 0 at the nearest and 1 at the farthest place of the
        drawable."""
        near, far = self.depth_range
        return (self._interpolate(self.clip[0, :, 3:]) - near) / (far - near)

    @cached_property
    def _uv(self) -> tuple[Tensor, Tensor]:
        mesh = self.drawable.mesh
        assert mesh.uv is not None
        uv_faces = mesh.faces if mesh.uv_faces is None else mesh.uv_faces
        return dr.interpolate(mesh.uv, self.rast, uv_faces, rast_db=self.rast_db, diff_attrs="all")

    @property
    def uv(self) -> Tensor | None:
        """`[N, 2]`, None where the mesh has none."""
        return None if self.drawable.mesh.uv is None else self._uv[0][0, 0]

    @cached_property
    def albedo(self) -> Tensor:
        """Linear base colour `[N, 3]`: material times vertex colour."""
        base_colors, ids = self.drawable.base_colors, self.drawable.mesh.material_ids
        if len(base_colors) == 1 or ids is None:
            color = self._base_color(base_colors[0], None)
        else:
            color, ids = self.rast.new_empty(len(self.pixels), 3), ids[self.triangle]
            for i, base_color in enumerate(base_colors):
                mine = (ids == i).nonzero()[:, 0]
                color[mine] = self._base_color(base_color, mine)
        colors = self.drawable.mesh.colors
        if colors is None:
            return color
        return color * dr.interpolate(colors[:, :3].contiguous(), self.rast, self.drawable.mesh.faces)[0][0, 0]

    def _base_color(self, base_color: BaseColor, at: Tensor | None) -> Tensor:
        """A material's base colour `[M, 3]` at these of the pixels, None: at all."""
        factor = self.rast.new_tensor(base_color.factor)
        if base_color.texture is None:
            return factor.expand(len(self.pixels) if at is None else len(at), 3)
        uv, uv_da = self._uv if at is None else (x[:, :, at] for x in self._uv)
        return factor * dr.texture(base_color.texture, uv, uv_da, mip=base_color.mip)[0, 0]

    @cached_property
    def gradient(self) -> Tensor:
        """`[N, 1]`, see `Drawable.gradient`."""
        return self._interpolate(self.drawable.gradient)

    @cached_property
    def vertex_gradient(self) -> Tensor:
        """`[N, 3]`, in all directions."""
        return self._interpolate(self.drawable.vertex_gradient)

    @cached_property
    def coverage(self) -> Tensor:
        """The weight of the texel at each pixel, `[N, 1]`."""
        if self.drawable.mesh.uv is None:
            return self.rast.new_zeros(len(self.pixels), 1)
        return dr.texture(self.drawable.coverage, self._uv[0].contiguous(), filter_mode="nearest")[0, 0]

    @cached_property
    def place(self) -> Tensor:
        """In the world, `[N, 3]`."""
        return self._interpolate(self.drawable.vertices)

    @cached_property
    def toward_eye(self) -> Tensor:
        """Unit vectors from the surface to the eye, `[N, 3]`."""
        return torch.nn.functional.normalize(self.camera.center.to(self.place) - self.place, dim=-1)

    @cached_property
    def edge_distance(self) -> Tensor:
        """Distance in pixels to the nearest edge of the triangle that a pixel sees, `[N, 1]`."""
        u, v = self.rast[0, 0, :, 0], self.rast[0, 0, :, 1]
        dux, duy, dvx, dvy = self.rast_db[0, 0].unbind(-1)
        corners = ((u, dux, duy), (v, dvx, dvy), (1 - u - v, dux + dvx, duy + dvy))
        each = [b / torch.hypot(bx, by).clamp_min(1e-12) for b, bx, by in corners]
        return torch.stack(each, dim=-1).amin(dim=-1, keepdim=True)
