"""Pictures of a finished reconstruction for its report: six sides, the texture and what saw it, the cameras around
it."""

from __future__ import annotations

import math

import numpy as np
import torch

import diffrast.torch as dr

from ..camera.camera import Camera, look_at
from ..fitting.appearance import Textured
from ..fitting.targets import SAMPLES
from ..mesh.mesh import Mesh
from ..photos.views import View
from ..scene.passes import clip_matrices, render_clay, to_clip
from .turntable import upright

SIDES = ("front", "right", "back", "left", "top", "bottom")
FOV = math.radians(25)


def _box(model: Textured) -> torch.Tensor:
    return torch.stack([model.vertices.amin(0), model.vertices.amax(0)])


def six_sides(ctx, model: Textured, views: list[View], size: int = 240) -> torch.Tensor:
    """``[2 * size, 6 * size, 3]``: the model from ``SIDES`` as the photographs stand upright, textured above, bare
    below."""
    box = _box(model)
    corners = box.double().cpu()
    center = corners.mean(dim=0)
    up, front = upright(views, center)
    right = torch.linalg.cross(up, front)
    away = {"front": front, "right": right, "back": -front, "left": -right, "top": up, "bottom": -up}
    distance = 0.5 * float((corners[1] - corners[0]).norm()) / math.sin(FOV / 2)
    mesh, columns = Mesh(model.vertices, model.faces), []
    for name in SIDES:
        top = -front if name == "top" else front if name == "bottom" else up
        camera = look_at(center + distance * away[name], center, top, fov_y=FOV, width=size, height=size)
        with torch.no_grad():
            clip = to_clip(model.vertices, clip_matrices([camera], box))
            textured = model.draw(ctx, clip, camera, (size, size), SAMPLES)[0, ..., :3]
            bare = render_clay(ctx, clip, mesh, camera, (size, size), SAMPLES)[0]
        columns.append(torch.cat([bare, textured], dim=0).cpu())
    return torch.cat(columns, dim=1)


@torch.no_grad()
def coverage(ctx, model: Textured, views: list[View], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How many of the views see each texel, int32 ``[size, size]``, and which texels belong to a chart, bool. A texel
    is seen where its point lies no deeper, by 1 %, than the deepest of what is drawn at its pixel and those around
    it."""
    flat = torch.cat([2 * model.uv - 1, torch.zeros_like(model.uv[:, :1]), torch.ones_like(model.uv[:, :1])], dim=1)
    rast, _ = dr.rasterize(ctx, flat[None], model.uv_faces, (size, size))
    points, _ = dr.interpolate(model.vertices[model.source], rast, model.uv_faces)
    charts = rast[0, ..., 3] > 0
    points = points[0][charts]
    count = torch.zeros(len(points), dtype=torch.int32, device=points.device)
    matrices = clip_matrices([v.camera for v in views], _box(model))
    for view, matrix in zip(views, matrices, strict=True):
        clip = to_clip(model.vertices, matrix[None])
        drawn, _ = dr.rasterize(ctx, clip, model.faces, view.camera.resolution)
        depth, _ = dr.interpolate(clip[0, :, 3:].contiguous(), drawn, model.faces)  # zero where nothing is
        deepest = torch.nn.functional.max_pool2d(depth[..., 0], 3, 1, 1)[0]
        there = to_clip(points, matrix[None])[0]
        h, w = view.camera.resolution
        xy = (there[:, :2] / there[:, 3:] + 1) / 2 * points.new_tensor([w, h])
        x, y = xy[:, 0].long().clamp(0, w - 1), xy[:, 1].long().clamp(0, h - 1)
        inside = ((xy >= 0) & (xy < points.new_tensor([w, h]))).all(dim=1) & (there[:, 3] > 0)
        count += inside & (there[:, 3] < 1.01 * deepest[y, x])
    whole = torch.zeros(size, size, dtype=torch.int32, device=points.device)
    whole[charts] = count
    return whole, charts


def coverage_picture(model: Textured, views: int) -> torch.Tensor:
    """``[S, S, 3]`` of ``model.seen``: texels from dark blue (one view) over green to yellow (a third of the views or
    more), red for none; white between charts."""
    assert model.seen is not None
    seen, charts = model.seen.cpu(), model.covered.cpu()
    t = (seen.float() / max(1.0, views / 3)).clamp(0, 1)[..., None]
    stops = torch.tensor([[0.19, 0.16, 0.45], [0.13, 0.52, 0.55], [0.98, 0.90, 0.25]])
    low, high = (2 * t).clamp(0, 1), (2 * t - 1).clamp(0, 1)
    picture = stops[0] + low * (stops[1] - stops[0]) + high * (stops[2] - stops[1])
    picture[seen == 0] = torch.tensor([0.85, 0.1, 0.1])
    picture[~charts] = 1.0
    return picture


def rig(ctx, model: Textured, views: list[View], held: list[int], width: int = 900, height: int = 520):
    """The cameras around the object from a little above: a picture ``[H, W, 3]`` of the bare shape, and the lines over
    it, as SVG elements (held-out cameras in orange)."""
    box = _box(model)
    eyes = torch.stack([v.camera.center for v in views])
    center = box.double().cpu().mean(dim=0)
    up, front = upright(views, center)
    reach = 1.15 * float((eyes - center).norm(dim=1).max())
    away = torch.nn.functional.normalize(front + 0.6 * torch.linalg.cross(up, front) + 0.5 * up, dim=0)
    eye = center + 0.8 * reach / math.sin(FOV / 2) * away
    camera = look_at(eye, center, up, fov_y=FOV, width=width, height=height)
    with torch.no_grad():
        clip = to_clip(model.vertices, clip_matrices([camera], box))
        shape = render_clay(ctx, clip, Mesh(model.vertices, model.faces), camera, (height, width))[0].cpu()
    lines = [
        _frustum(v.camera, camera, 0.16 * reach, "#d97706" if i in held else "#0369a1") for i, v in enumerate(views)
    ]
    return shape, "".join(lines)


def _frustum(camera: Camera, seen_by: Camera, depth: float, color: str) -> str:
    """A camera's pyramid as an SVG path, its upper edge thicker."""
    w, h = float(camera.width), float(camera.height)
    corners = torch.tensor([[0, 0], [w, 0], [w, h], [0, h]], dtype=torch.float64)
    # The image plane is ``depth`` wide, whatever the focal length, so that telephoto cameras are not needles.
    along = torch.full((4,), min(depth, depth * float(camera.K[0, 0]) / w), dtype=torch.float64)
    points = torch.cat([camera.center[None], camera.unproject(corners, along)])
    xy = seen_by.project(points)[0]
    eye, *rim = [f"{x:.1f},{seen_by.height - y:.1f}" for x, y in np.asarray(xy)]
    path = " ".join(f"M{eye}L{p}" for p in rim) + f"M{rim[0]}L{rim[1]}L{rim[2]}L{rim[3]}Z"
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.2" stroke-opacity=".8"/>'
        f'<path d="M{rim[2]}L{rim[3]}" stroke="{color}" stroke-width="3"/>'
    )
