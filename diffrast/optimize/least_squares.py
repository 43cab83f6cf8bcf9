"""`diffrast.least_squares`: Gauss-Newton with Levenberg and Marquardt's damping, by forward-mode derivatives of the
renderer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """x: `[P]`, the best parameters. costs: half the sum of squares at the start and after each iteration. converged:
    whether it stopped because nothing changed any more, not because the iterations ran out."""

    x: Tensor
    costs: list[float]
    converged: bool


def jacobian(residual: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """The residuals `[N]`, flat, and their derivatives `[N, P]` by the parameters x `[P]`: one forward-mode pass for
    each."""
    columns, value = [], residual(x).detach().flatten()
    for direction in torch.eye(len(x), dtype=x.dtype, device=x.device):
        columns.append(torch.func.jvp(residual, (x,), (direction,))[1].detach().flatten())
    return value, torch.stack(columns, -1)


def least_squares(
    residual: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int = 30,
    damping: float = 1e-3,
    tolerance: float = 1e-6,
    smallest: float = 0.0,
    derivatives: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Solution:
    """Finds parameters that make a picture's differences small: for a few parameters (a pose, a lamp, a camera) in tens
    of pictures what gradient descent does in hundreds.

    Args:
        residual: parameters `[P]` to residuals of any shape, such as `(render(x) - photograph)`; differentiable in
            forward mode: made of the primitives and torch. Draw with `antialias(..., mode="area")`.
        start: float32 or float64 `[P]`.
        steps: iterations at most; each takes P + 1 pictures, and one for each length of step that is tried.
        damping: at the start, as a part of the diagonal of J^T J (Marquardt 1963).
        tolerance: ends when the cost falls by less than this part.
        smallest: ends when no parameter changes by as much as this.
        derivatives: x to the residuals and their derivatives, flat, as `jacobian` returns them; None: by forward mode.

    Returns:
        A `Solution`. The method finds the nearest valley only.

    Raises ValueError for a start that is not `[P]` or residuals that are not finite there.
    """
    if not isinstance(start, Tensor) or start.dim() != 1 or not start.is_floating_point():
        raise ValueError(f"least_squares(): start must be a float tensor [P]; got {start!r:.100}")
    x, derivatives = start.detach().clone(), derivatives or partial(jacobian, residual)
    value, columns = derivatives(x)
    cost = 0.5 * float(value.double().square().sum())
    if not cost < float("inf"):
        raise ValueError("least_squares(): the residuals at start must be finite")
    costs = [cost]
    for _ in range(steps):
        J = columns.double()
        normal, slope = J.T @ J, J.T @ value.double()
        scale = normal.diagonal().clamp(min=1e-12 * float(normal.diagonal().max()) + 1e-300)
        better = None
        for _ in range(8):
            step = torch.linalg.solve(normal + torch.diag(damping * scale), -slope)
            at = x + step.to(x)
            with torch.no_grad():
                there = 0.5 * float(residual(at).double().square().sum())
            if there < cost:
                better = at
                break
            if float(step.abs().max()) < smallest:
                break
            damping *= 4
        if better is None:
            return Solution(x, costs, True)
        x, damping = better, max(damping / 4, 1e-9)
        fallen, cost = cost - there, there
        costs.append(cost)
        if fallen <= tolerance * cost or float(step.abs().max()) < smallest:
            return Solution(x, costs, True)
        value, columns = derivatives(x)
    return Solution(x, costs, False)
