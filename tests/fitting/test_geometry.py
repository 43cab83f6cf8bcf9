"""Starts, repairs and the optimized grid: topology comes out right, nothing cuts itself, nothing floats."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.solids import photographs, sphere, torus

import diffrast.torch as dr
from diffrast.fitting.geometry import Shape
from diffrast.fitting.grid import Grid, fit_grid
from diffrast.fitting.loop import Progress, Run, Stop
from diffrast.fitting.targets import Targets, make_targets
from diffrast.mesh.intersections import self_intersections
from diffrast.mesh.remesh import at_most
from diffrast.mesh.solid import solid_surface, winding_numbers
from diffrast.photos import View
from diffrast.photos.calibration import Calibration
from diffrast.reconstruct import STAGES, Job, Options
from diffrast.reconstruct.hull import bounds
from diffrast.reconstruct.options import check
from diffrast.reconstruct.repair import drop_floaters, resolve, restore, tidy, untangle, without_cuts
from diffrast.reconstruct.start import start, start_faces


def arrays(*meshes: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.util.concatenate(list(meshes))
    return np.array(mesh.vertices), np.array(mesh.faces)


# --- Faces that cut each other --------------------------------------------------------------------------------------


def tangled(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ball = sphere(4)
    v, f = np.array(ball.vertices), np.array(ball.faces)
    rng = np.random.default_rng(seed)
    some = rng.choice(len(v), 60, replace=False)
    moved = v.copy()
    moved[some] += 0.12 * rng.normal(size=(60, 3))
    assert len(self_intersections(moved, f)) > 10
    return v, moved, f


def test_tangles_are_smoothed_away_and_the_rest_stays():
    v, moved, f = tangled()
    smoothed, left = untangle(moved, f)
    assert left == 0
    assert len(self_intersections(smoothed, f)) == 0
    near = np.unique(f[self_intersections(moved, f)])
    far = np.linalg.norm(v[:, None] - v[near], axis=2).min(axis=1) > 0.5
    assert np.array_equal(smoothed[far], moved[far])


def test_cut_faces_go_back_to_where_they_cut_nothing():
    v, moved, f = tangled(1)
    back = restore(moved, v, f)
    assert len(self_intersections(back, f)) == 0
    assert 0.5 < (back == moved).all(axis=1).mean() < 1
    tensors = [torch.from_numpy(x).float() for x in (moved, v)]
    clean = without_cuts(*tensors, torch.from_numpy(f).int())
    assert clean.dtype == torch.float32
    assert len(self_intersections(clean.numpy(), f)) == 0


def test_parts_grown_into_each_other_become_one():
    v, f = arrays(sphere(3), sphere(3, 0.7, (0.9, 0.3, 0.1)))
    colors = np.where(np.arange(len(v))[:, None] < len(v) // 2, [1.0, 0, 0], [0, 1.0, 0])
    w, g, left = resolve(np.c_[v, colors], f, 0.08)
    assert left == 0
    mesh = trimesh.Trimesh(w[:, :3], g, process=False)
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.euler_number == 2
    assert w[w[:, 0].argmax(), 3:] == pytest.approx([0, 1, 0])
    assert w[w[:, 0].argmin(), 3:] == pytest.approx([1, 0, 0])


# --- Floaters -------------------------------------------------------------------------------------------------------


def test_only_parts_that_masks_ask_for_stay():
    body, small = sphere(3), sphere(2, 0.08, (1.3, 0.2, 0))
    views = photographs(trimesh.util.concatenate([body, small]), count=10)
    cavity = sphere(2, 0.3)
    cavity.invert()
    floater = sphere(2, 0.12, (-1.35, 0.1, 0.1))
    v, f = arrays(small, body, cavity, floater)
    box = np.array([[-1.6, -1.6, -1.6], [1.6, 1.6, 1.6]])
    w, g, dropped = drop_floaters(dr.RasterizeContext(), views, v, f, box)
    assert dropped == 2
    assert len(g) == len(body.faces) + len(small.faces)
    assert w[:, 0].min() == pytest.approx(-1.0, abs=0.01)
    assert w[:, 0].max() == pytest.approx(1.38, abs=0.01)


def test_tidy_says_what_it_did_and_keeps_to_its_faces(ring):
    v, f = arrays(torus(96), sphere(2, 0.1, (0, 0, 0)))
    v[f[5]] += 0.4 * (v[f[900]].mean(axis=0) - v[f[5]].mean(axis=0))
    shape, notes = tidy(dr.RasterizeContext(), ring, bounds(ring), Shape.of(v, f), 1500)
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert (mesh.body_count, mesh.euler_number) == (1, 0)
    assert 1000 < len(mesh.faces) <= 1500
    assert len(self_intersections(mesh.vertices, mesh.faces)) == 0
    assert any("parts removed that no mask asks for: 1" in note for note in notes)


def test_a_bound_on_faces_is_kept_or_refused():
    v, f = arrays(torus(48))
    for faces in (300, 1500):
        w, g = at_most(v, f, faces)
        assert 0.6 * faces < len(g) <= faces
        assert trimesh.Trimesh(w, g, process=False).euler_number == 0
    with pytest.raises(ValueError, match=r"10 faces are too few for this shape"):
        at_most(v, f, 10)


# --- Starts ---------------------------------------------------------------------------------------------------------


def new_run() -> Run:
    return Run(Progress({}, False), Stop(), torch.Generator().manual_seed(0))


def started(views: list[View], init: str = "hull", faces: int = 3000) -> Shape:
    job = Job(Path(), Path(), Options(init=init), new_run(), torch.device("cpu"), STAGES)
    box = bounds(views)
    return tidy(job.ctx, views, box, start(job, views, box), start_faces(faces))[0]


def table() -> trimesh.Trimesh:
    """A top on four legs, one thirtieth of its width thick."""
    parts = [trimesh.creation.box((2, 2, 0.2))]
    for x, y in LEGS:
        leg = trimesh.creation.cylinder(0.03, 1.5, sections=12)
        leg.apply_translation([x, y, -0.75])
        parts.append(leg)
    return trimesh.util.concatenate(parts)


LEGS = [(x, y) for x in (-0.8, 0.8) for y in (-0.8, 0.8)]


def test_thin_legs_survive():
    shape = started(photographs(table(), 12, 150))
    v, f = shape.vertices.numpy(), shape.faces.numpy()
    assert len(f) <= 3000
    mesh = trimesh.Trimesh(v, f, process=False)
    assert mesh.is_watertight
    assert (mesh.body_count, mesh.euler_number) == (1, 2)
    for x, y in LEGS:  # at every height there is something of the leg
        inside = winding_numbers(v, f, np.array([x - 0.05, y - 0.05, -1.4]), 0.01, (11, 11, 120))
        assert (inside.sum(axis=(0, 1)) > 0).all()
    assert len(self_intersections(v, f)) == 0


@pytest.mark.parametrize("init", ["hull", "sphere", "grid", "file"])
def test_every_start_gives_a_closed_mesh_of_the_right_topology(ring, tmp_path, init):
    how = init
    if init == "file":
        how = str(tmp_path / "ring.ply")
        torus(24).export(how)
    shape = started(ring, how)
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == (2 if init == "sphere" else 0)
    assert len(mesh.faces) <= 3000
    if init != "sphere":
        assert mesh.volume == pytest.approx(torus().volume, rel=0.25)
    assert shape.colors.shape == shape.vertices.shape


@pytest.mark.parametrize("init", ["hull", "grid"])
def test_a_figure_of_eight_keeps_both_holes(init):
    one, other = torus(48), torus(48)
    one.apply_translation([-1.05, 0, 0])
    other.apply_translation([1.05, 0, 0])
    eight = trimesh.Trimesh(*solid_surface(*arrays(one, other), 0.07), process=False)
    eight.apply_scale(0.55)
    assert eight.euler_number == -2
    views = photographs(eight, 16, 80)
    shape = started(views, init)
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert (mesh.body_count, mesh.euler_number) == (1, -2)


def test_meshes_that_cannot_be_a_start_are_refused(ring, tmp_path):
    far, open_ = sphere(at=(30, 0, 0)), sphere()
    open_.update_faces(np.arange(len(open_.faces)) > 10)
    for name, mesh, message in (
        ("far", far, "lies outside of what the photographs show"),
        ("open", open_, "must be closed"),
    ):
        mesh.export(tmp_path / f"{name}.ply")
        with pytest.raises(ValueError, match=rf"init .*{name}\.ply: the mesh {message}"):
            started(ring, str(tmp_path / f"{name}.ply"))
    with pytest.raises(ValueError, match=r"--init must be hull, sphere, grid or the file of a mesh; got cube"):
        check(Options(init="cube"))


# --- The grid -------------------------------------------------------------------------------------------------------

WRONG_STARTS = {
    "a plate without the hole": lambda p: torch.minimum(1.35 - torch.hypot(p[:, 0], p[:, 1]), 0.2 - p[:, 2].abs()),
    "a ring with a gap": lambda p: torch.minimum(
        0.35 - torch.hypot(torch.hypot(p[:, 0], p[:, 1]) - 1, p[:, 2]), p[:, 0] + 0.6
    ),
}


@pytest.mark.parametrize("name", WRONG_STARTS)
def test_the_grid_finds_the_topology(ring, name):
    grid = Grid(bounds(ring), 16)
    values = (WRONG_STARTS[name](grid.points) / grid.step).clamp(-1, 1)
    v, f, _ = grid.surface(values, torch.zeros_like(grid.points))
    assert trimesh.Trimesh(v.numpy(), f.numpy(), process=False).euler_number == 2
    targets = make_targets(ring, bounds(ring), 0, torch.device("cpu"))
    shape = fit_grid(dr.RasterizeContext(), new_run(), grid, targets, values, steps=150)
    mesh = trimesh.Trimesh(shape.vertices.numpy(), shape.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(torus().volume, rel=0.06)
    assert shape.colors.shape == shape.vertices.shape


@pytest.mark.parametrize("squared", [False, True])
def test_the_loss_is_the_mean_of_the_residual(squared):
    """Its own gradient against that of autograd through `Targets.residual`."""
    torch.manual_seed(0)
    images, weights = torch.rand(5, 9, 7, 4).half(), torch.rand(5, 9, 7, 1).half()
    images[:, :3, :, 3] = 0  # no object
    targets = Targets(images, weights, [], torch.eye(4), torch.eye(4), 1, Calibration.none(5, torch.zeros(2, 3)))
    targets.calibration.gain.copy_(0.1 * torch.randn(5, 3))
    pictures, index = torch.rand(2, 9, 7, 4, requires_grad=True), torch.tensor([3, 1])
    on = (images[index][..., 3:] > 0).expand(-1, -1, -1, 3)
    residual = targets.residual(pictures, index) * torch.cat([on, torch.ones(2, 9, 7, 1)], dim=-1)
    expected = (residual.square() if squared else residual.abs()).mean()
    loss, error = targets.loss(pictures, index, squared)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(error, residual[..., :3].square().mean())
    torch.testing.assert_close(torch.autograd.grad(loss, pictures)[0], torch.autograd.grad(expected, pictures)[0])
