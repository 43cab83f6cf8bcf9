"""The stages from photographs to a textured mesh: functions that take what they need and return what they made."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from ..fitting.appearance import Textured
from ..fitting.appearance import unwrap as cut_charts
from ..fitting.coverage import count_views
from ..fitting.descent import Descent, fit
from ..fitting.exposure import equal_exposures
from ..fitting.geometry import Shape
from ..fitting.material import fit_material, start_material
from ..fitting.targets import texture_side
from ..io.atomic import write_bytes
from ..photos.agreement import without_blind
from ..photos.calibration import EVERYTHING, POSES, Calibration, correct_cameras
from ..photos.data import kept_out, load
from ..photos.views import View
from .cameras import gather, locate_held_out, widened
from .hull import bounds
from .job import Job, Made, Photos, Stage
from .options import Options
from .orient import undo_turns
from .output import write_outputs
from .preflight import NAME as PREFLIGHT
from .preflight import preflight as look_over
from .repair import tidy, without_cuts
from .start import start, start_faces

Model = TypeVar("Model", Shape, Textured)
# Smoothness once the shape is about right: with more, corners are rounded off; with a quarter, the texture was smeared.
FINE = 2.0


def read(job: Job) -> Made:
    """The photographs with their masks, which of them are kept out, and the sizes of mesh and texture that fit them."""
    options = job.options
    found = load(job.dataset, options.masks, options.resolution, options.holdout == "test")
    views, blind = without_blind(undo_turns(found.views))
    held = kept_out(views, options.holdout)
    used = [v for i, v in enumerate(views) if i not in held]
    if job.run.viewer:
        job.run.viewer.show(views=used)
    # What a camera took has no alpha. Images that were rendered have it, and their calibration and exposure are exact.
    taken = found.source != "alpha"
    rates = {"shift": (options.refine, 0.03), "gain": (options.exposure, 0.01)}
    refined = {name: rate for name, (asked, rate) in rates.items() if (taken if asked is None else asked)}
    faces, texture_size = sizes(used, options)
    photos = Photos(views, held, found.source, found.factor, faces, texture_size, refined)
    return {"photos": photos, "notes": [*found.left_out, *blind]}


def cameras(job: Job, photos: Photos) -> Made:
    """Poses that agree with each other, where they are to be refined, and the object's box."""
    if job.options.refine_cameras:
        found = iter(gather(job.ctx, job.run, photos.used, job.device))
        views = [v if i in photos.held else next(found) for i, v in enumerate(photos.views)]
        photos = replace(photos, views=views, refined=photos.refined | {"turn": 2e-3, "move": 2e-3, "focal": 3e-3})
    box = bounds(_carving(job, photos))
    calibration = Calibration.none(len(photos.used), torch.from_numpy(box), job.device)
    return {"photos": replace(photos, box=box), "calibration": calibration}


def preflight(job: Job, photos: Photos, notes: list[str]) -> Made:
    """Says what was found and what is assumed, warns of what is odd, and writes `preflight.jpg`."""
    found = look_over(photos.views, photos.held, photos.box, photos.source, photos.factor)
    for name, fact in found.facts.items():
        job.run.progress.say(f"{name:<9} {fact}")
    for sentence in (*notes, *found.warnings):
        logging.getLogger("diffrast").warning("%s", sentence)
    if not (job.out / "metrics.json").exists():  # never replace a part of an earlier run before this one is done
        write_bytes(job.out / PREFLIGHT, found.overlay)
    return {"preflight": found, "notes": found.warnings}


def hull(job: Job, photos: Photos) -> Made:
    """A shape to start from: the visual hull, or what the option `init` says."""
    shape = start(job, _carving(job, photos), photos.box)
    shape, notes = _tidied(job, photos, shape, start_faces(photos.faces))
    return {"shape": shape, "notes": notes}


def coarse_shape(job: Job, photos: Photos, shape: Shape, calibration: Calibration) -> Made:
    """Shape and vertex colours at half the resolution."""
    descent = Descent(vertices_lr=1.5e-2, colors_lr=0.03, cameras_lr=POSES)
    return {"shape": _fit(job, photos, shape, calibration, 1, descent), "calibration": calibration}


def remesh(job: Job, photos: Photos, shape: Shape) -> Made:
    """New triangles for the fine stage; by one process, because rounding decides which edges collapse."""
    if job.options.baseline == "no-remeshing":
        return {"shape": shape}
    shape, notes = _tidied(job, photos, shape, photos.faces)
    return {"shape": shape, "notes": notes}


def fine_shape(job: Job, photos: Photos, shape: Shape, calibration: Calibration) -> Made:
    """The same at full resolution on a finer mesh."""
    descent = Descent(vertices_lr=1e-2, colors_lr=0.03, smoothness=FINE, cameras_lr=EVERYTHING)
    return {"shape": _fit(job, photos, shape, calibration, 0, descent), "calibration": calibration}


