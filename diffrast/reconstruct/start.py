"""The shape that the optimization begins with: the visual hull, a sphere, an optimized grid, or a mesh of one's
own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

import diffrast.torch as dr

from ..fitting.geometry import Shape
from ..fitting.grid import Grid, fit_grid
from ..fitting.targets import make_targets
from ..io import load_mesh
from ..mesh import Mesh, icosphere
from ..mesh.remesh import smooth
from ..photos.agreement import mask_rectangle
from ..photos.data import View
from ..scene.passes import clip_matrices, to_clip
from .hull import HullField, visual_hull
from .repair import as_shape, tidy
from .state import State

# Faces with which the coarse stage is fast: thin parts need them more than it needs to be faster.
ENOUGH = 8000


def start(state: State, views: list[View]) -> Shape:
    """The shape that ``--init`` asks for, where there are many faces with half of them; ``views``: those to carve
    with."""
    how = state.options.init
    shape = STARTS[how](state, views) if how in STARTS else from_file(state, Path(how))
    return tidy(state, shape, max(state.faces // 2, min(state.faces, ENOUGH)))


def from_hull(state: State, views: list[View]) -> Shape:
    """The visual hull as marching cubes finds it, smoothed."""
    v, f = visual_hull(views, state.box, hull_cells(views), spare_votes(state, views))
    return as_shape(smooth(v, f, 3), f, state.device)


def longest_side(views: list[View]) -> float:
    """Of the object's picture, in pixels: the median over the views."""
    left, bottom, right, top = np.array([mask_rectangle(v) for v in views]).T
    return float(np.median(np.maximum(right - left, top - bottom)))


def hull_cells(views: list[View]) -> int:
    """Cells of the hull along its longest side: three for four pixels of the object, so that what is a few pixels thin
    survives."""
    return int(np.clip(0.75 * longest_side(views), 64, 160))


def spare_votes(state: State, views: list[View]) -> int:
    """How many masks may be wrong about a point of the hull: where they contradict each other, so that their common
    inside leaves much of them empty, one after the other is forgiven. Raises ``ValueError`` where that does not
    help."""
    covered, box = 0.0, state.box
    tries = [(spare, 64) for spare in range(len(views) // 6 + 1)]
    tries.insert(1, (0, hull_cells(views)))  # thin parts may be missing for want of cells
    for spare, cells in tries:
        try:
            rough = visual_hull(views, box, cells, spare)
        except ValueError:  # empty
            continue
        if state.run.viewer:  # something to look at while the rest is being prepared
            v, f = (torch.from_numpy(x) for x in rough)
            state.run.viewer.show(Mesh(v.float(), f.int()))
        covered = float(np.mean([_covered(state.ctx, v, *rough, box, state.device) for v in views]))
        if covered >= 0.95:
            return spare
    raise ValueError(
        f"camera poses and masks do not fit together: the shape that they have in common covers only {covered:.0%} "
        "of the masks"
    )


GRID_PIXELS = 200  # of the pictures' side, at most
GRID_STEPS = 150


def from_grid(state: State, views: list[View]) -> Shape:
    """A grid of tetrahedra that begins with the hull and is fitted to the photographs at low resolution: see `grid`."""
    run = state.run
    level = 0
    while max(views[0].camera.width, views[0].camera.height) >> level > GRID_PIXELS:
        level += 1
    targets = make_targets(views, state.box, level, state.device)
    # Five pixels of the object per cell: with fewer, noise in the pictures makes handles of its own.
    grid = Grid(state.box, max(10, int(longest_side(views)) // (5 << level)))
    values = (HullField(views, spare_votes(state, views))(grid.points) / grid.step).clamp(-1, 1)
    until = run.progress.elapsed + 0.15 * (state.options.time_limit or math.inf)

    def watch(loss: float, v: torch.Tensor, f: torch.Tensor) -> bool:
        if run.viewer:
            run.viewer.step(loss=loss, mesh=lambda: Mesh(v, f.int()), until=lambda: run.stop.requested)
        return run.stop.requested or run.progress.elapsed > until

    shape = fit_grid(
        state.ctx,
        grid.to(state.device),
        targets,
        values.to(state.device),
        GRID_STEPS,
        state.options.batch,
        run.generator,
        watch=watch,
    )
    return Shape(shape[0], shape[1].to(torch.int32), shape[2])


def from_sphere(state: State, _: list[View]) -> Shape:
    """An ellipsoid that fills the object's box."""
    ball = icosphere(level=4)
    half = 0.5 * (state.box[1] - state.box[0])
    v = state.box.mean(axis=0) + half * ball.vertices.double().numpy()
    return as_shape(v, ball.faces.numpy(), state.device)


def from_file(state: State, path: Path) -> Shape:
    """A mesh in the photographs' world. Raises ``ValueError`` where it cannot be a start."""
    mesh = load_mesh(path).welded()
    report = mesh.report()
    if not report.closed:
        raise ValueError(f"--init {path}: the mesh must be closed, two faces at each edge; it is {report}")
    v = mesh.vertices.numpy()
    if bool((v.max(axis=0) < state.box[0]).any() or (v.min(axis=0) > state.box[1]).any()):
        raise ValueError(
            f"--init {path}: the mesh lies outside of what the photographs show, {np.round(state.box, 3).tolist()}; "
            "it must be in the world of their cameras"
        )
    return as_shape(v, mesh.faces.numpy(), state.device)


STARTS = {"hull": from_hull, "sphere": from_sphere, "grid": from_grid}


def _covered(ctx, view: View, v: np.ndarray, f: np.ndarray, box: np.ndarray, device: torch.device) -> float:
    """The share of a view's mask that a mesh covers, at low resolution."""
    alpha, size = view.load_mask(), (128, 128)
    clip = to_clip(torch.from_numpy(v).float(), clip_matrices([view.camera.resized(*size)], torch.from_numpy(box)))
    rast, _ = dr.rasterize(ctx, clip.to(device), torch.from_numpy(f.astype(np.int32)).to(device), size)
    mask = torch.nn.functional.interpolate(alpha[None, None], size, mode="area")[0, 0] > 0.5
    return float((mask & (rast[0, ..., 3].cpu() > 0)).sum() / mask.sum().clamp_min(1))
