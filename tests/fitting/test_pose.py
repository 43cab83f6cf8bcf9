"""The pose of a known mesh: the search's parts, its Jacobian against the backward pass, and the whole way with the
command."""

import json
import math
from dataclasses import replace

import pytest
import torch
from helpers.pot import camera, photo, teapot
from helpers.viewing import torus

from diffrast import cli
from diffrast.camera.conventions import rigid
from diffrast.camera.lie import so3_exp, so3_log
from diffrast.fitting import pose as module
from diffrast.fitting.pose import around, distinct, find_pose, jacobian, moved, place, sphere, units
from diffrast.fitting.pose_model import PosedMesh, Poses, harmonics, relight, window
from diffrast.io import load_image, save_image
from diffrast.mesh import Mesh
from diffrast.photos.data import read_views


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(float(so3_log(a[:3, :3] @ b[:3, :3].T).norm()))


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_orientations_are_even():
    R = sphere(1000)
    assert torch.allclose(R @ R.mT, torch.eye(3, dtype=torch.float64).expand_as(R), atol=1e-12)
    assert torch.allclose(torch.linalg.det(R), torch.ones(1000, dtype=torch.float64))
    some = so3_exp(torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2)
    traces = torch.einsum("aij,bij->ab", some, R).amax(1)
    nearest = torch.rad2deg(((traces.clamp(-1, 3) - 1) / 2).acos())
    # A thousand balls that fill all rotations evenly have a radius of 15.6 degrees (their volume is (angle - sin angle)
    # / pi).
    assert float(nearest.max()) < 1.8 * 15.6
    assert float(nearest.mean()) < 15.6


def test_outlines_fill_the_box():
    model, view = PosedMesh(teapot()), camera()
    extent = torch.tensor([[40.0, 30.0], [100.0, 90.0]], dtype=torch.float64)
    poses = place(model, view, extent, sphere(12))
    for R, t in zip(poses.R, poses.t, strict=True):
        pixels, _ = replace(view, world_to_camera=rigid(R, t)).project(model.vertices.double())
        box = torch.stack([pixels.amin(0), pixels.amax(0)])
        assert float((box.mean(0) - extent.mean(0)).abs().max()) < 0.5
        assert float((box[1] - box[0]).norm()) == pytest.approx(float((extent[1] - extent[0]).norm()), rel=0.02)


def test_light_is_recovered():
    generator = torch.Generator().manual_seed(0)
    n = torch.nn.functional.normalize(torch.randn(1, 24, 24, 3, generator=generator), dim=-1)
    albedo, basis = torch.rand(1, 24, 24, 3, generator=generator) + 0.1, harmonics(n, 3)
    light = torch.randn(9, 3, generator=generator) * 0.2
    shown = (albedo * (basis @ light))[0]
    view = window(shown, torch.ones(24, 24), camera(width=24, height=24), (0, 0, 24), 24)
    lit = relight(albedo, basis, torch.ones(1, 24, 24), view)
    assert float((lit[0] - shown).square().mean().sqrt()) < 0.01 * float(shown.square().mean().sqrt())


def test_windows_average_and_know_the_border():
    image, mask = torch.ones(6, 8, 3) * 0.5, torch.ones(6, 8)
    view = window(image, mask, camera(width=8, height=6), (-2, -2, 8), 4)
    assert view.camera.resolution == (4, 4)
    assert torch.equal(view.known, torch.tensor([[0.0, 0, 0, 0]] + [[0.0, 1, 1, 1]] * 3))
    assert torch.equal(view.image[1:, 1:, :3], torch.full((3, 3, 3), 0.5))
    point = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    before, _ = camera(width=8, height=6).project(point)
    after, _ = view.camera.project(point)
    assert torch.allclose(after, (before + 2) / 2)


def test_the_jacobian_agrees_with_the_backward_pass():
    """J^T r of central differences, and the gradient of |r|^2 / 2 through antialias, texture, interpolate and the
    light."""
    mesh, truth = teapot(), camera()
    model, picture = PosedMesh(mesh), photo(mesh, camera())
    view = window(picture[..., :3], picture[..., 3], truth, (30, 10, 96), 96)
    pose = truth.world_to_camera
    start = Poses(pose[None, :3, :3], (pose[:3, :3] @ model.middle + pose[:3, 3])[None])
    start = moved(start, torch.tensor([[0.03, -0.02, 0.04, 0.03, 0.02, 0.1]], dtype=torch.float64))
    with torch.no_grad():
        r, J = jacobian(around(model, start, view), torch.zeros(6, dtype=torch.float64))
        ours = (J.mT @ r).double()
    twist = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    residual = model.draw(moved(start, twist * units(model, start, view)), view) - view.image
    (theirs,) = torch.autograd.grad(0.5 * (residual * view.known[..., None]).square().sum(), twist)
    cosine = torch.nn.functional.cosine_similarity(ours, theirs[0], dim=0)
    assert float(cosine) > 0.97
    assert float(ours.norm()) == pytest.approx(float(theirs.norm()), rel=0.2)


