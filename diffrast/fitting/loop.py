"""The optimization loop that every stage shares: batches, the budget of steps and seconds, and stopping."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from tqdm import tqdm

from .checkpoint import Checkpoint
from .distributed import Group


class Stop:
    """Ctrl-C (or SIGTERM) as a request: inside the `with` block the first one sets `requested`, the second one
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
    """One bar over all stages; `weights` are the shares of the work that each is expected to take."""

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
    """What the stages of a job share.

    `callback(stage, step)` is called after each step; a `KeyboardInterrupt` from it counts as Ctrl-C. `losses` collects
    `(stage, loss)` of every step, `errors` the mean squared difference of colour beside it. `checkpoint` keeps the work
    on disk (None: nothing does); `group`: the processes that share the work; `viewer` is told of each step: an object
    with `step` and `attach` as `diffrast.Viewer` has them."""

    progress: Progress
    stop: Stop
    generator: torch.Generator
    checkpoint: Checkpoint | None = None
    callback: Callable[[str, int], None] | None = None
    losses: list[tuple[str, float]] = field(default_factory=list)
    errors: list[tuple[str, float]] = field(default_factory=list)
    group: Group = field(default_factory=Group)
    viewer: Any = None

    @property
    def stage(self) -> str:
        """The name of the stage at hand."""
        return self.progress.stage

    def aside(self, generator: torch.Generator | None = None) -> Run:
        """For work that is done again when a run is resumed: what it records and where it stands is not kept."""
        return replace(self, checkpoint=None, losses=[], errors=[], generator=generator or self.generator)

    def save(self, done: int, kept: Mapping[str, Any]) -> None:
        """Write a checkpoint after `done` steps of the stage; see `optimize` for `kept`."""
        if self.checkpoint:
            own = {"done": done, "losses": self.losses, "errors": self.errors, "generator": self.generator.get_state()}
            kept = {n: v.detach() if isinstance(v, torch.Tensor) else v.state_dict() for n, v in kept.items()}
            self.checkpoint.save({**own, "kept": kept}, self.stop.requested)

    @torch.no_grad()
    def resume(self, kept: Mapping[str, Any]) -> int:
        """The steps that were done of this stage before, 0 unless a checkpoint goes on with it; fills `kept`."""
        before = self.checkpoint.progress() if self.checkpoint else None
        if before is None:
            return 0
        for name, value in kept.items():
            was = before["kept"][name]
            value.copy_(was) if isinstance(value, torch.Tensor) else value.load_state_dict(was)
        self.losses[:], self.errors[:] = before["losses"], before["errors"]
        self.generator.set_state(before["generator"].cpu())
        return before["done"]


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

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"pool": self.pool.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.pool = state["pool"].cpu()


def optimize(
    run: Run, step: Callable[[float], torch.Tensor], kept: Mapping[str, Any], steps: int, seconds: float = math.inf
) -> None:
    """Call `step(t)` (t from 0 to 1, returns the loss) until `steps` are done, `seconds` are over, or the user stops.

    `kept`: what `step` changes, by name, so that a resumed run goes on where this one stopped: tensors, and whatever
    has `state_dict` and `load_state_dict` (optimizers, modules, `Batches`).
    """
    began = time.perf_counter()
    for i in range(run.resume(kept), steps):
        clock = max(i / steps, (time.perf_counter() - began) / seconds)
        t, run.stop.requested = run.group.agree(clock, run.stop.requested)
        if run.stop.requested or (t < 1 and run.checkpoint and run.checkpoint.due()):
            run.save(i, kept)
        if t >= 1 or run.stop.requested:
            return
        loss = float(step(t))
        if not math.isfinite(loss):
            raise FloatingPointError(f"{run.stage}: the loss is not finite at step {i}")
        run.losses.append((run.stage, loss))
        run.progress.update(max((i + 1) / steps, t), loss)
        try:
            if run.callback:
                run.callback(run.stage, i)
        except KeyboardInterrupt:
            run.stop.requested = True


def cosine(t: float, first: float, last: float) -> float:
    """A learning rate that falls from `first` to `last` along half a cosine as t goes from 0 to 1."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * min(t, 1.0)))


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, t: float, last: float = 0.05) -> None:
    """One step on the gradients of `loss`: each group's learning rate falls from its "rate" to the share `last` of it
    as t goes from 0 to 1."""
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = cosine(t, group["rate"], last * group["rate"])
    optimizer.step()
