"""What a stage of a reconstruction is, and what passes from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

import diffrast.torch as dr

from ..fitting.appearance import Textured
from ..fitting.geometry import Shape
from ..fitting.loop import Run
from ..fitting.targets import Targets, make_targets
from ..photos.calibration import Calibration
from ..photos.views import View
from .options import DEFAULT_STEPS, Options
from .preflight import Preflight


@dataclass(frozen=True, eq=False)
class Photos:
    """The photographs, `views` with masks, and what was read off them.

    `held`: indices of those that are kept out, to judge by; `source`: where masks are from; `factor`: by which the
    photographs were reduced; `faces` and `texture_size`: what mesh and texture are to have; `refined`: the learning
    rate of each part of the cameras' calibration that is refined; `box`: around the object, float64 `[2, 3]`, 0 until
    the cameras agree."""

    views: list[View]
    held: list[int]
    source: str
    factor: int
    faces: int
    texture_size: int
    refined: dict[str, float] = field(default_factory=dict)
    box: np.ndarray = field(default_factory=lambda: np.zeros((2, 3)))
    _targets: dict[int, Targets] = field(default_factory=dict, init=False, repr=False)

    @property
    def used(self) -> list[View]:
        """The views that are not kept out."""
        return [v for i, v in enumerate(self.views) if i not in self.held]

    def targets(self, level: int, calibration: Calibration) -> Targets:
        """The views that are used, cropped to the object; `level` halves the resolution. Those of one level are kept:
        decoding all photographs takes seconds."""
        if level not in self._targets:
            self._targets.clear()
            self._targets[level] = make_targets(self.used, self.box, level, calibration.turn.device, calibration)
        return replace(self._targets[level], calibration=calibration)


class Made(TypedDict, total=False):
    """What a stage made, by name. A later stage whose function has a parameter of that name is given it.

    `shape` has vertex colours, `model`, which comes of it, a texture. `notes` are sentences about what is wrong and
    `findings` those about what was found out, by name: both are gathered from all stages."""

    photos: Photos
    calibration: Calibration
    shape: Shape
    model: Textured
    preflight: Preflight
    metrics: dict[str, Any]
    notes: list[str]
    findings: dict[str, str]


@dataclass(frozen=True)
class Stage:
    """A step of the work: `run` has a parameter for each thing that it needs, by the names in `Made` (and `job`), and
    returns what it made.

    `work`: its part of the time, for the progress bar. `share`: its part of the steps and of the time limit, for a
    stage that optimizes. `again`: a resumed run does this stage again, because nothing of it is in the checkpoint.
    `alone`: of several processes the first one does it, and hands what it made to the others."""

    name: str
    run: Callable[..., Made | None]
    work: float = 1.0
    share: float = 0.0
    again: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Job:
    """What is the same for all stages: what is to be made, where, how and with what."""

    dataset: Path
    out: Path
    options: Options
    run: Run
    device: torch.device
    stages: Sequence[Stage]
    ctx: dr.RasterizeContext = field(default_factory=dr.RasterizeContext)

    def budget(self, photos: Photos) -> dict[str, Any]:
        """`steps` that the stage at hand may do, and `seconds` that it may take of those that are left."""
        shares = {s.name: s.share for s in self.stages if s.share}
        stage, names = self.run.stage, list(shares)
        limit = self.options.time_limit
        steps = max(1, round((self.options.steps or DEFAULT_STEPS) * shares[stage] / sum(shares.values())))
        if limit is None:
            return {"steps": steps}
        later = sum(shares[n] for n in names[names.index(stage) :])
        # Writing the outputs (images of all views, the film) and unwrapping are not optimization: keep time for them.
        reserve = min(0.25 * limit, 14.0 * max(1.0, len(photos.views) / 40)) + (
            0.0 if stage == names[-1] else min(0.05 * limit, 8.0)
        )
        left = limit - self.run.progress.elapsed - reserve
        return {"steps": steps, "seconds": max(left * shares[stage] / later, 1e-3)}
