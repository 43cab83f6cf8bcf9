"""What the stages of a reconstruction share, and what a stage is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diffrast.torch as dr

from ..fitting.appearance import Textured
from ..fitting.fit import Rates
from ..fitting.geometry import Shape
from ..fitting.loop import Run
from ..fitting.targets import Targets, make_targets
from ..photos.calibration import Calibration
from ..photos.data import View
from .options import DEFAULT_STEPS, Options


@dataclass(frozen=True)
class Stage:
    """A step of the work: ``run(state)`` reads what earlier stages left in the state, and leaves its own.

    ``work``: its part of the time, for the progress bar. ``share``: its part of the steps and of the time limit, for a
    stage that optimizes. ``again``: a resumed run does this stage again, because nothing of it is in the checkpoint.
    ``alone``: of several processes the first one does it, and hands shape, model and metrics to the others."""

    name: str
    run: Callable[[State], None]
    work: float
    share: float = 0.0
    again: bool = False
    alone: bool = False


@dataclass
class State:
    """Everything that a run knows; a stage is a function over it, and one can be swapped for another.

    From ``read``: ``views`` with masks, ``held`` (indices of those kept out), ``used`` (the others), ``mask_source``,
    the object's ``box`` (float64 ``[2, 3]``), ``faces`` and ``texture_size`` to aim at, and ``refined``, the rate of
    each part of the cameras' calibration that is refined; ``calibration`` is what came of it. ``shape`` (vertex
    colours) until
    ``unwrap``,
    ``model`` (texture) from there on; ``metrics`` from ``write``. ``notes`` are sentences for the report about what is
    wrong,
    ``facts`` those about what there is, by name, and ``findings`` about what was found out;
    ``factor``: what the photographs were reduced by; ``overlay``: a JPEG of
    masks and box over the photographs."""

    dataset: Path
    out: Path
    options: Options
    run: Run
    device: torch.device
    stages: Sequence[Stage]
    ctx: dr.RasterizeContext = field(default_factory=dr.RasterizeContext)
    views: list[View] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    used: list[View] = field(default_factory=list)
    mask_source: str = ""
    box: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))
    faces: int = 0
    texture_size: int = 0
    refined: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    shape: Shape | None = None
    model: Textured | None = None
    factor: int = 1
    facts: dict[str, str] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    overlay: bytes = b""
    notes: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    _targets: tuple[int, Targets] | None = None

    def targets(self, level: int) -> Targets:
        """The views that are used, cropped to the object; ``level`` halves the resolution. All share one calibration,
        so that what one stage finds out about the cameras reaches the next."""
        if self._targets is None or self._targets[0] != level:
            self._targets = level, make_targets(self.used, self.box, level, self.device, self.calibration)
            self.calibration = self._targets[1].calibration
        return self._targets[1]

    def rates(self, rates: Rates) -> Rates:
        """Rates with what the options say about them."""
        refined = {n: self.refined[n] * factor for n, factor in rates.calibrate.items() if n in self.refined}
        plain = {"smoothness": 0.0} if self.options.baseline == "adam-vertices" else {}
        return replace(rates, batch=self.options.batch, calibrate=refined, **plain)

    def budget(self, stage: str) -> dict[str, Any]:
        """What a stage may use of the steps, and of the seconds that are left when it starts."""
        shares = {s.name: s.share for s in self.stages if s.share}
        share, total = shares[stage], sum(shares.values())
        limit = self.options.time_limit
        steps = max(1, round((self.options.steps or DEFAULT_STEPS) * share / total))
        if limit is None:
            return {"steps": steps}
        names = list(shares)
        later = sum(shares[n] for n in names[names.index(stage) :])
        # Writing the outputs (pictures of all views, the film) and unwrapping are not optimization: keep time for them.
        reserve = min(0.25 * limit, 14.0 * max(1.0, len(self.views) / 40)) + (
            0.0 if stage == names[-1] else min(0.05 * limit, 8.0)
        )
        left = limit - self.run.progress.elapsed - reserve
        return {"steps": steps, "seconds": max(left * share / later, 1e-3)}
