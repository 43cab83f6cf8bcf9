"""The stages from photographs to a textured mesh: each a function over the state."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..fitting.appearance import Textured, fit_texture
from ..fitting.appearance import unwrap as cut_charts
from ..fitting.coverage import fill_unseen, views_of_texels
from ..fitting.exposure import equal_exposures
from ..fitting.fit import Rates
from ..fitting.geometry import Shape, fit_shape
from ..fitting.material import Material, fit_material, start_material
from ..fitting.targets import texture_side
from ..io.atomic import write_bytes
from ..photos.agreement import without_blind
from ..photos.calibration import EVERYTHING, POSES, correct_cameras
from ..photos.data import View, kept_out, load
from .cameras import cameras, locate_held_out, outlines
from .options import Options
from .orient import undo_turns
from .output import write_outputs
from .preflight import NAME as PREFLIGHT
from .preflight import preflight as look_over
from .repair import tidy, without_cuts
from .start import start
from .state import Stage, State

T = TypeVar("T")
# Smoothness once the shape is about right: with more, corners are rounded off; with a quarter, the texture was smeared.
FINE = 2.0


def read(state: State) -> None:
    """The photographs with their masks, which of them are kept out, and the sizes of mesh and texture that fit them."""
    options = state.options
    found = load(state.dataset, options.masks, options.resolution, options.holdout == "test")
    state.notes += found.left_out
    state.mask_source = found.source
    state.factor = found.factor
    state.views, blind = without_blind(undo_turns(found.views))
    state.notes += blind
    state.held = kept_out(state.views, options.holdout)
    state.used = [v for i, v in enumerate(state.views) if i not in state.held]
    if state.run.viewer:
        state.run.viewer.show(views=state.used)
    state.faces, state.texture_size = sizes(state.used, options)
    # What a camera took has no alpha. Pictures that were rendered have it, and their calibration and exposure are
    # exact.
    taken = state.mask_source != "alpha"
    state.refined = {"shift": 0.03} if _chosen(options.refine, taken) else {}
    if _chosen(options.exposure, taken):
        state.refined["gain"] = 0.01


def preflight(state: State) -> None:
    """Says what was found and what is assumed, warns of what is odd, and writes `preflight.jpg`."""
    found = look_over(state.views, state.held, state.box, state.mask_source, state.factor)
    state.facts, state.overlay = found.facts, found.overlay
    state.notes += found.warnings
    for name, fact in found.facts.items():
        state.run.progress.say(f"{name:<9} {fact}")
    for sentence in state.notes:
        logging.getLogger("diffrast").warning("%s", sentence)
    if not (state.out / "metrics.json").exists():  # never replace a part of an earlier run before this one is done
        write_bytes(state.out / PREFLIGHT, found.overlay)


def hull(state: State) -> None:
    """A shape to start from: the visual hull, or what ``--init`` says."""
    state.shape = start(state, outlines(state))


def coarse_shape(state: State) -> None:
    """Shape and vertex colours at half the resolution."""
    shape = state.run.checkpoint.begin("coarse shape", Shape, lambda: made(state.shape))
    rates = state.rates(Rates(move=1.5e-2, paint=0.03, calibrate=POSES))
    targets = state.targets(1)
    state.shape = fit_shape(state.ctx, state.run, "coarse shape", shape, targets, rates, **state.budget("coarse shape"))


def remesh(state: State) -> None:
    """New triangles for the fine stage; by one process, because rounding decides which edges collapse."""
    if state.options.baseline != "no-remeshing":
        state.shape = tidy(state, made(state.shape), state.faces)


def fine_shape(state: State) -> None:
    """The same at full resolution on a finer mesh."""
    shape = state.run.checkpoint.begin("fine shape", Shape, lambda: made(state.shape))
    rates = state.rates(Rates(move=1e-2, paint=0.03, smoothness=FINE, calibrate=EVERYTHING))
    targets = state.targets(0)
    state.shape = fit_shape(state.ctx, state.run, "fine shape", shape, targets, rates, **state.budget("fine shape"))


def unwrap(state: State) -> None:
    """Charts, and a texture that starts with the vertex colours."""
    shape = tidy(state, made(state.shape), state.faces, even=False)
    state.model = cut_charts(state.ctx, shape, state.texture_size)


def texture(state: State) -> None:
    """Texture and shape together."""
    model = state.run.checkpoint.begin("texture", Textured, lambda: made(state.model))
    rates = state.rates(Rates(move=6e-3, paint=0.02, smoothness=FINE, squared=True, means=True, calibrate=EVERYTHING))
    targets = state.targets(0)
    fitted = fit_texture(state.ctx, state.run, "texture", model, targets, rates, **state.budget("texture"))
    state.model = replace(fitted, vertices=without_cuts(fitted.vertices, model.vertices, model.faces))
    count_views(state)


def correct(state: State) -> None:
    """What was found out about cameras and exposures goes into the views; those that were kept out are located by the
    model."""
    model, found = made(state.model), state.targets(0).calibration
    state.views = correct_cameras(state.views, state.held, found)
    locate_held_out(state, model)
    equal_exposures(state, model)


def count_views(state: State) -> None:
    """Ends a stage that made ``state.model``: counts the photographs that show each texel, and fills those that none
    does."""
    assert state.model is not None
    seen = views_of_texels(state.ctx, state.model, state.targets(0))
    model = replace(state.model, seen=seen)
    state.model = replace(model, texture=fill_unseen(state.ctx, model, model.texture))
    unseen = float((seen[model.covered] == 0).float().mean())
    if unseen > 0.002:
        state.notes.append(f"no photograph shows {unseen:.1%} of the texture; colours there are those around, smoothed")


def material(state: State) -> None:
    """A stage: what the texture shows taken apart into material and light."""

    def begin() -> Material:
        assert state.model is not None, "no stage before this one left a model"
        return start_material(state.ctx, state.model)

    model = state.run.checkpoint.begin("material", Material, begin)
    state.model, factor = fit_material(
        state.ctx,
        state.run,
        "material",
        model,
        state.targets(0),
        bumps=state.options.normal_map,
        **state.budget("material"),
    )
    state.findings["light"] = (
        "its mean radiance is 1 by convention, or less where paint would be too bright; paint and light were scaled by "
        f"{factor:.2f} and {1 / factor:.2f} for that"
    )


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


def _chosen(option: bool | None, otherwise: bool) -> bool:
    return otherwise if option is None else option


def made(value: T | None) -> T:
    """What an earlier stage was to leave."""
    if value is None:
        raise ValueError("a stage is missing: none before this one left the shape or model that it begins with")
    return value


def sizes(views: list[View], options) -> tuple[int, int]:
    """Faces of the fine mesh, about two pixels of the object each, and the texture's side, about two texels a pixel."""
    pixels = float(np.mean([int((v.load_mask() > 0.5).sum()) for v in views]))
    faces = min(options.faces or int(max(pixels / 2, 2000)), options.max_faces)
    return faces, options.texture or texture_side(views)
