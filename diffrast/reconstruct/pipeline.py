"""Posed photographs in, textured mesh out: the stages in order, and going on with a run that was interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..fitting.checkpoint import NAME as CHECKPOINT
from ..fitting.checkpoint import Checkpoint
from ..fitting.distributed import Group, joined
from ..fitting.loop import Progress, Run, Stop
from .options import Options, check, device_of, key_of
from .output import claim
from .stages import STAGES, stages_for
from .state import Stage, State

__all__ = ["Options", "reconstruct"]


def reconstruct(
    dataset: str | os.PathLike,
    out: str | os.PathLike,
    options: Options | None = None,
    callback: Callable[[str, int], None] | None = None,
    viewer: Any = None,
    stages: Sequence[Stage] | None = None,
) -> dict:
    """Reconstruct ``dataset`` and write ``mesh.glb``, a turntable film, ``report.html`` and ``metrics.json`` to
    ``out``.

    Returns the contents of ``metrics.json``. ``callback(stage, step)`` runs after each step; a ``KeyboardInterrupt``
    from it, like Ctrl-C, ends the optimization, and what there is is written, ``checkpoint.pt`` too: with
    ``resume=True`` and the same options a run that was stopped, or killed, goes on to the result that it would have
    had. Without ``time_limit`` the result repeats from run to run on the same machine; where it cuts stages short, the
    number of steps depends on the machine's speed. Started by `torchrun`, several processes share the views of each
    step; the first one writes, and all return the same.
    ``viewer`` (a `diffrast.Viewer`) shows the photographs and, while it takes shape, the mesh; it changes nothing.
    ``stages``: what is done, in order (None: what the options ask for); swap a stage for one of your own with
    `with_stage`.

    Raises ``ValueError`` for input that cannot be used, ``OSError`` that names the file for one that cannot be written.
    """
    options = options or Options()
    stages = stages_for(options) if stages is None else stages
    dataset, out = Path(dataset), Path(out)
    check(options)
    with joined(device_of(options.device)) as (group, device), Stop() as stop:
        if group.first:
            claim(out, options)
        checkpoint = Checkpoint(
            out / CHECKPOINT, key_of(dataset, options), options.checkpoint, options.resume, device, group.first
        )
        progress = Progress({stage.name: stage.work for stage in stages}, options.progress and group.first)
        try:
            order = torch.Generator().manual_seed(options.seed)
            run = Run(progress, stop, order, checkpoint, callback, viewer=viewer if group.first else None, group=group)
            state = State(dataset, out, options, run, device, stages)
            _work(state)
            if not stop.requested:
                checkpoint.remove()
            return state.metrics
        finally:
            progress.close()


def _work(state: State) -> None:
    """The stages, but those that a resumed run has behind it."""
    names = [stage.name for stage in state.stages]
    for stage in state.stages:
        if stage.again or not state.run.checkpoint.passed(stage.name, names):
            state.run.progress.begin(stage.name)
            if stage.alone:
                _alone(state, stage)
            else:
                stage.run(state)


def _alone(state: State, stage: Stage) -> None:
    """The first process does the stage, as if there were no other, and hands on what it leaves."""
    run, group = state.run, state.run.group
    if group.first:
        run.group = Group()
        stage.run(state)
        run.group = group
    state.shape, state.model, state.metrics, run.stop.requested = group.share(
        (state.shape, state.model, state.metrics, run.stop.requested)
    )


def with_stage(name: str, run: Callable[[State], None], stages: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """``stages`` with the function of one of them replaced. Raises ``ValueError`` if there is none of that name."""
    if name not in [stage.name for stage in stages]:
        raise ValueError(f"there is no stage {name!r}; the stages are {', '.join(s.name for s in stages)}")
    return tuple(replace(stage, run=run) if stage.name == name else stage for stage in stages)
