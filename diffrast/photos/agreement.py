"""Whether cameras and masks agree: where the views look, and which of them do not see what the others look at."""

from __future__ import annotations

import torch
from jaxtyping import Float

from .views import FEWEST, View

AWAY = "looks away from where the others look"


def common_point(views: list[View]) -> Float[torch.Tensor, " 3"]:
    """The point that the rays through the middles of the masks pass: the one with the least sum of distances to
    the rays' lines, by reweighted least squares (Weiszfeld 1937), so that a few wrong cameras do not move it."""
    eyes = torch.stack([v.camera.center for v in views])
    rays = torch.stack([_ray(v) for v in views])
    across = torch.eye(3, dtype=torch.float64) - rays[:, :, None] * rays[:, None]
    weights = torch.ones(len(views), dtype=torch.float64)
    point = torch.zeros(3, dtype=torch.float64)
    for _ in range(50):
        A = (weights[:, None, None] * across).sum(0)
        b = (weights[:, None, None] * across @ eyes[..., None]).sum(0)[:, 0]
        point = torch.linalg.lstsq(A, b[:, None], driver="gelsd").solution[:, 0]
        distance = (across @ (point - eyes)[..., None])[..., 0].norm(dim=1)
        weights = 1 / distance.clamp_min(1e-6 * float(distance.max()) + 1e-12)
    return point


def _ray(view: View) -> torch.Tensor:
    left, bottom, right, top = mask_rectangle(view)
    pixel = torch.tensor([(left + right) / 2, (bottom + top) / 2], dtype=torch.float64)
    away = view.camera.unproject(pixel, torch.tensor(1.0, dtype=torch.float64)) - view.camera.center
    return away / away.norm()


def mask_rectangle(view: View) -> tuple[int, int, int, int]:
    """Left, bottom, right, top of the mask."""
    on = view.load_mask() > 0.5
    rows, cols = torch.nonzero(on.any(dim=1))[:, 0], torch.nonzero(on.any(dim=0))[:, 0]
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def without_blind(views: list[View]) -> tuple[list[View], list[str]]:
    """The views whose cameras see what the others look at, and a sentence for each other one.

    Raises:
        ValueError: Fewer than half remain.
    """
    point = common_point(views)
    faults = {i: fault for i, v in enumerate(views) if (fault := _fault(v, point))}
    seeing = [v for i, v in enumerate(views) if i not in faults]
    sentences = [f"the camera of {views[i].path} {fault}" for i, fault in faults.items()]
    if len(seeing) < max(FEWEST, len(views) / 2):
        behind = sum(fault == AWAY for fault in faults.values())
        advice = "; are the poses camera to world, with the axes that the layout asks for?"
        advice = advice if behind > len(views) / 2 else ""
        raise ValueError(f"{len(faults)} of {len(views)} cameras do not see the object: {sentences[0]}{advice}")
    return seeing, sentences


def _fault(view: View, point: torch.Tensor) -> str:
    """What is wrong with a camera, if its mask, made twice as large, does not hold the point that all look at. Where
    the mask touches the border the object may go on."""
    pixel, depth = view.camera.project(point)
    if float(depth) <= 0:
        return AWAY
    left, bottom, right, top = mask_rectangle(view)
    height, width = view.shape
    for at, low, high, side in zip(pixel.tolist(), (left, bottom), (right, top), (width, height), strict=True):
        if (low > 0 and at < 2 * low - high) or (high < side and at > 2 * high - low):
            return "does not see the object where its mask has it"
    return ""
