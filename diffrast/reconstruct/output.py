"""What a run leaves in its folder: the mesh, the film, the report and the figures."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from ..fitting.appearance import Textured
from ..fitting.checkpoint import NAME as CHECKPOINT
from ..fitting.loop import Run
from ..fitting.metrics import DEFINITIONS, evaluate, mean_figures, resources
from ..io import save_mesh
from ..io.atomic import write_bytes, write_text
from ..mesh import Mesh
from ..mesh.intersections import self_intersections
from ..photos.views import View
from ..scene.passes import clip_matrices
from . import config
from .config import NAME as CONFIG
from .job import Job, Made, Photos
from .options import Options
from .preflight import NAME as PREFLIGHT
from .preflight import Preflight
from .report import view_block, views_to_show, write_html
from .turntable import film_frames, write_film

OUTPUTS = ("mesh.glb", "turntable.mp4", "turntable.gif", "report.html", "metrics.json")  # and PREFLIGHT, CONFIG
FILM_SIZE = 400  # pixels of a frame's height


def claim(out: Path, options: Options) -> None:
    """Make the folder before the work starts, and refuse one that holds another run."""
    there = [name for name in (*OUTPUTS, CHECKPOINT) if (out / name).exists()]
    if there and not (options.overwrite or options.resume):
        unfinished = CHECKPOINT in there
        raise ValueError(
            f"{out} already holds a run ({', '.join(there)}); choose another folder or give "
            + ("resume to go on with it, or overwrite" if unfinished else "overwrite")
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {out}: {error.strerror}") from error
    if not os.access(out, os.W_OK):
        raise ValueError(f"cannot write into the folder {out}")
    for path in out.glob(".*.part*"):
        if re.fullmatch(r"\.\w+\.\d+\.part(\.\w+)?", path.name):  # what a killed process was writing (files.py)
            path.unlink(missing_ok=True)


def write_outputs(
    job: Job, photos: Photos, model: Textured, preflight: Preflight, notes: list[str], findings: dict[str, str]
) -> Made:
    """A stage: every file of `OUTPUTS`, and the figures."""
    ctx, run, out, options, views, held = job.ctx, job.run, job.out, job.options, photos.views, photos.held
    matrices = clip_matrices([v.camera for v in views], torch.from_numpy(photos.box))
    shown = views_to_show(len(views), held)
    blocks = {}

    def show(i: int, view: View, image: torch.Tensor, figures: dict[str, Any]) -> None:
        if i in shown:
            blocks[i] = view_block(view, image, figures, i in held)

    figures = evaluate(ctx, model, views, matrices, show)
    save_mesh(out / "mesh.glb", model.mesh())
    film = write_film(out, film_frames(ctx, model, views, options.frames, FILM_SIZE)) if options.frames else None
    said = {"notes": notes, "preflight": preflight.facts, "findings": findings}
    metrics = _metrics(job, photos, model, figures) | said
    report = write_html(
        ctx,
        model,
        views,
        held,
        metrics,
        blocks=[blocks[i] for i in shown],
        film=film,
        overlay=preflight.overlay,
        losses=run.losses,
        errors=run.errors,
        configuration=config.dump(job.dataset, options),
    )
    write_text(out / "report.html", report)
    run.progress.finish()
    metrics["seconds"] = _seconds(run) | {"total": round(run.progress.elapsed, 2)}
    write_bytes(out / PREFLIGHT, preflight.overlay)
    write_text(out / CONFIG, config.dump(job.dataset, options))
    write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return {"metrics": metrics}


def _seconds(run: Run) -> dict[str, float]:
    return {k: round(s, 2) for k, s in run.progress.seconds.items()}


def _metrics(job: Job, photos: Photos, model: Textured, figures: list[dict[str, Any]]) -> dict[str, Any]:
    """What `metrics.json` holds; the report shows it."""
    for i, f in enumerate(figures):
        f["held_out"] = i in photos.held
    groups = {
        name: [f for f in figures if f["held_out"] == held] for name, held in (("held_out", True), ("used", False))
    }
    quality = Mesh(model.vertices, model.faces).report()
    cuts = self_intersections(model.vertices.cpu().numpy(), model.faces.cpu().numpy())
    steps = {stage.name: sum(n == stage.name for n, _ in job.run.losses) for stage in job.stages if stage.share}
    return {
        "dataset": job.dataset.resolve().name,
        "interrupted": job.run.stop.requested,
        **{name: {"count": len(group), **mean_figures(group)} for name, group in groups.items()},
        "views": figures,
        "definitions": DEFINITIONS,
        "masks": photos.source,
        "mesh": {
            "vertices": quality.vertices,
            "faces": quality.faces,
            "parts": quality.components,
            "closed": quality.closed,
            "euler_number": quality.euler,
            "self_intersections": len(cuts),
            "texture": model.texture.shape[0],
        },
        "options": config.values(job.dataset, job.options),
        "steps": steps,
        "seconds": _seconds(job.run),
        **resources(job.device),
    }
