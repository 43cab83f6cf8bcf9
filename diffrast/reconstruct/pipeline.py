"""Posed photographs in, textured mesh out: the stages in order, and going on with a run that was interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ..backends.devices import device_of
from ..fitting.appearance import Textured
from ..fitting.checkpoint import NAME as CHECKPOINT
from ..fitting.checkpoint import Checkpoint
from ..fitting.distributed import Group, joined
from ..fitting.geometry import Shape
from ..fitting.loop import Progress, Run, Stop
from ..photos.calibration import Calibration
from .job import Job, Made, Stage
from .options import Options, check, key_of
from .output import claim
from .stages import STAGES, stages_for

KINDS = {"shape": Shape, "model": Textured, "calibration": Calibration}  # what a checkpoint holds


def reconstruct(
    dataset: str | os.PathLike,
    out: str | os.PathLike,
    options: Options | None = None,
    callback: Callable[[str, int], None] | None = None,
    viewer: Any = None,
    stages: Sequence[Stage] | None = None,
) -> dict[str, Any]:
    """Reconstruct `dataset` and write `mesh.glb`, a turntable film, `report.html` and `metrics.json` to `out`.

    Returns the contents of `metrics.json`. `callback(stage, step)` runs after each step; a `KeyboardInterrupt`
    from it, like Ctrl-C, ends the optimization, and what there is is written, `checkpoint.pt` too: with
    `resume=True` and the same options a run that was stopped, or killed, goes on to the result that it would have
    had. Without `time_limit` the result repeats from run to run on the same machine; where it cuts stages short, the
    number of steps depends on the machine's speed. Started by `torchrun`, several processes share the views of each
    step; the first one writes, and all return the same.
    `viewer` (a `diffrast.Viewer`) shows the photographs and, while it takes shape, the mesh; it changes nothing.
    `stages`: what is done, in order (None: what the options ask for); swap a stage for one of your own with
    `with_stage`.

    Raises `ValueError` for input that cannot be used, `OSError` that names the file for one that cannot be written.
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
            metrics = run_stages(Job(dataset, out, options, run, device, stages)).get("metrics", {})
            if not stop.requested:
                checkpoint.remove()
            return metrics
        finally:
            progress.close()


def run_stages(job: Job) -> dict[str, Any]:
    """What all stages made, by name; a resumed run does not repeat those that it has behind it."""
    made: dict[str, Any] = {"job": job, "notes": [], "findings": {}}
    names, checkpoint = [stage.name for stage in job.stages], job.run.checkpoint
    for stage in job.stages:
        if checkpoint and checkpoint.passed(stage.name, names) and not stage.again:
            continue
        job.run.progress.begin(stage.name)
        needs = list(signature(stage.run).parameters)
        if checkpoint:
            made |= checkpoint.begin(stage.name, {n: made[n] for n in KINDS if n in needs and n in made}, KINDS)
        missing = [n for n in needs if n not in made]
        if missing:
            raise ValueError(f"stage {stage.name!r} needs {missing[0]!r}, which no stage before it made")
        new = _run(stage, {n: made[n] for n in needs}, job.run)
        notes, findings = [*made["notes"], *new.get("notes", [])], made["findings"] | new.get("findings", {})
        made |= {**new, "notes": notes, "findings": findings}
    return made


def _run(stage: Stage, needs: Mapping[str, Any], run: Run) -> Made:
    """What the stage makes. Where it is done alone, the first process does it as if there were no other, and hands it
    on."""
    if not stage.alone:
        return stage.run(**needs) or {}
    group, made = run.group, None
    if group.first:
        run.group = Group()
        made = stage.run(**needs)
        run.group = group
    made, run.stop.requested = group.share((made, run.stop.requested))
    return made or {}


def with_stage(name: str, run: Callable[..., Made | None], stages: Sequence[Stage] = STAGES) -> tuple[Stage, ...]:
    """`stages` with the function of one of them replaced. Raises `ValueError` if there is none of that name."""
    if name not in [stage.name for stage in stages]:
        raise ValueError(f"there is no stage {name!r}; the stages are {', '.join(s.name for s in stages)}")
    return tuple(replace(stage, run=run) if stage.name == name else stage for stage in stages)
