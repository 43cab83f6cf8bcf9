"""One descent for every stage: vertices by Large Steps, paint (vertex colours or texels) by Adam, cameras by a
shift."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..mesh.mesh import Mesh
from ..optimize.adam_uniform import AdamUniform
from ..optimize.largesteps import LargeSteps
from .loop import Batches, Run, cosine, optimize
from .targets import SAMPLES, Targets

LAST = 0.25  # of a descent that compares means: with several samples in each pixel


@dataclass(frozen=True)
class Rates:
    """Step sizes at the start of a stage; all fall along half a cosine. ``move``: of ``u`` in half diagonals of the
    object; ``paint``: in display values; ``calibrate``: by the name of each part of the
    :class:`Calibration` that is refined. ``smoothness``: of Large Steps; 0 is plain Adam on vertices. ``means``: a
    photograph's pixel is compared with the mean of the picture over it, as :func:`sampling` has it, instead of with its
    middle."""

    move: float
    paint: float
    calibrate: dict[str, float] = field(default_factory=dict)
    smoothness: float = 2.0
    batch: int = 4
    squared: bool = False
    means: bool = False


def fit(
    run: Run,
    stage: str,
    vertices: torch.Tensor,
    faces: torch.Tensor,
    paint: torch.Tensor,
    render: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
    targets: Targets,
    rates: Rates,
    *,
    steps: int,
    seconds: float = math.inf,
    as_mesh: Callable[[torch.Tensor, torch.Tensor], Mesh] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit vertices ``[V, 3]`` and ``paint`` to the targets; ``render(clip [B, V, 4], paint, samples)`` makes
    pictures ``[B, H, W, 4]`` with so many samples per pixel and axis. Returns the new vertices and paint; of
    ``targets.calibration`` what ``rates.calibrate`` names changes in place.

    The loss is the mean absolute difference of colour and coverage (masks have outliers), or with ``squared`` the mean
    square, which is what PSNR measures. ``as_mesh(vertices, paint)`` is what a viewer shows (default: the bare shape).
    """
    radius = 0.5 * float((vertices.amax(0) - vertices.amin(0)).norm())
    large = LargeSteps(faces, len(vertices), rates.smoothness)
    before = run.checkpoint.progress(stage)
    u = (large.from_vertices(vertices) if before is None else before["u"]).requires_grad_()
    paint = (paint.clone() if before is None else before["paint"]).requires_grad_()
    if before is not None:
        for name, part in targets.calibration.parts().items():
            part.copy_(before["calibration"][name])
    refined = {
        name: (part.requires_grad_(), rates.calibrate[name])
        for name, part in targets.calibration.parts().items()
        if name in rates.calibrate
    }
    painter = torch.optim.Adam([paint], betas=(0.9, 0.99), fused=True)
    # How strong the gradients of each texel have been: what Adam remembers of them fades, but not to 0.
    learned = (lambda: painter.state[paint]["exp_avg_sq"].sum(-1).sqrt()) if paint.dim() == 3 else None
    # Colours may start unknown and would pull vertices and cameras astray: those start to move slowly.
    descent = AdamUniform if rates.smoothness else torch.optim.Adam  # the second one to compare with
    optimizers = {
        descent([u]): lambda t: radius * cosine(t, rates.move, 0.02 * rates.move) * min(1.0, 0.1 + 10 * t),
        painter: lambda t: cosine(t, rates.paint, 0.05 * rates.paint),
        **{
            torch.optim.Adam([part]): lambda t, rate=rate: cosine(t, rate, 0.05 * rate) * min(1.0, 10 * t)
            for part, rate in refined.values()
        },
    }
    choose = Batches(len(targets.images), rates.batch, run.generator)
    if before is not None:
        choose.restore(before["batches"])
        for optimizer, kept in zip(optimizers, before["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        run.losses[:], run.errors[:] = before["losses"], before["errors"]

    def state() -> dict[str, Any]:
        return {
            "u": u.detach(),
            "paint": paint.detach(),
            "batches": choose.state(),
            "calibration": {n: p.detach() for n, p in targets.calibration.parts().items()},
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }

    def step(t: float) -> torch.Tensor:
        index, share = run.group.part(next(choose))
        offset, samples = torch.zeros(len(index), 2), 1
        if rates.means:
            offset, samples = sampling(t, len(targets.images), run.generator)
            offset = offset[index]
        for optimizer in optimizers:
            optimizer.zero_grad()
        made = large.to_vertices(u)
        moved, loss, error = made.detach().requires_grad_(), u.new_zeros(()), 0.0
        # A few pictures at a time, so that many samples take no more memory than one.
        for part in torch.arange(len(index)).split(max(1, len(index) // samples**2)):
            pictures = render(targets.clip(moved, index[part], offset[part].to(u)), paint, samples)
            if run.viewer:
                pictures.retain_grad()
            mean, squares = targets.loss(pictures, index[part], rates.squared)
            mean = 4 * share * len(part) / len(index) * mean
            mean.backward()
            loss += mean.detach()
            error += float(squares) * len(part) / len(index)
        made.backward(_grad(moved))
        loss = run.group.total(loss, [p for o in optimizers for p in o.param_groups[0]["params"]])
        run.errors.append((stage, error))
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
                image_gradient=lambda: _grad(pictures)[0],
            )
        return loss

    @torch.no_grad()
    def now() -> Mesh:
        moved = large.to_vertices(u)
        return as_mesh(moved, paint) if as_mesh else Mesh(moved, faces)

    if run.viewer:
        for optimizer, what in zip(optimizers, ("Shape", "Colour", *(f"Camera {n}" for n in refined)), strict=True):
            run.viewer.attach(optimizer, [f"{what} rate \N{MULTIPLICATION SIGN}"], key="factor")
    optimize(run, stage, step, state, steps, seconds, 0 if before is None else before["done"])
    for part, _ in refined.values():
        part.requires_grad_(False)
    return large.to_vertices(u).detach(), paint.detach().clamp(0, 1)


def sampling(t: float, count: int, generator: torch.Generator) -> tuple[torch.Tensor, int]:
    """Where in their pixels ``count`` pictures are compared with photographs at the time ``t`` in 0..1 of a descent: by
    an offset
    ``[count, 2]`` in pixels, and how many samples per pixel and axis are compared there.

    At first a random point of each pixel: shape and texels that are only ever asked for the middles of pixels learn to
    be right there and nowhere else. But the squares of single points' differences count how much the picture varies
    within a pixel as an error, and blur it; so at last it is the mean of as many samples as a picture is judged by,
    each step at thrice the time.
    """
    if t < 1 - LAST:
        return torch.rand(count, 2, generator=generator) - 0.5, 1
    return torch.zeros(count, 2), SAMPLES


def _grad(x: torch.Tensor) -> torch.Tensor:
    assert x.grad is not None
    return x.grad
