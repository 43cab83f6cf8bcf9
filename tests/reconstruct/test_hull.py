"""The visual hull: what a reconstruction starts from."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.ring import SMALL, torus

from diffrast.fitting.loop import Progress, Run, Stop
from diffrast.photos import Pixels
from diffrast.reconstruct import STAGES, Job
from diffrast.reconstruct.hull import HullField, bounds, drop_parts, visual_hull
from diffrast.reconstruct.start import start


def test_hull_of_a_torus_keeps_its_hole(views):
    box = bounds(views)
    assert (np.abs(box) >= np.array([1.35, 1.35, 0.35]) * 0.97).all()
    assert np.linalg.norm(box[1] - box[0]) < 1.25 * np.linalg.norm([2.7, 2.7, 0.7])
    v, f = visual_hull(views, box, resolution=72)
    mesh = trimesh.Trimesh(v, f, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 0  # genus 1
    assert 0.98 < mesh.volume / torus().volume < 1.35  # a hull holds the object, and is little larger from all around
    near_surface = np.abs(np.hypot(np.hypot(v[:, 0], v[:, 1]) - 1, v[:, 2]) - 0.35)
    assert np.median(near_surface) < 0.05


def test_hull_field_is_negative_outside_of_any_outline(views):
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5
    field = HullField(views)(points)
    inside = torch.hypot(torch.hypot(points[:, 0], points[:, 1]) - 1, points[:, 2]) < 0.3
    assert bool((field[inside] > 0).all())
    far = torch.hypot(points[:, 0], points[:, 1]) < 0.3  # in the hole
    assert bool((field[far & (points[:, 2].abs() < 0.3)] < 0).all())


def test_spare_votes_forgive_a_wrong_mask(views):
    wrong = torch.zeros(views[3].shape)
    wrong[30:40, 30:40] = 1.0
    broken = [v.with_mask(wrong) if v is views[3] else v for v in views]
    points = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert int((HullField(broken)(points) > 0).sum()) < 3
    assert bool((HullField(broken, spare=1)(points) > 0).all())
    assert bool((HullField(broken, spare=1)(torch.zeros(1, 3)) < 0).all())


def test_pixels_in_doubt_do_not_carve(views):
    empty = torch.zeros(views[0].shape)
    doubtful = [views[0].with_mask(empty), *views[1:]]
    assert bool((HullField(doubtful)(torch.tensor([[0.0, 1.0, 0.0]])) < 0).all())
    doubtful[0].source = Pixels(views[0].load().rgb, empty, torch.ones_like(empty, dtype=torch.bool))
    assert bool((HullField(doubtful)(torch.tensor([[0.0, 1.0, 0.0]])) > 0).all())


def test_masks_of_another_object_are_refused(views, tmp_path):
    wrong = []
    for i, view in enumerate(views):
        alpha = torch.zeros(view.shape)
        x, y = (10, 50) if i % 2 else (50, 10)
        alpha[y : y + 12, x : x + 12] = 1.0
        wrong.append(view.with_mask(alpha))
    with pytest.raises(ValueError, match=r"camera poses and masks do not fit together|no common inside"):
        run = Run(Progress({}, False), Stop(), torch.Generator())
        start(Job(Path(), Path(), SMALL, run, torch.device("cpu"), STAGES), wrong, bounds(wrong))


def test_the_view_that_contradicts_all_others_is_named(views):
    alpha = torch.zeros(views[2].shape)
    alpha[1:6, 1:6] = 1.0
    wrong = [v.with_mask(alpha) if v is views[2] else v for v in views]
    with pytest.raises(ValueError, match=rf"all but {wrong[2].path} have one"):
        bounds(wrong)


def test_floaters_and_cavities_are_dropped():
    big, small, cavity = (trimesh.creation.icosphere(subdivisions=2, radius=r) for r in (1.0, 0.1, 0.5))
    small.apply_translation([3, 0, 0])
    cavity.invert()
    mesh = trimesh.util.concatenate([small, big, cavity])
    v, f = drop_parts(np.asarray(mesh.vertices), np.asarray(mesh.faces), keep=0.02)
    assert len(f) == len(big.faces)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, atol=1e-9)
