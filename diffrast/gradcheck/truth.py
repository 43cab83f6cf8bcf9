"""The ground truth: central differences of a supersampled render, and how far they can be trusted.

Common random numbers: both renders of a difference use the same sample places, so only samples that the motion crosses
differ. The truth is taken twice, with different steps and different sample places; their mean is used, and half their
difference is the noise floor, which holds both the sampling noise and the curvature that a finite step averages over.
It is large where an edge lies along a border between pixels: the image has a kink there, and differences on both sides
of it are not a derivative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import diffrast.torch as dr

from .case import Case

# (factor on the step, sub-sample offset in x and y)
VARIANTS = ((1.0, 0.0, 0.0), (0.5, 0.37, -0.29))
PIXELS_MOVED = 0.25


@dataclass(frozen=True)
class Truth:
    gradient: Tensor  # float64 [P]
    floor: float  # |difference of the two estimates| / |their sum|
    image: Tensor  # [H, W, 3] supersampled, at the start
    target: Tensor  # [H, W, 3] supersampled, what the loss compares with
    steps: Tensor  # [P]


def samples_per_side(size: int) -> int:
    """64 samples along a pixel's side for 16 pixels, 16 for 64, 8 for 256."""
    return max(8, min(64, 1024 // size))


def supersampled(scene: Case, theta: Tensor, size: int, factor: int, shift: Sequence[float] = (0.0, 0.0)) -> Tensor:
    """The box-filtered image `[size, size, 3]`, float64, from factor^2 point samples per pixel; shift in samples."""
    pos = scene.geometry(theta).detach().clone()
    for axis in (0, 1):
        pos[:, axis] += shift[axis] * 2 / (size * factor) * pos[:, 3]
    color = point_sampled(scene, pos.float(), theta, size * factor)
    blocks = color.view(size, factor, size, factor, 3)
    return blocks.mean(3).double().mean(1)


def point_sampled(scene: Case, pos: Tensor, theta: Tensor, size: int) -> Tensor:
    """One sample per pixel, no antialiasing: `[size, size, 3]`."""
    rast, _ = dr.rasterize(dr.RasterizeContext(), pos[None], scene.tri, (size, size))
    attributes, _ = dr.interpolate(scene.attributes.to(pos.dtype), rast, scene.tri)
    color = scene.shade(attributes, theta.to(pos.dtype))
    return torch.where(rast[..., 3:] > 0, color, torch.tensor(scene.background, dtype=pos.dtype))[0]


def steps_of(scene: Case, theta: Tensor) -> Tensor:
    """Steps that move no visible vertex by more than PIXELS_MOVED (or the scene's own)."""
    if scene.steps is not None:
        return scene.steps.double()
    steps, probe = [], 1e-4
    for k in range(len(theta)):
        ends = []
        for sign in (-probe, probe):
            moved = theta.clone()
            moved[k] += sign
            pos = scene.geometry(moved)
            seen = pos[:, 3] > 0.3 * pos[:, 3].max()
            ends.append(pos[seen, :3] / pos[seen, 3:])
        motion = (ends[1] - ends[0])[:, :2].norm(dim=1).max() / (2 * probe) * scene.size / 2
        steps.append(min(PIXELS_MOVED / max(float(motion), 1e-9), 0.02))
    return torch.tensor(steps, dtype=torch.float64)


def truth_of(scene: Case, sample: int) -> Truth:
    """The gradient of the mean squared difference to the target's image, at one of the scene's samples."""
    theta, goal, factor = scene.starts[sample], scene.targets[sample], samples_per_side(scene.size)
    target = supersampled(scene, goal, scene.size, factor)
    steps, estimates = steps_of(scene, theta), []

    def loss(at: Tensor, shift: Sequence[float]) -> Tensor:
        return (supersampled(scene, at, scene.size, factor, shift) - target).square().mean()

    for scale, *shift in VARIANTS:
        estimate = []
        for k, step in enumerate(scale * steps):
            change = torch.zeros_like(theta)
            change[k] = step
            estimate.append((loss(theta + change, shift) - loss(theta - change, shift)) / (2 * step))
        estimates.append(torch.stack(estimate))
    total = estimates[0] + estimates[1]
    floor = float((estimates[0] - estimates[1]).norm() / total.norm().clamp(min=1e-300))
    return Truth(total / 2, floor, supersampled(scene, theta, scene.size, factor), target, steps)
