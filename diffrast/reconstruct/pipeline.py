"""Posed photographs in, textured mesh out: the stages in order, and what is written at the end."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

import diffrast
import diffrast.torch as dr

from ..scene import Mesh, save_mesh
from ..scene.files import write_text
from ..scene.image import srgb_to_linear
from ..scene.passes import clip_matrices, to_clip
from ..scene.remesh import edge_for_faces, isotropic, smooth
from .appearance import Textured, fit_texture, unwrap
from .checkpoint import NAME as CHECKPOINT
from .checkpoint import Checkpoint
from .data import View, held_out, read_views
from .fit import Rates
from .geometry import Shape, fit_shape, remesh
from .hull import bounds, visual_hull
from .loop import Progress, Run, Stop
from .masks import add_masks
from .metrics import DEFINITIONS, evaluate, mean_figures
from .orient import shift_cameras, undo_turns
from .report import write_html
from .targets import make_targets, texture_side
from .turntable import film_frames, write_film

OUTPUTS = ("mesh.glb", "turntable.mp4", "turntable.gif", "report.html", "metrics.json")

# The stages that optimize, with their share of the steps and of the time limit.
STAGES = {"coarse shape": 0.25, "fine shape": 0.35, "texture": 0.40}

RATES = {
    "coarse shape": Rates(move=1.5e-2, paint=0.03),
    "fine shape": Rates(move=1e-2, paint=0.03),
    "texture": Rates(move=2e-3, paint=0.02, squared=True),
}


@dataclass(frozen=True)
class Options:
    """How to reconstruct. ``None`` means: chosen from the data (faces, texture) or without limit (time); ``refine``
    fits each view's principal point, by default where there is no alpha, that is for real photographs; ``resume``
    goes on with an interrupted run in the output folder; ``checkpoint``: seconds between its saved states."""

    holdout: int = 0
    steps: int | None = None
    time_limit: float | None = None
    seed: int = 0
    masks: str | None = None
    device: str = "cpu"
    overwrite: bool = False
    resume: bool = False
    checkpoint: float = 30.0
    faces: int | None = None
    texture: int | None = None
    batch: int = 4
    refine: bool | None = None
    frames: int = 60
    progress: bool = True


DEFAULT_STEPS = 1200


def reconstruct(dataset: str | os.PathLike, out: str | os.PathLike, options: Options | None = None,
                callback: Callable[[str, int], None] | None = None, viewer: Any = None) -> dict:  # fmt: skip
    """Reconstruct ``dataset`` and write ``mesh.glb``, a turntable film, ``report.html`` and ``metrics.json`` to ``out``.

    Returns the contents of ``metrics.json``. ``callback(stage, step)`` runs after each step; a ``KeyboardInterrupt``
    from it, like Ctrl-C, ends the optimization, and what there is is written, ``checkpoint.pt`` too: with
    ``resume=True`` and the same options a run that was stopped, or killed, goes on to the result that it would have had.
    Without ``time_limit`` the result repeats from run to run on the same machine; with it the number of steps depends on
    the machine's speed.
    ``viewer`` (a `diffrast.Viewer`) shows the photographs and, while it takes shape, the mesh; it changes nothing.

    Raises ``ValueError`` for input that cannot be used, ``OSError`` that names the file for one that cannot be written.
    """
    options = options or Options()
    out = Path(out)
    _check(options)
    _claim(out, options)
    device = _device(options.device)
    checkpoint = Checkpoint(
        out / CHECKPOINT, _key(Path(dataset), options), options.checkpoint, options.resume, device
    )
    weights = {
        "read": 2.0,
        "hull": 3.0,
        **{k: 80 * w for k, w in STAGES.items()},
        "unwrap": 4.0,
        "write": 8.0,
    }
    progress = Progress(weights, options.progress)
    try:
        with Stop() as stop:
            run = Run(
                progress,
                stop,
                torch.Generator().manual_seed(options.seed),
                checkpoint,
                callback,
                viewer=viewer,
            )
            return _reconstruct(Path(dataset), out, options, run, device)
    finally:
        progress.close()


def _reconstruct(dataset: Path, out: Path, options: Options, run: Run, device: torch.device) -> dict:
    run.progress.begin("read")
    views = read_views(dataset)
    held = held_out(len(views), options.holdout)
    mask_source = add_masks(views, options.masks)
    views = undo_turns(views)
    used = [v for i, v in enumerate(views) if i not in held]
    ctx = dr.RasterizeContext()
    if run.viewer:
        run.viewer.show(views=used)

    run.progress.begin("hull")
    box = bounds(used)
    faces, texture_size = _sizes(used, options)

    share = _Shares(options, run)
    align = 0.03 if (options.refine if options.refine is not None else mask_source != "alpha") else 0.0
    rates = {
        name: replace(r, batch=options.batch, align=align * (name != "coarse shape"))
        for name, r in RATES.items()
    }

    kept, stages = run.checkpoint, list(STAGES)
    shape: Shape | None = None

    def made() -> Shape:
        """The shape of the stage before; a run that goes on behind that stage does not ask for it."""
        assert shape is not None
        return shape

    if not kept.passed("coarse shape", stages):
        shape = kept.begin("coarse shape", Shape, lambda: _start(ctx, used, box, faces // 2, device))
        run.progress.begin("coarse shape")
        targets = make_targets(used, box, 1, device)
        shape = fit_shape(
            ctx, run, "coarse shape", shape, targets, rates["coarse shape"], **share("coarse shape")
        )
    run.progress.begin("fine shape")
    targets = make_targets(used, box, 0, device)
    if not kept.passed("fine shape", stages):
        shape = kept.begin("fine shape", Shape, lambda: remesh(made(), faces))
        shape = fit_shape(ctx, run, "fine shape", shape, targets, rates["fine shape"], **share("fine shape"))
    run.progress.begin("unwrap")
    model = kept.begin("texture", Textured, lambda: unwrap(ctx, made(), texture_size))
    run.progress.begin("texture")
    model = fit_texture(ctx, run, "texture", model, targets, rates["texture"], **share("texture"))
    views = shift_cameras(views, held, targets.offsets.cpu())
    run.progress.begin("write")
    metrics = _write(ctx, run, out, dataset, options, views, held, mask_source, model, box)
    if not run.stop.requested:
        kept.remove()
    return metrics


class _Shares:
    """What each stage may use of the steps, and of the seconds that are left when it starts."""

    def __init__(self, options: Options, run: Run):
        self.options, self.run = options, run

    def __call__(self, stage: str) -> dict:
        limit, steps = self.options.time_limit, self.options.steps
        if limit is None:
            return {"steps": max(1, round((steps or DEFAULT_STEPS) * STAGES[stage]))}
        names = list(STAGES)
        later = sum(STAGES[n] for n in names[names.index(stage) :])
        # Writing the outputs (pictures of all views, the film) and unwrapping are not optimization: keep time for them.
        reserve = min(0.25 * limit, 14.0) + (0.0 if stage == "texture" else min(0.05 * limit, 8.0))
        left = limit - self.run.progress.elapsed - reserve
        seconds = max(left * STAGES[stage] / later, 1e-3)
        return {
            "steps": 1_000_000 if steps is None else max(1, round(steps * STAGES[stage])),
            "seconds": seconds,
        }


def _check(options: Options) -> None:
    for name, low in (
        ("steps", 1),
        ("time_limit", 1e-9),
        ("faces", 100),
        ("texture", 16),
        ("batch", 1),
        ("frames", 0),
        ("checkpoint", 0),
    ):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value >= low):
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low:g}; got {value}")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device must be cpu or cuda; got {name}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no CUDA device here")
    return device


def _key(dataset: Path, options: Options) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes, besides the photographs themselves."""
    names = ("holdout", "steps", "time_limit", "seed", "masks", "faces", "texture", "batch", "refine")
    values = {"data set": dataset.resolve().name, "version of diffrast": diffrast.__version__}
    return values | {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}


