"""One descent for every stage: vertices by Large Steps, colours (of vertices or texels) by Adam, and cameras beside
them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeVar

import torch

import diffrast.torch as dr

from ..mesh.mesh import Mesh
from ..optimize.adam_uniform import AdamUniform
from ..optimize.largesteps import LargeSteps
from .appearance import Textured
from .geometry import Shape
from .loop import Batches, Run, cosine, optimize
from .targets import SAMPLES, Targets

LAST = 0.25  # of a descent that compares means: with several samples in each pixel
Model = TypeVar("Model", Shape, Textured)


@dataclass(frozen=True)
class Descent:
    """How a stage descends. Learning rates are those at its start; all fall along half a cosine.

    `vertices_lr`: of Large Steps' `u`, in half diagonals of the object; `colors_lr`: in display values; `cameras_lr`:
    by the name of each part of the `Calibration` that is refined. `smoothness`: of Large Steps; 0 is plain Adam on
    vertices. `batch`: views of a step. `squared`: the loss is the mean square of the differences, which is what PSNR
    measures, instead of their mean absolute value (masks have outliers). `means`: a photograph's pixel is compared with
    the mean of the image over it, as `sampling` has it, instead of with its middle."""

    vertices_lr: float
    colors_lr: float
    cameras_lr: dict[str, float] = field(default_factory=dict)
    smoothness: float = 2.0
    batch: int = 4
    squared: bool = False
    means: bool = False


def fit(
    ctx: dr.RasterizeContext,
    run: Run,
    model: Model,
    targets: Targets,
    descent: Descent,
    *,
    steps: int,
    seconds: float = math.inf,
) -> Model:
    """The model with vertices and colours fitted to the targets, in colour and coverage. Of `targets.calibration` what
    `descent.cameras_lr` names changes in place."""
    vertices = model.vertices
    radius = 0.5 * float((vertices.amax(0) - vertices.amin(0)).norm())
    large = LargeSteps(model.faces, len(vertices), descent.smoothness)
    u, colors = large.from_vertices(vertices).requires_grad_(), model.colors.clone().requires_grad_()
    parts = targets.calibration.parts()
    refined = {name: (parts[name].requires_grad_(), rate) for name, rate in descent.cameras_lr.items()}
    of_colors = torch.optim.Adam([colors], betas=(0.9, 0.99), fused=True)
    # How strong the gradients of each texel have been: what Adam remembers of them fades, but not to 0.
    learned = (lambda: of_colors.state[colors]["exp_avg_sq"].sum(-1).sqrt()) if colors.dim() == 3 else None
    # Colours may start unknown and would pull vertices and cameras astray: those start to move slowly.
    of_vertices = (AdamUniform if descent.smoothness else torch.optim.Adam)([u])  # the second one to compare with
    optimizers = {
        of_vertices: lambda t: (
            radius * cosine(t, descent.vertices_lr, 0.02 * descent.vertices_lr) * min(1.0, 0.1 + 10 * t)
        ),
        of_colors: lambda t: cosine(t, descent.colors_lr, 0.05 * descent.colors_lr),
        **{
            torch.optim.Adam([part]): lambda t, rate=rate: cosine(t, rate, 0.05 * rate) * min(1.0, 10 * t)
            for part, rate in refined.values()
        },
    }
    batches = Batches(len(targets.images), descent.batch, run.generator)

    def step(t: float) -> torch.Tensor:
        index, share = run.group.part(next(batches))
        offset, samples = torch.zeros(len(index), 2), 1
        if descent.means:
            offset, samples = sampling(t, len(targets.images), run.generator)
            offset = offset[index]
        for optimizer in optimizers:
            optimizer.zero_grad()
        smooth = large.to_vertices(u)
        moved, loss, error = smooth.detach().requires_grad_(), u.new_zeros(()), 0.0
        # A few images at a time, so that many samples take no more memory than one.
        for part in torch.arange(len(index)).split(max(1, len(index) // samples**2)):
            clip = targets.clip(moved, index[part], offset[part].to(u))
            images = model.render(ctx, clip, colors, targets.resolution, samples)
            if run.viewer:
                images.retain_grad()
            mean, squares = targets.loss(images, index[part], descent.squared)
            mean = 4 * share * len(part) / len(index) * mean
            mean.backward()
            loss += mean.detach()
            error += float(squares) * len(part) / len(index)
        smooth.backward(_grad(moved))
        loss = run.group.total(loss, [p for o in optimizers for p in o.param_groups[0]["params"]])
        run.errors.append((run.stage, error))
        for optimizer, rate in optimizers.items():
            group = optimizer.param_groups[0]
            group["lr"] = rate(t) * group.get("factor", 1.0)  # a viewer's
            optimizer.step()
        if run.viewer:
            run.viewer.step(
                loss=loss,
                mesh=now,
                until=lambda: run.stop.requested,
                coverage=learned,
                gradient=lambda: large.from_vertices(_grad(u)),
                image_gradient=lambda: _grad(images)[0],
            )
        return loss

    @torch.no_grad()
    def now() -> Mesh:
        return model.changed(large.to_vertices(u), colors).welded()

    if run.viewer:
        for optimizer, what in zip(optimizers, ("Shape", "Colour", *(f"Camera {n}" for n in refined)), strict=True):
            run.viewer.attach(optimizer, [f"{what} rate \N{MULTIPLICATION SIGN}"], key="factor")
    kept = {"u": u, "colors": colors, "batches": batches, **parts}
    optimize(run, step, kept | {f"optimizer {i}": o for i, o in enumerate(optimizers)}, steps, seconds)
    for part, _ in refined.values():
        part.requires_grad_(False)
    return model.changed(large.to_vertices(u).detach(), colors.detach().clamp(0, 1))


def sampling(t: float, count: int, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """Where in their pixels `count` images are compared with photographs at the time `t` in 0..1 of a descent: by an
    offset `[count, 2]` in pixels, and how many samples per pixel and axis are compared there.

    At first a random point of each pixel: shape and texels that are only ever asked for the middles of pixels learn to
    be right there and nowhere else. But the squares of single points' differences count how much the image varies
    within a pixel as an error, and blur it; so at last it is the mean of as many samples as an image is judged by,
    each step at thrice the time.
    """
    if t < 1 - LAST:
        return torch.rand(count, 2, generator=generator) - 0.5, 1
    return torch.zeros(count, 2), SAMPLES


def _grad(x: torch.Tensor) -> torch.Tensor:
    assert x.grad is not None
    return x.grad
