"""Photographs that were turned by a quarter after they were calibrated: find the way back.

A ring of photographs taken with the camera on its side is often stored upright: each image turned so that one
world axis points up in it. The calibration tells that axis but not which end of it is up; the outlines do, because
only the right choice has a common inside.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from ..photos.data import View
from .hull import HullField, bounds


def undo_turns(views: list[View]) -> list[View]:
    """Fit the cameras to images whose sides are swapped; views whose camera fits are returned as they are.

    Raises `ValueError` where neither end of the axis fits.
    """
    if all(v.shape == (v.camera.height, v.camera.width) for v in views):
        return views
    sideways = torch.stack([v.camera.world_to_camera[0, :3] for v in views])
    up = torch.linalg.svd(sideways).Vh[0]
    candidates = []
    for sign in (1.0, -1.0):
        turns = [1 if sign * float(x @ up) > 0 else -1 for x in sideways]
        turned = [replace(v, camera=v.camera.turned(ccw=t > 0), turn=t) for v, t in zip(views, turns, strict=True)]
        candidates.append((_hull_volume(turned), sign, turned))
    volume, _, best = max(candidates, key=lambda c: c[:2])
    if volume <= 0:
        raise ValueError(f"{views[0].path}: the photographs' sides do not fit their calibration, turned or not")
    return best


def _hull_volume(views: list[View], resolution: int = 48) -> float:
    try:
        box = torch.from_numpy(bounds(views)).float()
    except ValueError:  # no common inside: not this way
        return 0.0
    axes = [torch.linspace(float(lo), float(hi), resolution) for lo, hi in box.T]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    return float((HullField(views, spare=1)(points) > 0).float().mean() * (box[1] - box[0]).prod())
