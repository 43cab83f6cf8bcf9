"""What a pose is judged by: the mesh drawn in many poses at once, under the light that explains a photograph best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import diffrast.torch as dr

from ..camera.camera import Camera
from ..mesh.mesh import Mesh
from ..scene.passes import draw

GRAY = 0.6  # linear colour of a mesh that has none
MIP_LEVELS = 5


@dataclass
class Poses:
    """N rigid motions from the object (its middle at 0) to the camera: `R` `[N, 3, 3]`, `t` `[N, 3]`, float64."""

    R: Tensor
    t: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, index) -> Poses:
        return Poses(self.R[index], self.t[index])


@dataclass
class Window:
    """A square part of a photograph: `image` `[n, n, 4]`, linear colour times coverage, and coverage; `known` `[n, n]`:
    how much of a pixel lies inside of the photograph; `camera`: of the window."""

    image: Tensor
    known: Tensor
    camera: Camera


def window(image: Tensor, mask: Tensor, camera: Camera, box: tuple[int, int, int], n: int) -> Window:
    """`image` `[H, W, 3]` and `mask` `[H, W]` in the square `box` = (left, bottom, side), averaged to n x n pixels."""
    left, bottom, side = box
    right, top = left + side - camera.width, bottom + side - camera.height
    whole = torch.cat([image * mask[..., None], mask[..., None], torch.ones_like(mask)[..., None]], dim=-1)
    part = torch.nn.functional.pad(whole.permute(2, 0, 1), (-left, right, -bottom, top))[None]
    small = torch.nn.functional.interpolate(part, (n, n), mode="area")[0].permute(1, 2, 0)
    return Window(small[..., :4].contiguous(), small[..., 4], camera.crop(left, bottom, side, side).resized(n, n))


class PosedMesh:
    """A mesh, prepared for drawing in many poses."""

    def __init__(self, mesh: Mesh):
        low, high = mesh.bounds()
        self.middle = (0.5 * (low + high)).double()
        self.vertices = mesh.vertices - self.middle.to(mesh.vertices)
        self.radius = float(self.vertices.norm(dim=1).max())
        self.faces, self.mesh = mesh.faces, mesh
        self.normals, self.normal_faces = mesh.shading_normals()
        self.topology = dr.antialias_construct_topology_hash(mesh.faces)
        self.ctx = dr.RasterizeContext()
        self.texture = None
        if mesh.texture is not None and mesh.uv is not None:
            self.texture = mesh.texture[None, ..., :3].contiguous()
            self.mip = dr.texture_construct_mip(self.texture, max_mip_level=MIP_LEVELS)

    def clip(self, poses: Poses, camera: Camera) -> Tensor:
        """Clip positions `[N, V, 4]`."""
        depth = -poses.t[:, 2].detach()
        far = max(float(depth.max()) + 1.1 * self.radius, 1e-6)
        near = max(float(depth.min()) - 1.1 * self.radius, 1e-3 * far)
        project = camera.projection(near, far)
        matrices = torch.cat([project[:, :3] @ poses.R, project[:, :3] @ poses.t[..., None] + project[:, 3:]], dim=-1)
        points = torch.nn.functional.pad(self.vertices, (0, 1), value=1.0)
        return points @ matrices.mT.to(points)

    def outlines(self, poses: Poses, camera: Camera) -> Tensor:
        """Which pixels are covered, bool `[N, n, n]`."""
        return dr.rasterize(self.ctx, self.clip(poses, camera), self.faces, camera.resolution)[0][..., 3] > 0

    def albedo(self, rast: Tensor, rast_db: Tensor) -> Tensor:
        """Linear base colour `[N, n, n, 3]`."""
        if self.texture is not None:
            uv, uv_da = dr.interpolate(self.mesh.require_uv(), rast, self.mesh.uv_index, rast_db, "all")
            return dr.texture(self.texture, uv, uv_da, mip=self.mip)
        if self.mesh.colors is not None:
            return dr.interpolate(self.mesh.colors[:, :3].contiguous(), rast, self.faces)[0]
        return torch.full_like(rast[..., :3], GRAY)

    def draw(self, poses: Poses, view: Window, bands: int = 3, smooth: bool = True) -> Tensor:
        """`[N, n, n, 4]`, like `view.image`: the mesh under the light that fits this picture best; with `smooth`
        antialiased by areas, so that pictures change evenly with the pose."""

        def shade(rast: Tensor, rast_db: Tensor) -> Tensor:
            normal = torch.nn.functional.normalize(dr.interpolate(self.normals, rast, self.normal_faces)[0], dim=-1)
            hit = (rast[..., 3] > 0).float()
            return relight(self.albedo(rast, rast_db), harmonics(normal, bands), hit, view)

        clip, mode = self.clip(poses, view.camera), "area" if smooth else "none"
        size = view.camera.resolution
        return draw(self.ctx, clip, self.faces, size, shade, mode=mode, topology=self.topology, grad_db=True)


def harmonics(n: Tensor, bands: int) -> Tensor:
    """A basis `[..., bands^2]` of the spherical harmonics of the first bands (1 to 3), of unit vectors `[..., 3]`."""
    x, y, z = n.unbind(-1)
    basis = [torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1]
    return torch.stack(basis[: bands * bands], dim=-1)


def relight(albedo: Tensor, basis: Tensor, hit: Tensor, view: Window) -> Tensor:
    """Colours `[N, n, n, 3]`: `albedo` under the light of least squares against the photograph.

    Distant light on a matt surface is, to about 1 %, a combination of nine harmonics of the normal (Ramamoorthi and
    Hanrahan 2001, "An Efficient Representation for Irradiance Environment Maps"): linear in nine unknowns per colour,
    which are eliminated for every pose (variable projection; Golub and Pereyra 1973).
    """
    weight = (hit * view.known * (view.image[..., 3] > 0.99)).flatten(1)[:, None, :, None]  # [N, 1, P, 1]
    terms = (albedo[..., None] * basis[..., None, :]).flatten(1, 2).transpose(1, 2).contiguous()  # [N, 3, P, K]
    weighted = (terms * weight).mT
    gram, right = weighted @ terms, weighted @ view.image[..., :3].flatten(0, 1).T[..., None]
    # Where few pixels or few normals are seen, rather less light than too much.
    small = 1e-3 * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-6
    light = torch.linalg.solve(gram + small * torch.eye(gram.shape[-1]).to(gram), right)
    return (terms @ light)[..., 0].mT.reshape(albedo.shape)
