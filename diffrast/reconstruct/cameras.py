"""Cameras whose poses are only roughly known: bring the outlines together before there is a shape, and find a camera for a
picture of a shape that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

import diffrast.torch as dr

from ..scene.lie import so3_exp
from .calibration import Calibration
from .data import View
from .hull import bounds, visual_hull
from .loop import cosine
from .targets import Targets, make_targets

# How far, in parts of the object's size in the picture, masks are widened for the hull of a round.
ROUNDS = (0.06, 0.04, 0.02)
TURN = {"turn": 4e-3}  # about the eye: what moves the picture most


def refine(
    render: Callable[[torch.Tensor], torch.Tensor], vertices: torch.Tensor, targets: Targets, rates: dict[str, float], steps: int
) -> None:
    """Fit the calibration of all targets to a shape that stays as it is; ``render(clip [B, V, 4])`` makes pictures ``[B, H, W,
    4]``. ``targets.calibration`` changes in place: the parts that ``rates`` names."""
    refined = {part: rates[name] for name, part in targets.calibration.parts().items() if name in rates}
    optimizer = torch.optim.Adam([{"params": [p.requires_grad_()], "lr": rate, "rate": rate} for p, rate in refined.items()])
    for i in range(steps):
        optimizer.zero_grad()
        for index in torch.arange(len(targets.images)).split(8):  # each view has its own gradient: memory stays small
            residual = targets.residual(render(targets.clip(vertices, index)), index)
            residual.abs().mean(dim=(1, 2, 3)).sum().backward()
        for group in optimizer.param_groups:
            group["lr"] = cosine(i / steps, group["rate"], 0.05 * group["rate"])
        optimizer.step()
    for part in refined:
        part.requires_grad_(False)


def gather(views: list[View], ctx: dr.RasterizeContext, device: torch.device, steps: int = 40, size: int = 96) -> list[View]:
    """Views whose cameras are turned and moved so that the masks have a common inside.

    First each camera is turned so that its mask's middle looks at the point where all of them meet (masks that the picture's
    border cuts have no middle to trust). Then, by turns, the hull of widened masks, and each camera's pose by that hull's
    outline.
    """
    views = _aim(views)
    for widen in ROUNDS:
        wide = [_widened(v, widen) for v in views]
        box = bounds(wide)
        v, f = visual_hull(wide, box, 48, spare=0)
        level = max(0, round(np.log2(max(views[0].rgb.shape[:2]) / size)))
        about_eye = replace(Calibration.none(len(views), torch.from_numpy(box), device), center=None)
        targets = make_targets(wide, box, level, device, about_eye)
        vertices = torch.from_numpy(v.astype(np.float32)).to(device)
        faces = torch.from_numpy(f.astype(np.int32)).to(device)

        def outline(clip: torch.Tensor) -> torch.Tensor:
            rast, _ = dr.rasterize(ctx, clip, faces, targets.resolution, grad_db=False)  # noqa: B023
            hit = (rast[..., 3:] > 0).float()
            return dr.antialias(hit, rast, clip, faces).expand(-1, -1, -1, 4)  # noqa: B023

        targets.images = targets.images[..., 3:].expand(-1, -1, -1, 4)
        refine(outline, vertices, targets, TURN, steps)
        views = targets.calibration.apply(views)
    return views


def _widened(view: View, share: float) -> View:
    assert view.alpha is not None
    inside = view.alpha.numpy() > 0.5
    reach = share * np.sqrt(inside.sum())
    wide = ndimage.distance_transform_edt(~inside) <= reach
    return replace(view, alpha=torch.from_numpy(wide.astype(np.float32)))


def _aim(views: list[View]) -> list[View]:
    """Turn each camera about its eye so that the middle of its mask shows the point that is nearest to all of these lines."""
    middles, whole = [], []
    for view in views:
        assert view.alpha is not None
        inside = view.alpha > 0.5
        rows, columns = inside.nonzero().double().mean(dim=0) + 0.5
        middles.append(torch.stack([columns, rows]))
        border = torch.cat([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        whole.append(not bool(border.any()))
    if sum(whole) < 3:
        return views
    eyes = torch.stack([v.camera.center for v in views])
    ahead = torch.stack(
        [v.camera.unproject(m, torch.ones((), dtype=m.dtype)) for v, m in zip(views, middles, strict=True)]
    )
    lines = torch.nn.functional.normalize(ahead - eyes, dim=1)
    use = torch.tensor(whole)
    across = torch.eye(3, dtype=eyes.dtype) - lines[use, :, None] * lines[use, None]
    point = torch.linalg.solve(across.sum(0), (across @ eyes[use, :, None]).sum(0))[:, 0]
    aimed = []
    for view, line, eye, trusted in zip(views, lines, eyes, whole, strict=True):
        to = torch.nn.functional.normalize(point - eye, dim=0)
        axis = torch.linalg.cross(line, to)
        sine = axis.norm()
        turn = so3_exp(axis * (torch.atan2(sine, line @ to) / sine.clamp_min(1e-12)))  # takes the line to the point
        view_matrix = view.camera.world_to_camera.clone()
        rotation = view_matrix[:3, :3] @ turn.T
        view_matrix[:3, :3], view_matrix[:3, 3] = rotation, -rotation @ eye
        aimed.append(replace(view, camera=replace(view.camera, world_to_camera=view_matrix)) if trusted else view)
    return aimed
