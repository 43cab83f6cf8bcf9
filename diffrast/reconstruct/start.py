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
from ..photos.views import View
from .hull import HullField, silhouettes, visual_hull
from .job import Job

# Faces with which the coarse stage is fast: thin parts need them more than it needs to be faster.
ENOUGH = 8000


def start(job: Job, views: list[View], box: np.ndarray) -> Shape:
    """The shape that the option `init` asks for; `views`: those to carve with; `box`: around the object."""
    return STARTS.get(job.options.init, from_file)(job, views, box)


def start_faces(faces: int) -> int:
    """Of the start, where the mesh is to have `faces`: half of them, where they are many."""
    return max(faces // 2, min(faces, ENOUGH))


def from_hull(job: Job, views: list[View], box: np.ndarray) -> Shape:
    """The visual hull as marching cubes finds it, smoothed."""
    v, f = visual_hull(views, box, hull_cells(views), spare_votes(job, views, box))
    return Shape.of(smooth(v, f, 3), f, job.device)


def longest_side(views: list[View]) -> float:
    """Of the object in the images, in pixels: the median over the views."""
    left, bottom, right, top = np.array([mask_rectangle(v) for v in views]).T
    return float(np.median(np.maximum(right - left, top - bottom)))


def hull_cells(views: list[View]) -> int:
    """Cells of the hull along its longest side: three for four pixels of the object, so that what is a few pixels thin
    survives."""
    return int(np.clip(0.75 * longest_side(views), 64, 160))


def spare_votes(job: Job, views: list[View], box: np.ndarray) -> int:
    """How many masks may be wrong about a point of the hull: where they contradict each other, so that their common
    inside leaves much of them empty, one after the other is forgiven. Raises `ValueError` where that does not help."""
    covered = 0.0
    tries = [(spare, 64) for spare in range(len(views) // 6 + 1)]
    tries.insert(1, (0, hull_cells(views)))  # thin parts may be missing for want of cells
    for spare, cells in tries:
        try:
            rough = visual_hull(views, box, cells, spare)
        except ValueError:  # empty
            continue
        if job.run.viewer:  # something to look at while the rest is being prepared
            v, f = (torch.from_numpy(x) for x in rough)
            job.run.viewer.show(Mesh(v.float(), f.int()))
        masks, clip = silhouettes(views, rough[0], box, 128)
        rast, _ = dr.rasterize(job.ctx, clip.to(job.device), Shape.of(*rough, job.device).faces, (128, 128))
        both = (masks & (rast[..., 3].cpu() > 0)).sum(dim=(1, 2))
        covered = float((both / masks.sum(dim=(1, 2)).clamp_min(1)).double().mean())
        if covered >= 0.95:
            return spare
    raise ValueError(
        f"camera poses and masks do not fit together: the shape that they have in common covers only {covered:.0%} "
        "of the masks"
    )


GRID_PIXELS = 200  # of the images' side, at most
GRID_STEPS = 150


def from_grid(job: Job, views: list[View], box: np.ndarray) -> Shape:
    """A grid of tetrahedra that begins with the hull and is fitted to the photographs at low resolution: see `grid`."""
    level = 0
    while max(views[0].camera.width, views[0].camera.height) >> level > GRID_PIXELS:
        level += 1
    # Five pixels of the object per cell: with fewer, noise in the images makes handles of its own.
    grid = Grid(box, max(10, int(longest_side(views)) // (5 << level)))
    values = (HullField(views, spare_votes(job, views, box))(grid.points) / grid.step).clamp(-1, 1)
    return fit_grid(
        job.ctx,
        job.run.aside(),
        grid.to(job.device),
        make_targets(views, box, level, job.device),
        values.to(job.device),
        steps=GRID_STEPS,
        seconds=0.15 * (job.options.time_limit or math.inf),
        batch=job.options.batch,
    )


def from_sphere(job: Job, _: list[View], box: np.ndarray) -> Shape:
    """An ellipsoid that fills the object's box."""
    ball = icosphere(level=4)
    v = box.mean(axis=0) + 0.5 * (box[1] - box[0]) * ball.vertices.double().numpy()
    return Shape.of(v, ball.faces.numpy(), job.device)


def from_file(job: Job, _: list[View], box: np.ndarray) -> Shape:
    """A mesh in the photographs' world. Raises `ValueError` where it cannot be a start."""
    path = Path(job.options.init)
    mesh = load_mesh(path).welded()
    report = mesh.report()
    if not report.closed:
        raise ValueError(f"init {path}: the mesh must be closed, two faces at each edge; it is {report}")
    v = mesh.vertices.numpy()
    if bool((v.max(axis=0) < box[0]).any() or (v.min(axis=0) > box[1]).any()):
        raise ValueError(
            f"init {path}: the mesh lies outside of what the photographs show, {np.round(box, 3).tolist()}; it must be "
            "in the world of their cameras"
        )
    return Shape.of(v, mesh.faces.numpy(), job.device)


STARTS = {"hull": from_hull, "sphere": from_sphere, "grid": from_grid}
