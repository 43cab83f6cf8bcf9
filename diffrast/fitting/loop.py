"""The optimization loop that every stage shares: batches, the budget of steps and seconds, and stopping."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from .checkpoint import Checkpoint
from .distributed import Group


class Stop:
    """Ctrl-C (or SIGTERM) as a request: inside the ``with`` block the first one sets ``requested``, the second one
    interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._before[name] = signal.signal(name, self._handle)
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            pass
        return self

    def __exit__(self, *exception: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _handle(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class Progress:
    """One bar over all stages; ``weights`` are the shares of the work that each is expected to take."""

    def __init__(self, weights: dict[str, float], show: bool = True):
        total = sum(weights.values())
        self.weights = {name: 100 * weight / total for name, weight in weights.items()}
        style = "{desc:<12}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(total=100, bar_format=style, disable=not show, mininterval=0.2, smoothing=0.05)
        self.done = 0.0
        self.seconds: dict[str, float] = {}
        self.started = self.began = time.perf_counter()
        self.stage = ""

    def begin(self, stage: str) -> None:
        self.finish()
        self.stage, self.began = stage, time.perf_counter()
        self.bar.set_description_str(stage, refresh=True)

    def finish(self) -> None:
        if self.stage:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + time.perf_counter() - self.began
            self.done += self.weights.get(self.stage, 0.0)
            self._show(self.done)
            self.stage = ""

    def update(self, fraction: float, loss: float) -> None:
        self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._show(self.done + fraction * self.weights.get(self.stage, 0.0))

    def say(self, sentence: str) -> None:
        """A line above the bar, where there is one."""
        if not self.bar.disable:
            self.bar.write(sentence, file=sys.stderr)

    def _show(self, percent: float) -> None:
        self.bar.update(max(0.0, min(percent, 100.0) - self.bar.n))

    def close(self) -> None:
        self.finish()
        self.bar.close()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started


@dataclass
class Run:
    """What the stages share. ``callback(stage, step)`` is called after each step; a ``KeyboardInterrupt`` from it
    counts as Ctrl-C. ``losses`` collects ``(stage, loss)`` of every step, ``errors`` the mean squared difference of
    colour beside it; ``checkpoint`` keeps the state on disk; ``group``: the processes that share the work; ``viewer``
    is told of each
    step: an object with ``step`` and ``attach`` as `diffrast.Viewer` has them."""

    progress: Progress
    stop: Stop
    generator: torch.Generator
    checkpoint: Checkpoint
    callback: Callable[[str, int], None] | None = None
    losses: list[tuple[str, float]] = field(default_factory=list)
    errors: list[tuple[str, float]] = field(default_factory=list)
    group: Group = field(default_factory=Group)
    viewer: Any = None


class Batches:
    """Endless index batches: every view once per round, in a new order each round."""

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        self.count, self.size, self.generator = count, min(size, count), generator
        self.pool = torch.empty(0, dtype=torch.long)

    def __next__(self) -> torch.Tensor:
        if len(self.pool) < self.size:
            self.pool = torch.cat([self.pool, torch.randperm(self.count, generator=self.generator)])
        batch, self.pool = self.pool[: self.size], self.pool[self.size :]
        return batch

    def state(self) -> dict[str, torch.Tensor]:
        return {"pool": self.pool.clone(), "generator": self.generator.get_state()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        self.pool = state["pool"].cpu()
        self.generator.set_state(state["generator"].cpu())


def optimize(
    run: Run,
    stage: str,
    step: Callable[[float], torch.Tensor],
    state: Callable[[], dict[str, Any]],
    steps: int,
    seconds: float = math.inf,
    first: int = 0,
) -> int:
    """Call ``step(t)`` (t from 0 to 1, returns the loss) until ``steps`` are done, ``seconds`` are over, or the user
    stops. Returns the number of steps. ``state()`` is what a checkpoint needs; ``first``: steps that were done
    before."""

    def keep(done: int) -> None:
        run.checkpoint.save({"done": done, "losses": run.losses, "errors": run.errors, **state()}, run.stop.requested)

    began = time.perf_counter()
    for i in range(first, steps):
        clock = max(i / steps, (time.perf_counter() - began) / seconds)
        t, run.stop.requested = run.group.agree(clock, run.stop.requested)
        if t >= 1 or run.stop.requested:
            if run.stop.requested:
                keep(i)
            return i
        if run.checkpoint.due():
            keep(i)
        loss = float(step(t))
        if not math.isfinite(loss):
            raise FloatingPointError(f"{stage}: the loss is not finite at step {i}")
        run.losses.append((stage, loss))
        run.progress.update(max((i + 1) / steps, t), loss)
        try:
            if run.callback:
                run.callback(stage, i)
        except KeyboardInterrupt:
            run.stop.requested = True
    return steps


def cosine(t: float, first: float, last: float) -> float:
    """A rate that falls from ``first`` to ``last`` along half a cosine as t goes from 0 to 1."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * min(t, 1.0)))
