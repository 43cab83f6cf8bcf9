"""Images of a finished reconstruction for its report: six sides, how many views see the texture, the cameras."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float

import diffrast.torch as dr

from ..camera.camera import Camera, look_at
from ..fitting.appearance import Textured
from ..photos.views import View
from .turntable import box_of, textured_and_bare, upright

SIDES = ("front", "right", "back", "left", "top", "bottom")
FOV = math.radians(25)


def six_sides(
    ctx: dr.RasterizeContext, model: Textured, views: list[View], size: int = 240
) -> Float[torch.Tensor, "H W 3"]:
    """The model from `SIDES`, `size` pixels each, as the photographs stand upright, textured above, bare below."""
    box = box_of(model).double().cpu()
    center = box.mean(dim=0)
    up, front = upright(views, center)
    right = torch.linalg.cross(up, front)
    away = {"front": front, "right": right, "back": -front, "left": -right, "top": up, "bottom": -up}
    distance = 0.5 * float((box[1] - box[0]).norm()) / math.sin(FOV / 2)
    columns = []
    for name in SIDES:
        top = {"top": -front, "bottom": front}.get(name, up)
        camera = look_at(center + distance * away[name], center, top, fov_y=FOV, width=size, height=size)
        textured, bare = textured_and_bare(ctx, model, camera)
        columns.append(torch.cat([bare, textured], dim=0).cpu())
    return torch.cat(columns, dim=1)


def coverage_image(model: Textured, views: int) -> Float[torch.Tensor, "S S 3"]:
    """How many views see each texel, `model.seen`: from dark blue (one view) over green to yellow (a third of the views
    or more), red for none; white between charts."""
    assert model.seen is not None
    seen, charts = model.seen.cpu(), model.covered.cpu()
    t = (seen.float() / max(1.0, views / 3)).clamp(0, 1)[..., None]
    stops = torch.tensor([[0.19, 0.16, 0.45], [0.13, 0.52, 0.55], [0.98, 0.90, 0.25]])
    low, high = (2 * t).clamp(0, 1), (2 * t - 1).clamp(0, 1)
    image = stops[0] + low * (stops[1] - stops[0]) + high * (stops[2] - stops[1])
    image[seen == 0] = torch.tensor([0.85, 0.1, 0.1])
    image[~charts] = 1.0
    return image


def rig(
    ctx: dr.RasterizeContext, model: Textured, views: list[View], width: int = 900, height: int = 520
) -> tuple[Float[torch.Tensor, "H W 3"], list[tuple[str, str]]]:
    """The cameras around the object from a little above.

    Returns:
        An image of the bare shape, and for each camera two SVG paths over it: its pyramid, and its upper edge.
    """
    eyes = torch.stack([v.camera.center for v in views])
    center = box_of(model).double().cpu().mean(dim=0)
    up, front = upright(views, center)
    reach = 1.15 * float((eyes - center).norm(dim=1).max())
    away = torch.nn.functional.normalize(front + 0.6 * torch.linalg.cross(up, front) + 0.5 * up, dim=0)
    eye = center + 0.8 * reach / math.sin(FOV / 2) * away
    camera = look_at(eye, center, up, fov_y=FOV, width=width, height=height)
    return textured_and_bare(ctx, model, camera)[1].cpu(), [_frustum(v.camera, camera, 0.16 * reach) for v in views]


def _frustum(camera: Camera, seen_by: Camera, depth: float) -> tuple[str, str]:
    w, h = float(camera.width), float(camera.height)
    corners = torch.tensor([[0, 0], [w, 0], [w, h], [0, h]], dtype=torch.float64)
    # The image plane is `depth` wide, whatever the focal length, so that telephoto cameras are not needles.
    along = torch.full((4,), min(depth, depth * float(camera.K[0, 0]) / w), dtype=torch.float64)
    points = torch.cat([camera.center[None], camera.unproject(corners, along)])
    eye, *rim = [f"{x:.1f},{seen_by.height - y:.1f}" for x, y in seen_by.project(points)[0].tolist()]
    pyramid = " ".join(f"M{eye}L{p}" for p in rim) + f"M{rim[0]}L{rim[1]}L{rim[2]}L{rim[3]}Z"
    return pyramid, f"M{rim[2]}L{rim[3]}"
