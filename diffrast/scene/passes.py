"""Meshes to pictures with the four operations: the positions' way to clip space, and two complete passes."""

from __future__ import annotations

import torch

import diffrast.torch as dr

from ..camera.camera import Camera
from ..mesh.mesh import Mesh, vertex_normals


def clip_planes(camera: Camera, box: torch.Tensor) -> tuple[float, float]:
    """Distances of near and far planes that hold the box ``[2, 3]``, with some room to move."""
    center, radius = box.double().mean(dim=0), 0.5 * (box[1] - box[0]).double().norm()
    distance = float((center - camera.center) @ camera.forward)
    far = max(distance + 1.1 * float(radius), 1e-6)
    return max(distance - 1.1 * float(radius), 1e-3 * far), far


def clip_matrices(cameras: list[Camera], box: torch.Tensor) -> torch.Tensor:
    """World to clip space, float32 ``[B, 4, 4]``, with near and far planes that hold the box ``[2, 3]``."""
    matrices = [camera.clip_matrix(*clip_planes(camera, box)) for camera in cameras]
    return torch.stack(matrices).float().to(box.device)


def to_clip(vertices: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Vertices ``[V, 3]`` under matrices ``[B, 4, 4]`` to clip positions ``[B, V, 4]``. Differentiable."""
    homogeneous = torch.nn.functional.pad(vertices, (0, 1), value=1.0)
    return homogeneous @ matrices.transpose(1, 2)


def finish(
    color: torch.Tensor,
    rast: torch.Tensor,
    clip: torch.Tensor,
    faces: torch.Tensor,
    background: float,
    samples: int = 1,
) -> torch.Tensor:
    """Colours ``[B, H, W, C]`` of surface points to a picture ``[B, H / samples, W / samples, C + 1]``: over the
    background, with coverage as the last channel, antialiased, and averaged over ``samples`` x ``samples`` pixels.

    Averaging finds the silhouettes of triangles that are too small for one pixel: the mode of antialias used here, the
    faster one, sees an edge only where its triangle owns a pixel's centre.
    """
    hit = (rast[..., 3:] > 0).to(color)
    picture = torch.cat([color * hit + background * (1 - hit), hit], dim=-1)
    picture = dr.antialias(picture, rast, clip, faces, mode="silhouette")
    if samples == 1:
        return picture
    b, h, w, c = picture.shape
    return picture.reshape(b, h // samples, samples, w // samples, samples, c).mean(dim=(2, 4))


def render_clay(ctx, clip: torch.Tensor, mesh: Mesh, camera: Camera, resolution: tuple[int, int], samples: int = 2):
    """The bare shape ``[B, H, W, 3]``, display values: gray, lit from beside the eye, over white. For people to look
    at."""
    rast, _ = dr.rasterize(ctx, clip, mesh.faces, (resolution[0] * samples, resolution[1] * samples))
    normal, _ = dr.interpolate(vertex_normals(mesh.vertices, mesh.faces), rast, mesh.faces)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    right, up, back = camera.world_to_camera[:3, :3].to(normal)
    key = torch.nn.functional.normalize(0.5 * right + 0.7 * up + back, dim=0)
    fill = torch.nn.functional.normalize(-0.8 * right + 0.2 * up + back, dim=0)
    shade = 0.16 + 0.62 * (normal @ key).clamp_min(0) + 0.22 * (normal @ fill).clamp_min(0)
    return finish(shade[..., None] * shade.new_tensor([0.93, 0.92, 0.9]), rast, clip, mesh.faces, 1.0, samples)[..., :3]