def unwrap(job: Job, photos: Photos, shape: Shape) -> Made:
    """Charts, and a texture that starts with the vertex colours."""
    shape, notes = _tidied(job, photos, shape, photos.faces, even=False)
    return {"model": cut_charts(job.ctx, shape, photos.texture_size), "notes": notes}


def texture(job: Job, photos: Photos, model: Textured, calibration: Calibration) -> Made:
    """Texture and shape together."""
    descent = Descent(
        vertices_lr=6e-3, colors_lr=0.02, smoothness=FINE, squared=True, means=True, cameras_lr=EVERYTHING
    )
    fitted = _fit(job, photos, model, calibration, 0, descent)
    fitted = replace(fitted, vertices=without_cuts(fitted.vertices, model.vertices, model.faces))
    fitted, notes = count_views(job.ctx, fitted, photos.targets(0, calibration))
    return {"model": fitted, "calibration": calibration, "notes": notes}


def material(job: Job, photos: Photos, model: Textured, calibration: Calibration) -> Made:
    """What the texture shows taken apart into material and light."""
    found, factor = fit_material(
        job.ctx,
        job.run,
        start_material(job.ctx, model),
        photos.targets(0, calibration),
        bumps=job.options.normal_map,
        **job.budget(photos),
    )
    light = (
        "its mean radiance is 1 by convention, or less where the albedo would be too bright; albedo and light were "
        f"scaled by {factor:.2f} and {1 / factor:.2f} for that"
    )
    return {"model": found, "findings": {"light": light}}


def correct(job: Job, photos: Photos, model: Textured, calibration: Calibration) -> Made:
    """What was found out about cameras and exposures goes into the views; those that were kept out are located by the
    model."""
    held, box = photos.held, photos.box
    views = correct_cameras(photos.views, held, calibration)
    views = locate_held_out(job.ctx, model, views, held, photos.refined, box)
    if "gain" not in photos.refined:
        return {"photos": replace(photos, views=views)}
    views, finding = equal_exposures(job.ctx, model, views, held, calibration.gain, box)
    return {"photos": replace(photos, views=views), "findings": {"exposure": finding}}


STAGES = (
    Stage("read", read, work=2, again=True),
    Stage("cameras", cameras, work=2, again=True),
    Stage("preflight", preflight, work=1, again=True, alone=True),
    Stage("hull", hull, work=3, alone=True),
    Stage("coarse shape", coarse_shape, work=20, share=0.25),
    Stage("remesh", remesh, work=3, alone=True),
    Stage("fine shape", fine_shape, work=28, share=0.35),
    Stage("unwrap", unwrap, work=4, alone=True),
    Stage("texture", texture, work=32, share=0.40),
    Stage("correct", correct, work=1, again=True),
    Stage("write", write_outputs, work=8, again=True, alone=True),
)


def stages_for(options: Options) -> tuple[Stage, ...]:
    """The stages that the options ask for."""
    if not options.pbr:
        return STAGES
    return (*STAGES[:-2], Stage("material", material, work=20, share=0.35, alone=True), *STAGES[-2:])


def sizes(views: list[View], options: Options) -> tuple[int, int]:
    """Faces of the fine mesh, about two pixels of the object each, and the texture's side, about two texels a pixel."""
    pixels = float(np.mean([int((v.load_mask() > 0.5).sum()) for v in views]))
    faces = min(options.faces or int(max(pixels / 2, 2000)), options.max_faces)
    return faces, options.texture or texture_side(views)


def _carving(job: Job, photos: Photos) -> list[View]:
    """The views to carve with: masks of cameras that are yet to be refined must not carve too much."""
    return [widened(v, 0.03) for v in photos.used] if job.options.refine_cameras else photos.used


def _tidied(job: Job, photos: Photos, shape: Shape, faces: int, even: bool = True) -> tuple[Shape, list[str]]:
    """`tidy`, whose notes say at which stage."""
    shape, notes = tidy(job.ctx, photos.used, photos.box, shape, faces, even)
    return shape, [f"{job.run.stage}: {note}" for note in notes]


def _fit(job: Job, photos: Photos, model: Model, calibration: Calibration, level: int, descent: Descent) -> Model:
    """`fit`, as the options say; what they refine of the calibration changes in place."""
    refined = {n: photos.refined[n] * factor for n, factor in descent.cameras_lr.items() if n in photos.refined}
    plain = {"smoothness": 0.0} if job.options.baseline == "adam-vertices" else {}
    descent = replace(descent, batch=job.options.batch, cameras_lr=refined, **plain)
    return fit(job.ctx, job.run, model, photos.targets(level, calibration), descent, **job.budget(photos))