def test_candidates_are_distinct():
    turns = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.5, 0, 0], [0.0, 0, 3.1]], dtype=torch.float64)
    poses = Poses(so3_exp(turns), torch.zeros(4, 3, dtype=torch.float64))
    assert distinct(poses, 4) == [0, 2, 3]
    assert distinct(poses, 2) == [0, 2]


# --- The whole way ----------------------------------------------------------------------------------------------------


def test_command(folder, tmp_path, capsys):
    args = [
        "pose",
        folder / "pot.glb",
        folder / "photo.png",
        "--fov",
        30,
        "--out",
        tmp_path / "pose.json",
        "--orientations",
        1500,
        "--quiet",
        "--json",
    ]
    assert cli.main([str(a) for a in args]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["iou"] > 0.97 and facts["rivals"] == []
    file = json.loads((tmp_path / "pose.json").read_text())
    assert file == facts["camera"]
    pose = torch.linalg.inv(torch.tensor(file["frames"][0]["transform_matrix"], dtype=torch.float64))
    truth = camera().world_to_camera
    assert angle(pose, truth) < 1.0
    assert float((pose[:3, 3] - truth[:3, 3]).norm()) < 0.01 * 7
    overlay = load_image(tmp_path / "pose.png", linear=False)
    assert overlay.shape == (120, 160, 3)
    red = (overlay[..., 0] > 0.7) & (overlay[..., 1] < 0.35)
    assert 100 < int(red.sum()) < 1500  # the outline


def test_the_camera_is_read_as_a_data_set(folder, tmp_path):
    """Three of them in one file are a data set for `reconstruct` and `texture`."""
    from diffrast.commands.pose import transforms

    views = [camera((0.1 * i, 0.2, 0.3)) for i in range(3)]
    for i, view in enumerate(views):
        save_image(tmp_path / f"{i}.png", photo(teapot(), view))
    files = [transforms(view, tmp_path / f"{i}.png", tmp_path / "x.json") for i, view in enumerate(views)]
    together = {**files[0], "frames": [f["frames"][0] for f in files]}
    (tmp_path / "transforms.json").write_text(json.dumps(together))
    for view, back in zip(views, read_views(tmp_path), strict=True):
        assert torch.allclose(view.K, back.camera.K)
        assert torch.allclose(view.world_to_camera, back.camera.world_to_camera, atol=1e-7)


def test_a_symmetric_object_has_rivals():
    ring = torus(12)
    ring = Mesh(ring.vertices, ring.faces).welded()
    view = camera((1.2, 0.0, 0.0), (0.0, 0.0, -6.0), 80, 60)
    picture = photo(ring, view)
    with torch.no_grad():
        found = find_pose(
            ring,
            picture[..., :3],
            picture[..., 3],
            replace(view, world_to_camera=torch.eye(4).double()),
            orientations=400,
        )
    assert found.rivals
    axes = [c.world_to_camera[:3, 1] for c in (found.camera, view)]
    assert abs(float(axes[0] @ axes[1])) > math.cos(math.radians(3))  # the axis is right, the turn about it is anything


def test_ctrl_c_keeps_the_best_so_far(folder, tmp_path, capsys, monkeypatch):
    real, calls = module.refine, []

    def refine(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "refine", refine)
    monkeypatch.setattr(module, "LEVELS", ((24, 2, 3, 2), *module.LEVELS[2:]))
    args = [
        "pose",
        folder / "pot.glb",
        folder / "photo.png",
        "--fov",
        30,
        "--out",
        tmp_path / "a.json",
        "--orientations",
        400,
    ]
    assert cli.main([str(a) for a in args]) == 130
    assert "this is the best pose at Ctrl-C" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "a.png"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"IMAGE": "nowhere.png"}, "image nowhere.png does not exist"),
        ({"FOV": "180"}, "--fov must be 1 to 150; got 180"),
        ({"OUT": "pose.txt"}, "must end in .json; got pose.txt"),
        ({"MASK": "nowhere.png"}, "mask nowhere.png does not exist"),
        ({"OUT": "photo.json"}, "photo.png is the photograph itself"),
        ({"IMAGE": "flat.png", "MASK": ""}, "does not stand out from its background; it needs a mask"),
    ],
)
def test_bad_input(folder, capsys, monkeypatch, change, message):
    monkeypatch.chdir(folder)
    words = {"IMAGE": "photo.png", "FOV": "30", "OUT": "pose.json", "MASK": "photo.png", **change}
    args = [
        "pose",
        "pot.glb",
        words["IMAGE"],
        "--fov",
        words["FOV"],
        "--out",
        words["OUT"],
        *(["--mask", words["MASK"]] if words["MASK"] else []),
        "--quiet",
    ]
    before = sorted(folder.iterdir())
    assert cli.main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err and err.count("\n") == 1
    assert sorted(folder.iterdir()) == before
