"""The shape that the optimization begins with: the visual hull, a sphere, or a mesh of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import diffrast.torch as dr

from ..scene import Mesh, icosphere, load_mesh
from ..scene.passes import clip_matrices, to_clip
from ..scene.remesh import smooth
from .data import View
from .geometry import Shape
from .hull import visual_hull
from .repair import as_shape, tidy
from .state import State


def start(state: State) -> Shape:
    """The shape that ``--init`` asks for, with about half the faces that the finished one may have."""
    how = state.options.init
    v, f = STARTS[how](state) if how in STARTS else from_file(state, Path(how))
    return tidy(state, as_shape(v, f, state.device), max(state.faces // 2, 100))


def from_hull(state: State) -> tuple[np.ndarray, np.ndarray]:
    """The visual hull. Where masks contradict each other, so that their common inside leaves much of them empty, one mask
    after the other is allowed to be wrong about a point."""
    covered, views, box = 0.0, state.used, state.box
    for spare in range(len(views) // 6 + 1):
        try:
            rough = visual_hull(views, box, 64, spare)
        except ValueError:  # empty
            continue
        covered = float(np.mean([_covered(state.ctx, v, *rough, box, state.device) for v in views]))
        if covered >= 0.95:
            break
    else:
        raise ValueError(
            f"camera poses and masks do not fit together: the shape that they have in common covers only "
            f"{covered:.0%} of the masks"
        )
    if state.run.viewer:  # something to look at while the rest is being prepared
        state.run.viewer.show(Mesh(torch.from_numpy(rough[0]).float(), torch.from_numpy(rough[1]).int()))
    v, f = visual_hull(views, box, 128, spare)
    return smooth(v, f, 5), f


def from_sphere(state: State) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid that fills the object's box."""
    ball = icosphere(level=4)
    half = 0.5 * (state.box[1] - state.box[0])
    return state.box.mean(axis=0) + half * ball.vertices.double().numpy(), ball.faces.long().numpy()


def from_file(state: State, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A mesh in the photographs' world. Raises ``ValueError`` where it cannot be a start."""
    mesh = load_mesh(path).welded()
    report = mesh.report()
    if not report.closed:
        raise ValueError(f"--init {path}: the mesh must be closed, two faces at each edge; it is {report}")
    v = mesh.vertices.double().numpy()
    if bool((v.max(axis=0) < state.box[0]).any() or (v.min(axis=0) > state.box[1]).any()):
        raise ValueError(
            f"--init {path}: the mesh lies outside of what the photographs show, {np.round(state.box, 3).tolist()}; "
            "it must be in the world of their cameras"
        )
    return v, mesh.faces.long().numpy()


STARTS = {"hull": from_hull, "sphere": from_sphere}


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
