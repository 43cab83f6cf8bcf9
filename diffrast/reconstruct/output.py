"""What a run leaves in its folder: the mesh, the film, the report and the figures."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import torch

from ..fitting.appearance import Textured
from ..fitting.checkpoint import NAME as CHECKPOINT
from ..fitting.metrics import DEFINITIONS, evaluate, mean_figures, resources
from ..io import save_mesh
from ..io.atomic import write_bytes, write_text
from ..mesh import Mesh
from ..mesh.intersections import self_intersections
from ..photos.views import View
from ..scene.passes import clip_matrices
from . import config
from .config import NAME as CONFIG
from .options import Options
from .preflight import NAME as PREFLIGHT
from .report import view_block, views_to_show, write_html
from .state import State
from .turntable import film_frames, write_film

OUTPUTS = ("mesh.glb", "turntable.mp4", "turntable.gif", "report.html", "metrics.json")  # and PREFLIGHT, CONFIG
FILM_SIZE = 400  # pixels of a frame's height


def claim(out: Path, options: Options) -> None:
    """Make the folder before the work starts, and refuse one that holds another run."""
    there = [name for name in (*OUTPUTS, CHECKPOINT) if (out / name).exists()]
    if there and not (options.overwrite or options.resume):
        unfinished = CHECKPOINT in there
        raise ValueError(
            f"{out} already holds a run ({', '.join(there)}); choose another --out or give "
            + ("--resume to go on with it, or --overwrite" if unfinished else "--overwrite")
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


def write_outputs(state: State) -> None:
    """Every file of `OUTPUTS`; the figures stay in ``state.metrics``."""
    run, out, model, options = state.run, state.out, state.model, state.options
    assert model is not None, "no stage before this one left a model"
    matrices = clip_matrices([v.camera for v in state.views], torch.from_numpy(state.box))
    shown = views_to_show(len(state.views), state.held)
    blocks: dict[int, dict] = {}

    def show(i: int, view: View, picture: torch.Tensor, figures: dict) -> None:
        if i in shown:
            blocks[i] = view_block(view, picture, figures, i in state.held)

    figures = evaluate(state.ctx, model, state.views, matrices, show)
    save_mesh(out / "mesh.glb", model.mesh())
    film = None
    if options.frames:
        film = write_film(out, film_frames(state.ctx, model, state.views, options.frames, FILM_SIZE))
    state.metrics = metrics = _metrics(state, model, figures)
    report = write_html(
        state.ctx,
        model,
        state.views,
        state.held,
        metrics,
        blocks=[blocks[i] for i in shown],
        film=film,
        overlay=state.overlay,
        losses=run.losses,
        errors=run.errors,
        configuration=config.dump(state.dataset, options),
    )
    write_text(out / "report.html", report)
    run.progress.finish()
    metrics["seconds"] = {k: round(s, 2) for k, s in run.progress.seconds.items()}
    metrics["seconds"]["total"] = round(run.progress.elapsed, 2)
    write_bytes(out / PREFLIGHT, state.overlay)
    write_text(out / CONFIG, config.dump(state.dataset, options))
    write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")


def _metrics(state: State, model: Textured, figures: list[dict]) -> dict:
    """What ``metrics.json`` holds; the report shows it."""
    for i, f in enumerate(figures):
        f["held_out"] = i in state.held
    groups = {
        name: [f for f in figures if f["held_out"] == held] for name, held in (("held_out", True), ("used", False))
    }
    quality = Mesh(model.vertices, model.faces).report()
    cuts = self_intersections(model.vertices.cpu().numpy(), model.faces.cpu().numpy())
    steps = {
        stage.name: sum(name == stage.name for name, _ in state.run.losses) for stage in state.stages if stage.share
    }
    return {
        "dataset": state.dataset.resolve().name,
        "interrupted": state.run.stop.requested,
        **{name: {"count": len(group), **mean_figures(group)} for name, group in groups.items()},
        "views": figures,
        "definitions": DEFINITIONS,
        "masks": state.mask_source,
        "notes": state.notes,
        "mesh": {
            "vertices": quality.vertices,
            "faces": quality.faces,
            "parts": quality.components,
            "closed": quality.closed,
            "euler_number": quality.euler,
            "self_intersections": len(cuts),
            "texture": model.texture.shape[0],
        },
        "options": config.values(state.dataset, state.options),
        "preflight": state.facts,
        "findings": state.findings,
        "steps": steps,
        "seconds": {k: round(s, 2) for k, s in state.run.progress.seconds.items()},
        **resources(state.device),
    }
