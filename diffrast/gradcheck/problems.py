"""Optimization problems: what gradients are for. Scored by the final error and the time, for any adapter."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..mesh.rotation import quaternion_to_rotation
from . import shapes
from .adapters import OURS, Adapter
from .case import Case, project
from .report import Progress, machine
from .scenes import SCENES
from .truth import samples_per_side, supersampled

Problem = Callable[[Adapter, int], list[float]]  # an adapter and a seed to the final errors

# --- Parameters from one picture --------------------------------------------------------------------------------------


def fit(adapter: Adapter, scene: Case, start: Tensor, target: Tensor, steps: int, rates: Tensor) -> Tensor:
    """Adam on the mean squared difference to the picture `target`, from `start`; rates `[P]`. Returns the
    parameters."""
    adapter.prepare(scene)
    theta = start.clone()
    scaled = torch.zeros_like(theta, requires_grad=True)  # in units of the rates
    optimizer = torch.optim.Adam([scaled], lr=1.0, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.01 ** (i / steps))
    for _ in range(steps):
        theta = start + rates * scaled.detach()
        image = adapter.render(theta).double().cpu()
        gradient = adapter.gradient(theta, 2 / image.numel() * (image - target))
        scaled.grad = rates * gradient.double().cpu()
        optimizer.step()
        schedule.step()
    return start + rates * scaled.detach()


def from_a_picture(name: str, distances: Sequence[float], steps: int = 120, parameters: bool = True) -> Problem:
    """Recovers a scene's parameters from a supersampled picture, from starts at these multiples of the scene's own
    distance.

    The error is what is left of the distance, in units of the distance that the scene has: 1 at its own start, whatever
    the start. parameters=False: the distance of supersampled pictures, not of parameters, where several of those make
    the same picture.
    """

    def run(adapter: Adapter, seed: int) -> list[float]:
        scene = SCENES[name](seed + 1)
        start, goal = scene.starts[seed], scene.targets[seed]
        factor = min(16, samples_per_side(scene.size))
        picture, way = supersampled(scene, goal, scene.size, factor), start - goal
        rates = torch.full_like(goal, 0.15 * float(way.abs().mean()))

        def distance(theta: Tensor) -> Tensor:
            return (theta - goal if parameters else supersampled(scene, theta, scene.size, factor) - picture).norm()

        found = [fit(adapter, scene, goal + d * way, picture, steps, rates * d) for d in distances]
        return [float(distance(theta) / distance(start)) for theta in found]

    return run


# --- A cube from pictures of a few pixels -----------------------------------------------------------------------------


def cube_scene(size: int) -> Case:
    """theta: 8 corners, 24 colours, and the pose as a quaternion. Faces share no vertices: their colours jump at the
    edges."""
    corners, tri = shapes.cube()
    quads = tri.view(6, 6)[:, [0, 1, 2, 5]].long()
    index = quads.flatten()
    faces = torch.tensor([[k, k + i, k + i + 1] for k in range(0, 24, 4) for i in (1, 2)], dtype=torch.int32)
    colours = torch.rand((24, 3), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    goal = torch.cat([corners.flatten(), colours.flatten(), torch.zeros(4, dtype=torch.float64)])[None]

    def geometry(theta: Tensor) -> Tensor:
        return project(theta[:24].view(8, 3)[index] @ quaternion_to_rotation(theta[96:]).T, 3.5, 3.8)

    return Case(
        f"cube from {size} pixels",
        "fit",
        tuple(f"p{i}" for i in range(100)),
        faces,
        torch.eye(24, dtype=torch.float64),
        geometry,
        goal,
        goal,
        lambda weights, theta: weights @ theta[24:96].view(24, 3),
        size,
        background=(0.0, 0.0, 0.0),
    )


def cube_from(size: int, steps: int = 2000, views: int = 2, outlier: float = 30.0) -> Problem:
    """After Laine et al. 2020: corners start up to half a side away along each axis, colours are random, and every step
    sees new random poses, drawn by the same renderer. The error is the mean distance of the corners, the side being 1.

    Differences far above their mean count less (Geman and McClure): a pixel whose centre is on the wrong side of an
    edge has a large one that points nowhere.
    """

    def run(adapter: Adapter, seed: int) -> list[float]:
        scene, generator = cube_scene(size), torch.Generator().manual_seed(seed)
        adapter.prepare(scene)
        goal = scene.starts[0]
        noise = torch.rand(96, generator=generator, dtype=torch.float64)
        free = torch.cat([goal[:24] + noise[:24] - 0.5, noise[24:]]).requires_grad_()
        parts = free.detach()[:24].clone().requires_grad_(), free.detach()[24:].clone().requires_grad_()
        optimizer = torch.optim.Adam([{"params": [parts[0]], "lr": 0.02}, {"params": [parts[1]], "lr": 0.06}])
        decay = [lambda i: 0.02 ** (i / steps) * min(1.0, 10 * (i + 1) / steps), lambda i: 0.02 ** (i / steps)]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, decay)
        for _ in range(steps):
            total = torch.zeros(96, dtype=torch.float64)
            poses = torch.randn((views, 4), generator=generator, dtype=torch.float64)
            thetas = [torch.cat([parts[0].detach(), parts[1].detach(), pose]) for pose in poses]
            images = torch.stack([adapter.render(theta).double().cpu() for theta in thetas]).requires_grad_()
            targets = torch.stack([adapter.render(torch.cat([goal[:96], p])).double().cpu() for p in poses])
            error = (images - targets).square()
            level = (outlier * error.detach().sqrt().mean()).square().clamp(min=1e-30)
            (cotangents,) = torch.autograd.grad((error / (1 + error / level)).mean(), images)
            for theta, cotangent in zip(thetas, cotangents, strict=True):
                total += adapter.gradient(theta, cotangent).double().cpu()[:96]
            parts[0].grad, parts[1].grad = total[:24], total[24:]
            optimizer.step()
            schedule.step()
        return [float((parts[0].detach() - goal[:24]).view(8, 3).norm(dim=1).mean())]

    return run


PROBLEMS: dict[str, Problem] = {
    "cube from 4x4": cube_from(4),
    "cube from 8x8": cube_from(8),
    "cube from 16x16": cube_from(16),
    "pose, cube 64": from_a_picture("cube 64", (1, 2, 4)),
    "pose, bumpy 20k 64": from_a_picture("bumpy 20k 64", (1, 2, 4)),
    "pose, sheets": from_a_picture("sheets strong", (1, 2), parameters=False),  # one line does not hold six numbers
    "texture": from_a_picture("texture", (1,), parameters=False),
    "material": from_a_picture("material", (1,), parameters=False),
    "light": from_a_picture("light", (1,), parameters=False),
    "shadow": from_a_picture("shadow", (1,), parameters=False),
}
# Below this part of the scene's own distance a start counts as having found its way.
FOUND = 0.05


def problems(
    names: Sequence[str] | None = None,
    adapters: Mapping[str, Adapter] | None = None,
    seeds: int = 3,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Solves each problem with every adapter (default: ours) from several seeds.

    Returns:
        One row per problem and adapter: error (median of the final errors), worst, mean, found (the share below FOUND),
        seconds (for one run, median), errors (all of them).

    Raises:
        ValueError: an unknown problem.
    """
    names = list(PROBLEMS) if names is None else list(names)
    unknown = [name for name in names if name not in PROBLEMS]
    if unknown:
        raise ValueError(f"problems(): names must be among {', '.join(PROBLEMS)}; got {', '.join(unknown)}")
    rows = []
    for name in names:
        for label, adapter in (OURS if adapters is None else adapters).items():
            errors, seconds = [], []
            for seed in range(seeds):
                start = time.perf_counter()
                got = PROBLEMS[name](adapter, seed)
                seconds.append((time.perf_counter() - start) / len(got))
                errors += got
            row = {"problem": name, "adapter": label, "error": median(errors), "worst": max(errors)}
            row |= {"mean": sum(errors) / len(errors), "found": sum(e < FOUND for e in errors) / len(errors)}
            row |= {"seconds": median(seconds), "seeds": seeds, "machine": machine(), "errors": errors}
            rows.append(row)
            if progress:
                progress(row)
    return rows