def _claim(out: Path, options: Options) -> None:
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


def _sizes(views: list[View], options: Options) -> tuple[int, int]:
    """Faces of the fine mesh, about two pixels of the object each, and the texture's side, about two texels a pixel."""
    pixels = float(np.mean([int((v.alpha > 0.5).sum()) for v in views if v.alpha is not None]))
    faces = options.faces or int(np.clip(pixels / 2, 2000, 40000))
    return faces, options.texture or texture_side(views)


def _start(ctx, views: list[View], box: np.ndarray, faces: int, device: torch.device) -> Shape:
    """The visual hull as an even mesh. Where masks contradict each other, so that their common inside leaves much of
    them empty, one mask after the other is allowed to be wrong about a point."""
    covered = 0.0
    for spare in range(len(views) // 6 + 1):
        try:
            rough = visual_hull(views, box, 64, spare)
        except ValueError:  # empty
            continue
        covered = float(np.mean([_covered(ctx, v, *rough, box, device) for v in views]))
        if covered >= 0.95:
            break
    else:
        raise ValueError(
            f"camera poses and masks do not fit together: the shape that they have in common covers only "
            f"{covered:.0%} of the masks"
        )
    v, f = visual_hull(views, box, 128, spare)
    v = smooth(v, f, 5)
    v, f = isotropic(v, f, edge_for_faces(v, f, faces))
    vertices = torch.from_numpy(v.astype(np.float32)).to(device)
    return Shape(vertices, torch.from_numpy(f.astype(np.int32)).to(device), torch.full_like(vertices, 0.5))


def _covered(ctx, view: View, v: np.ndarray, f: np.ndarray, box: np.ndarray, device: torch.device) -> float:
    """The share of a view's mask that a mesh covers, at low resolution."""
    assert view.alpha is not None
    size = (128, 128)
    clip = to_clip(
        torch.from_numpy(v).float(), clip_matrices([view.camera.resized(*size)], torch.from_numpy(box))
    )
    rast, _ = dr.rasterize(ctx, clip.to(device), torch.from_numpy(f.astype(np.int32)).to(device), size)
    mask = torch.nn.functional.interpolate(view.alpha[None, None], size, mode="area")[0, 0] > 0.5
    return float((mask & (rast[0, ..., 3].cpu() > 0)).sum() / mask.sum().clamp_min(1))


def _write(ctx, run: Run, out: Path, dataset: Path, options: Options, views: list[View], held: list[int],
           mask_source: str, model: Textured, box: np.ndarray) -> dict:  # fmt: skip
    figures, pictures = evaluate(
        ctx, model, views, clip_matrices([v.camera for v in views], torch.from_numpy(box))
    )
    used = [f for i, f in enumerate(figures) if i not in held]
    unheld = [figures[i] for i in held]
    for i, f in enumerate(figures):
        f["held_out"] = i in held
    mesh = Mesh(model.vertices[model.source], model.uv_faces, model.uv, srgb_to_linear(model.texture))
    save_mesh(out / "mesh.glb", mesh)
    film = None
    if options.frames:
        film = write_film(out, film_frames(ctx, model, views, options.frames, FILM_SIZE))
    v, f = len(model.vertices), len(model.faces)
    edges = len(
        np.unique(np.sort(model.faces.cpu().numpy()[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    )
    metrics = {
        "dataset": Path(dataset).resolve().name,
        "interrupted": run.stop.requested,
        "held_out": {"count": len(held), **mean_figures(unheld)},
        "used": {"count": len(used), **mean_figures(used)},
        "views": figures,
        "definitions": DEFINITIONS,
        "masks": mask_source,
        "mesh": {"vertices": v, "faces": f, "euler_number": v - edges + f, "texture": model.texture.shape[0]},
        "options": {
            k: getattr(options, k) for k in ("holdout", "steps", "time_limit", "seed", "device", "batch")
        },
        "steps": {stage: sum(name == stage for name, _ in run.losses) for stage in STAGES},
        "seconds": {k: round(s, 2) for k, s in run.progress.seconds.items()},
        "versions": {
            "diffrast": diffrast.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
    }
    write_text(out / "report.html", write_html(metrics, views, pictures, held, film, run.losses))
    run.progress.finish()
    metrics["seconds"] = {k: round(s, 2) for k, s in run.progress.seconds.items()}
    metrics["seconds"]["total"] = round(run.progress.elapsed, 2)
    write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


FILM_SIZE = 400  # pixels of a frame's height
