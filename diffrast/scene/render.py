"""Meshes to pictures with the four operations: the positions' way to clip space, and two complete passes."""

from __future__ import annotations

import torch

import diffrast.torch as dr

from .camera import Camera
from .mesh import Mesh, vertex_normals


def clip_matrices(cameras: list[Camera], box: torch.Tensor) -> torch.Tensor:
    """World to clip space, float32 ``[B, 4, 4]``, with near and far planes that hold the box ``[2, 3]``."""
    center, radius = box.double().mean(dim=0), 0.5 * (box[1] - box[0]).double().norm()
    matrices = []
    for camera in cameras:
        distance = float((center - camera.center) @ camera.forward)
        far = max(distance + 1.1 * float(radius), 1e-6)
        near = max(distance - 1.1 * float(radius), 1e-3 * far)
        matrices.append(camera.clip_matrix(near, far))
    return torch.stack(matrices).float().to(box.device)


def to_clip(vertices: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Vertices ``[V, 3]`` under matrices ``[B, 4, 4]`` to clip positions ``[B, V, 4]``. Differentiable."""
    homogeneous = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
    return homogeneous @ matrices.transpose(1, 2)


def render_texture(ctx, clip: torch.Tensor, mesh: Mesh, resolution: tuple[int, int], background: float = 1.0):
    """The mesh's texture under clip positions ``[B, V, 4]``: ``[B, H, W, 4]``, colour over ``background`` in the
    texture's own coding, and coverage. Mipmapped, antialiased, differentiable into ``clip`` and ``mesh.texture``."""
    rast, rast_db = dr.rasterize(ctx, clip, mesh.faces, resolution)
    uv, uv_da = dr.interpolate(mesh.uv, rast, mesh.faces, rast_db=rast_db, diff_attrs="all")
    color = dr.texture(mesh.texture[None], uv, uv_da, filter_mode="linear-mipmap-linear", boundary_mode="clamp")
    hit = (rast[..., 3:] > 0).to(color)
    picture = torch.cat([torch.lerp(torch.full_like(color, background), color, hit), hit], dim=-1)
    return dr.antialias(picture, rast, clip, mesh.faces)


def render_clay(ctx, clip: torch.Tensor, mesh: Mesh, camera: Camera, resolution: tuple[int, int]) -> torch.Tensor:
    """The bare shape ``[B, H, W, 3]``, display values: gray, lit from beside the eye, over white. For people to look at."""
    rast, _ = dr.rasterize(ctx, clip, mesh.faces, resolution)
    normal, _ = dr.interpolate(vertex_normals(mesh.vertices, mesh.faces), rast, mesh.faces)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    right, up, back = camera.world_to_camera[:3, :3].to(normal)
    key = torch.nn.functional.normalize(0.5 * right + 0.7 * up + back, dim=0)
    fill = torch.nn.functional.normalize(-0.8 * right + 0.2 * up + back, dim=0)
    shade = 0.16 + 0.62 * (normal @ key).clamp_min(0) + 0.22 * (normal @ fill).clamp_min(0)
    hit = (rast[..., 3:] > 0).to(shade)
    color = shade[..., None] * shade.new_tensor([0.93, 0.92, 0.9])
    return dr.antialias((color * hit + 1 - hit).contiguous(), rast, clip, mesh.faces)
