"""Cameras that are only roughly known: brought to agree before there is a shape, and found for photographs of a known
shape."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

import diffrast.torch as dr

from ..camera.lie import so3_exp
from ..fitting.appearance import Textured
from ..fitting.descent import Descent, fit
from ..fitting.geometry import Shape
from ..fitting.loop import Run, cosine
from ..fitting.targets import make_targets
from ..mesh.remesh import edge_for_faces, isotropic, smooth
from ..photos.agreement import common_point
from ..photos.views import View
from .hull import bounds, visual_hull

# How far masks are widened for the hull that a round starts from, in parts of the object's size in the image.
ROUNDS = (0.08, 0.05, 0.03)
STEPS = 100  # of a round
SIZE = 80  # about the pixels along a photograph's longer side in a round
FACES = 1000
LOCATE = {"turn": 5e-3, "move": 5e-3, "shift": 0.3}  # learning rates for views of a finished model
DESCENT = Descent(vertices_lr=1.5e-2, colors_lr=0.03, cameras_lr={"turn": 5e-3, "move": 5e-3}, smoothness=4.0, batch=6)


def gather(ctx: dr.RasterizeContext, run: Run, views: list[View], device: torch.device) -> list[View]:
    """Views whose cameras are brought to agree with each other, from poses that are off by a tenth of the image.

    In each round the hull of widened masks, which no error carves away, is fitted to the small images together with
    the cameras' poses: outlines bring the images over each other, colours turn the cameras. The next round's hull is
    a better one.
    """
    if agree(ctx, views, device):
        return views
    level = max(0, round(math.log2(max(views[0].shape) / SIZE)))
    own = run.aside(torch.Generator().manual_seed(0))
    for widen in ROUNDS:
        try:
            shape, box = _wide_hull(views, widen, device)
        except ValueError:  # nothing in common
            views = aim(views)
            shape, box = _wide_hull(views, widen, device)
        targets = make_targets(views, box, level, device)
        fit(ctx, own, shape, targets, DESCENT, steps=STEPS)
        views = targets.calibration.apply(views)
    return views


def agree(ctx: dr.RasterizeContext, views: list[View], device: torch.device, least: float = 0.95) -> bool:
    """Whether what all masks have in common covers the share `least` of them: no pose is off by much."""
    try:
        box = bounds(views)
        shape = Shape.of(*visual_hull(views, box, 64), device)
    except ValueError:
        return False
    targets = make_targets(views, box, 1, device)
    every = torch.arange(len(views), device=device)
    rast, _ = dr.rasterize(ctx, targets.clip(shape.vertices, every), shape.faces, targets.resolution)
    mask = targets.images[..., 3] > 0.5
    return float(((rast[..., 3] > 0) & mask).sum() / mask.sum()) >= least


def _wide_hull(views: list[View], widen: float, device: torch.device) -> tuple[Shape, np.ndarray]:
    wide = [widened(v, widen) for v in views]
    box = bounds(wide)
    v, f = visual_hull(wide, box, 64)
    v = smooth(v, f, 5)
    return Shape.of(*isotropic(v, f, edge_for_faces(v, f, FACES)), device), box


def widened(view: View, share: float) -> View:
    """The view with its mask grown by `share` of the object's size in it."""
    inside = view.load_mask().numpy() > 0.5
    wide = ndimage.distance_transform_edt(~inside) <= share * np.sqrt(inside.sum())
    return view.with_mask(torch.from_numpy(wide.astype(np.float32)))


def aim(views: list[View]) -> list[View]:
    """Views turned about their eyes so that the point that all look at lies in the middle of each mask. Masks that the
    image's border cuts have no middle to trust; they stay."""
    point, aimed = common_point(views), []
    for view in views:
        inside = view.load_mask() > 0.5
        if bool(torch.cat([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).any()):
            aimed.append(view)
            continue
        camera, middle = view.camera, inside.nonzero().double().mean(dim=0).flip(0) + 0.5
        line, to = camera.unproject(middle, torch.ones_like(middle[0])) - camera.center, point - camera.center
        line, to = line / line.norm(), to / to.norm()
        axis = torch.linalg.cross(line, to)
        sine = axis.norm()
        turn = so3_exp(axis * (torch.atan2(sine, line @ to) / sine.clamp_min(1e-12)))  # takes the line to the point
        matrix = camera.world_to_camera.clone()
        matrix[:3, :3] = matrix[:3, :3] @ turn.T
        matrix[:3, 3] = -matrix[:3, :3] @ camera.center
        aimed.append(replace(view, camera=replace(camera, world_to_camera=matrix)))
    return aimed


def locate(
    ctx: dr.RasterizeContext,
    model: Textured,
    views: list[View],
    box: np.ndarray,
    rates: dict[str, float],
    steps: int = 50,
) -> list[View]:
    """Views whose cameras are fitted to a finished model, from small images to large ones; `rates`: the learning rate
    of each part of the calibration. What depends on where the eye is, is drawn for the camera as given."""
    top = max(0, round(math.log2(max(views[0].shape) / SIZE)))
    for around, level in enumerate((top, *range(top, -1, -1))):
        targets = make_targets(views, box, level, model.vertices.device)
        if around == 0:  # turned about the eye an image moves most: what is far off comes near
            targets.calibration = replace(targets.calibration, center=None)
        scale = 2.0 ** (level - top)
        parts = targets.calibration.parts()
        groups = [{"params": [parts[n].requires_grad_()], "rate": rate * scale} for n, rate in rates.items()]
        optimizer = torch.optim.Adam(groups, lr=1.0)
        for i in range(steps):
            optimizer.zero_grad()
            for k, camera in enumerate(targets.cameras):  # views have nothing in common here
                index = torch.tensor([k], device=targets.view.device)
                image = model.draw(ctx, targets.clip(model.vertices, index), camera, camera.resolution)
                targets.residual(image, index).abs().mean().backward()
            for group in optimizer.param_groups:
                group["lr"] = cosine(i / steps, group["rate"], 0.05 * group["rate"])
            optimizer.step()
        for name in rates:
            parts[name].requires_grad_(False)
        views = targets.calibration.apply(views)
    return views


def locate_held_out(
    ctx: dr.RasterizeContext,
    model: Textured,
    views: list[View],
    held: list[int],
    refined: Collection[str],
    box: np.ndarray,
) -> list[View]:
    """The views, of which those that are `held` out are located in the parts of the calibration that were `refined`, by
    their own images of the finished model. Else they would be judged by the error of their calibration, which the
    others are free of."""
    rates = {n: rate for n, rate in LOCATE.items() if n in refined}
    if not (held and rates):
        return views
    located = dict(zip(held, locate(ctx, model, [views[i] for i in held], box, rates), strict=True))
    return [located.get(i, view) for i, view in enumerate(views)]
