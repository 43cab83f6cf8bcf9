"""The reins of a running optimization: pause, single steps, learning rates, and the losses so far.

Nothing here runs on a thread of its own: the loop calls `Control.step` once per iteration, and only there does a page's
wish take effect. Without wishes nothing is changed, so a run with a viewer is the same as one without.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_POINTS = 2000  # of the loss curve: beyond, every second point goes


@dataclass
class Rate:
    """A learning rate: how to read and how to set it."""

    read: Callable[[], float]
    set: Callable[[float], None]


class Losses:
    """A curve of at most `MAX_POINTS` points; when it is full, every second one goes and from then on fewer are
    taken."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self.generation = 0  # counts the thinnings
        self._every, self._seen = 1, 0

    def add(self, step: int, loss: float) -> None:
        if self._seen % self._every == 0:
            self.points.append((step, loss))
            if len(self.points) >= MAX_POINTS:
                self.points, self._every = self.points[::2], 2 * self._every
                self.generation += 1
        self._seen += 1


class Control:
    """`wake` is the viewer's condition. `pages` says how many pages are open."""

    # A run that was paused by a page that is gone (a closed laptop) must not wait for ever.
    PATIENCE = 60.0

    def __init__(self, wake: threading.Condition, pages: Callable[[], int]):
        self.wake, self.pages = wake, pages
        self.losses = Losses()
        self.iteration = -1
        self.per_second = 0.0
        self.paused = False
        self.running = False  # whether there is a loop at all
        self.rates: dict[str, Rate] = {}
        self._steps = 0
        self._wishes: dict[str, float] = {}
        self._granted: dict[str, float] = {}
        self._closed = False
        self._since = (0.0, 0)

    # --- From the page ------------------------------------------------------------------------------------------------

    def do(self, what: str) -> None:
        """ "pause", "resume", or "step": one more iteration, then pause."""
        with self.wake:
            self.paused = what != "resume"
            self._steps = 1 if what == "step" else 0
            self.wake.notify_all()

    def wish(self, name: str, value: float) -> None:
        with self.wake:
            if name not in self.rates:
                raise ValueError(f"rate: there is no learning rate {name!r:.60}")
            self._wishes[name] = value
            self.wake.notify_all()

    # --- From the loop ------------------------------------------------------------------------------------------------

    def attach(self, optimizer: Any, names: Sequence[str] | None, key: str = "lr") -> None:
        groups = optimizer.param_groups
        if names is not None and len(names) != len(groups):
            raise ValueError(
                f"Viewer.attach(): names must have one name for each of the {len(groups)} parameter groups; "
                f"got {len(names)}"
            )
        for i, group in enumerate(groups):
            name = names[i] if names else group.get("name", f"rate {len(self.rates) + 1}")
            rate = Rate(lambda g=group: float(g.get(key, 1.0)), lambda x, g=group: _set_rate(g, key, x))
            with self.wake:
                self.rates[name] = rate
                if name in self._granted:  # by the optimizer of an earlier stage
                    rate.set(self._granted[name])

    def step(
        self, loss: float | None, until: Callable[[], bool] | None = None, idle: Callable[[], None] | None = None
    ) -> None:
        """Counts an iteration, carries out what the page wished for, and waits here while paused (`until` this says
        True), with a call of `idle` now and then."""
        with self.wake:
            if not self.running:
                self.running = True
                self.wake.notify_all()  # from now on there is something to report regularly
            self.iteration += 1
            if loss is not None:
                self.losses.add(self.iteration, loss)
            self._measure_speed()
            if self._steps:
                self._steps -= 1
            alone = None
            self._grant()
            if self.paused and not self._steps:
                self.wake.notify_all()  # pages hear at once where it stopped
            while self.paused and not self._steps and not self._closed:
                self.wake.wait(0.25)  # in slices, so that Ctrl-C is heard
                if until and until():
                    self.paused = False
                if idle:
                    idle()
                self._grant()
                alone = None if self.pages() else (alone or time.monotonic())
                if alone and time.monotonic() - alone > self.PATIENCE:
                    self.paused = False

    def close(self) -> None:
        with self.wake:
            self._closed = True
            self.wake.notify_all()

    def _grant(self) -> None:
        for name, value in self._wishes.items():
            self.rates[name].set(value)
        self._granted |= self._wishes
        self._wishes.clear()

    def _measure_speed(self) -> None:
        now, (began, first) = time.monotonic(), self._since
        if now - began > 1:
            self.per_second = (self.iteration - first) / (now - began) if began else 0.0
            self._since = (now, self.iteration)


def _set_rate(group: dict, key: str, value: float) -> None:
    if hasattr(group.get(key), "fill_"):  # a tensor, as optimizers with capturable=True have
        group[key].fill_(value)
    else:
        group[key] = value
