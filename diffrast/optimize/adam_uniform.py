"""Adam for vertices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class AdamUniform(torch.optim.Optimizer):
    """Adam whose second moment is the largest over all entries of a tensor (Nicolet et al. 2021, "Large Steps in
    Inverse Rendering of Geometry", section 3.4).

    A step then keeps the direction of the smoothed gradient, where plain Adam would scale each coordinate by itself and
    bring the noise back. `lr` is the length of the first step's largest entry.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        if not lr >= 0 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"AdamUniform(): lr must be >= 0 and betas in [0, 1); got lr={lr}, betas={betas}")
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; `closure`, if given, is evaluated first and its value returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=0, m=torch.zeros_like(p), v=torch.zeros((), dtype=p.dtype, device=p.device))
                state["step"] += 1
                state["m"].lerp_(p.grad, 1 - b1)
                state["v"].lerp_(p.grad.abs().max() ** 2, 1 - b2)
                m = state["m"] / (1 - b1 ** state["step"])
                v = state["v"] / (1 - b2 ** state["step"])
                # With all gradients zero so far there is no direction: the tiny term keeps 0/0 at 0.
                p.sub_(group["lr"] * m / (v.sqrt() + torch.finfo(p.dtype).tiny))
        return loss
