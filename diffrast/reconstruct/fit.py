"""One descent for every stage: vertices by Large Steps, paint (vertex colours or texels) by Adam, cameras by a shift."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..scene.largesteps import LargeSteps
from ..scene.mesh import Mesh
from ..scene.optim import AdamUniform
from .loop import Batches, Run, cosine, optimize
from .targets import Targets


@dataclass(frozen=True)
class Rates:
    """Step sizes at the start of a stage; all fall along half a cosine. ``move``: of ``u`` in half diagonals of the
    object; ``paint``: in display values; ``calibrate``: by the name of each part of the
    :class:`Calibration` that is refined. ``smoothness``: of Large Steps; 0 is plain Adam on vertices. ``scatter``: pixels are
    compared at a random point of each instead of their middles. A photograph's pixel is a mean, and shape and texels
    that are only ever asked for the middles of pixels learn to be right there and nowhere else."""

    move: float
    paint: float
    calibrate: dict[str, float] = field(default_factory=dict)
    smoothness: float = 2.0
    batch: int = 4
    squared: bool = False
    scatter: bool = False


def fit(run: Run, stage: str, vertices: torch.Tensor, faces: torch.Tensor, paint: torch.Tensor,
        render: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], targets: Targets, rates: Rates, *, steps: int,
        seconds: float = math.inf,
        as_mesh: Callable[[torch.Tensor, torch.Tensor], Mesh] | None = None) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Fit vertices ``[V, 3]`` and ``paint`` to the targets; ``render(clip [B, V, 4], paint)`` makes pictures
    ``[B, H, W, 4]``. Returns the new vertices and paint; of ``targets.calibration`` what ``rates.calibrate`` names changes
    in place.

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
            "u": u.detach(), "paint": paint.detach(), "batches": choose.state(),
            "calibration": {n: p.detach() for n, p in targets.calibration.parts().items()},
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }  # fmt: skip

    def step(t: float) -> torch.Tensor:
        index, share = run.group.part(next(choose))
        if rates.scatter:
            offset = (torch.rand(len(targets.images), 2, generator=run.generator)[index] - 0.5).to(u)
        else:
            offset = 0.0
        pictures = render(targets.clip(large.to_vertices(u), index, offset), paint)
        if run.viewer:
            pictures.retain_grad()
        mean, error = targets.loss(pictures, index, rates.squared)
        loss = 4 * share * mean
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        loss = run.group.total(loss, [p for o in optimizers for p in o.param_groups[0]["params"]])
        run.errors.append((stage, float(error)))
        for optimizer, rate in optimizers.items():
            group = optimizer.param_groups[0]
            group["lr"] = rate(t) * group.get("factor", 1.0)  # a viewer's
            optimizer.step()
        if run.viewer:
            run.viewer.step(loss=loss, mesh=now, until=lambda: run.stop.requested, coverage=learned,
                            gradient=lambda: large.from_vertices(_grad(u)), image_gradient=lambda: _grad(pictures)[0])  # fmt: skip
        return loss

    @torch.no_grad()
    def now() -> Mesh:
        moved = large.to_vertices(u)
        return as_mesh(moved, paint) if as_mesh else Mesh(moved, faces)

    if run.viewer:
        for optimizer, what in zip(
            optimizers, ("Shape", "Colour", *(f"Camera {n}" for n in refined)), strict=True
        ):
            run.viewer.attach(optimizer, [f"{what} rate \N{MULTIPLICATION SIGN}"], key="factor")
    optimize(run, stage, step, state, steps, seconds, 0 if before is None else before["done"])
    for part, _ in refined.values():
        part.requires_grad_(False)
    return large.to_vertices(u).detach(), paint.detach().clamp(0, 1)


def _grad(x: torch.Tensor) -> torch.Tensor:
    assert x.grad is not None
    return x.grad
