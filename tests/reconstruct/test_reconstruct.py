"""From photographs to all outputs, on pictures that the tests render themselves."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from helpers.recipes import RECIPES, recipe
from helpers.ring import SMALL, torus

import diffrast.torch as dr
from diffrast.fitting import metrics
from diffrast.fitting.appearance import fill_gaps, unwrap
from diffrast.fitting.geometry import Shape
from diffrast.fitting.loop import Batches, Progress, Run, Stop
from diffrast.fitting.metrics import chamfer, compare
from diffrast.fitting.targets import make_targets
from diffrast.io import save_image
from diffrast.mesh.primitives import icosphere
from diffrast.photos.calibration import correct_cameras
from diffrast.photos.data import read_views
from diffrast.photos.masks import add_masks
from diffrast.reconstruct import STAGES, Job, Made, Options, Photos, Stage, output, reconstruct, turntable, with_stage
from diffrast.reconstruct.hull import bounds
from diffrast.reconstruct.output import claim
from diffrast.scene.passes import finish

# --- Pieces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1])
def test_targets_are_windows_of_the_photographs(views, level):
    targets = make_targets(views, bounds(views), level, torch.device("cpu"))
    assert targets.images.shape[1:3] == targets.resolution
    assert targets.resolution[0] <= 72 >> level
    ctx = dr.RasterizeContext()
    mesh = torus()
    v = torch.tensor(mesh.vertices, dtype=torch.float32)
    f = torch.tensor(mesh.faces, dtype=torch.int32)
    clip = targets.clip(v, torch.arange(len(views)))
    rast, _ = dr.rasterize(ctx, clip, f, [4 * n for n in targets.resolution])
    coverage = finish(torch.zeros_like(rast[..., :1]), rast, clip, f, 1.0, 4)[..., 1]
    assert (coverage - targets.images[..., 3]).abs().mean() < 0.005


def test_offsets_move_pictures_by_pixels(views):
    targets = make_targets(views, bounds(views), 0, torch.device("cpu"))
    v = torch.rand(10, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    index = torch.tensor([2, 5])
    h, w = targets.resolution

    def pixels():
        clip = targets.clip(v, index)
        return (clip[..., :2] / clip[..., 3:] + 1) / 2 * torch.tensor([w, h])

    before = pixels()
    targets.calibration.shift[5] = torch.tensor([1.5, -0.25])
    torch.testing.assert_close(pixels()[0], before[0])
    torch.testing.assert_close(pixels()[1], before[1] + torch.tensor([1.5, -0.25]), atol=1e-4, rtol=0)
    found = make_targets(views[1:], bounds(views), 0, torch.device("cpu")).calibration
    found.shift[4] = torch.tensor([1.5, -0.25])
    moved = correct_cameras(views, [0], found)
    torch.testing.assert_close(
        moved[5].camera.project(v)[0], views[5].camera.project(v)[0] + torch.tensor([1.5, -0.25]), atol=1e-4, rtol=0
    )
    # The held-out view moves by the mean of the others.
    torch.testing.assert_close(
        moved[0].camera.K[:2, 2] - views[0].camera.K[:2, 2], torch.tensor([1.5, -0.25]).double() / 13
    )


def test_batches_show_every_view_once_per_round():
    choose = Batches(7, 3, torch.Generator().manual_seed(0))
    seen = torch.cat([next(choose) for _ in range(7)])
    assert sorted(seen[:7].tolist()) == list(range(7))
    assert torch.bincount(seen).tolist() == [3] * 7
    assert len(next(Batches(2, 5, torch.Generator()))) == 2


def test_unwrapping_paints_the_vertex_colors():
    mesh = torus()
    v = torch.tensor(mesh.vertices, dtype=torch.float32)
    shape = Shape(v, torch.tensor(mesh.faces, dtype=torch.int32), 0.5 + 0.3 * v)
    model = unwrap(dr.RasterizeContext(), shape, 256)
    assert len(model.uv_faces) == len(model.faces)
    assert bool((model.source[model.uv_faces.long()] == model.faces).all())
    assert 0.3 < model.covered.float().mean() < 1
    # The middle of each face finds the face's mean colour.
    uv = model.uv[model.uv_faces.long()].mean(dim=1)
    color = dr.texture(model.texture[None], uv[None, None], filter_mode="linear", boundary_mode="clamp")[0, 0]
    expected = shape.colors[model.faces.long()].mean(dim=1)
    assert (color - expected).abs().mean() < 0.01


def test_gaps_take_the_nearest_color():
    texture = torch.zeros(8, 8, 3)
    texture[2, 3] = 0.7
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[2, 3] = True
    assert bool((fill_gaps(texture, known) == 0.7).all())
    assert fill_gaps(texture, torch.zeros_like(known)) is texture


def test_figures_of_known_pictures():
    target = torch.ones(10, 10, 4)
    target[..., 3] = 0
    target[2:6, 2:6] = torch.tensor([0.5, 0.5, 0.5, 1])
    picture = target.clone()
    assert compare(picture, target) == {"psnr": 100, "psnr_object": 100, "mask_iou": 1}
    picture[2:6, 2:4, :3] += 0.1  # half of the object's pixels
    figures = compare(picture, target)
    assert figures["psnr"] == pytest.approx(-10 * math.log10(0.01 * 8 / 100), abs=1e-4)
    assert figures["psnr_object"] == pytest.approx(-10 * math.log10(0.01 / 2), abs=1e-4)
    picture[2, 2:6, 3] = 0
    assert compare(picture, target)["mask_iou"] == pytest.approx(12 / 16)


def test_chamfer_of_a_shifted_plane():
    plane = trimesh.Trimesh([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    figures = chamfer(plane.vertices + np.array([0, 0, 1.0]), plane.faces, plane, samples=5000)
    expected = 100 / math.hypot(10, 10)
    for key in ("chamfer_percent", "to_reference_percent", "from_reference_percent"):
        assert figures[key] == pytest.approx(expected, rel=0.01)


# --- The whole way --------------------------------------------------------------------------------------------------


def test_small_reconstruction_reaches_its_figures(finished):
    _, result = finished
    assert result["held_out"]["count"] == 2
    assert result["held_out"]["psnr"] > 26
    assert result["held_out"]["mask_iou"] > 0.97
    assert result["mesh"]["euler_number"] == 0
    assert (result["mesh"]["parts"], result["mesh"]["closed"], result["mesh"]["self_intersections"]) == (1, True, 0)
    assert result["mesh"]["faces"] <= 1500
    assert not result["interrupted"]


def test_outputs_open(finished):
    out, result = finished
    assert sorted(p.name for p in out.iterdir()) == [
        "config.yaml",
        "mesh.glb",
        "metrics.json",
        "preflight.jpg",
        "report.html",
        "turntable.mp4",
    ]
    mesh = trimesh.load(out / "mesh.glb", force="mesh", process=False)
    assert len(mesh.faces) == result["mesh"]["faces"]
    assert mesh.visual.material.baseColorTexture.size == (128, 128)
    figures = chamfer(mesh.vertices, mesh.faces, torus(), samples=5000)
    assert figures["chamfer_percent"] < 1.0
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(result))
    assert [v["view"] for v in result["views"] if v["held_out"]] == ["v3", "v10"]
    assert set(result["definitions"]) >= {"psnr", "psnr_object", "mask_iou"}
    import imageio.v2 as imageio

    frames = imageio.mimread(out / "turntable.mp4", memtest=False)
    assert len(frames) == 6
    assert frames[0].shape[:2] == (output.FILM_SIZE, 2 * output.FILM_SIZE)
    assert np.asarray(frames[0])[:, : output.FILM_SIZE].std() > 10  # something is in the picture


def test_report_is_self_contained(finished):
    out, _ = finished
    page = (out / "report.html").read_text()
    assert page.count("held out</span>") == 2
    # Views, six sides, texture and coverage, the cameras, the photographs before the work.
    assert page.count("data:image/jpeg;base64,") == 3 * 14 + 1 + 2 + 1 + 1
    assert page.count("<path d=") == 2 * 14
    assert page.count("<polyline") == 2 * 3
    assert "steps: 240" in page
    for title in ("Six sides", "Texture", "Cameras", "Loss", "PSNR", "Definitions", "Configuration"):
        assert f"<h2>{title}" in page
    assert "data:video/mp4;base64," in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_the_same_seed_gives_the_same_mesh(dataset, tmp_path):
    files = []
    for name in ("a", "b"):
        reconstruct(dataset, tmp_path / name, SMALL)
        files.append((tmp_path / name / "mesh.glb").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("stage", ["coarse shape", "texture"])
def test_ctrl_c_keeps_what_there_is(dataset, tmp_path, stage):
    def interrupt(name, step):
        if name == stage and step == 5:
            raise KeyboardInterrupt

    result = reconstruct(dataset, tmp_path / "out", SMALL, callback=interrupt)
    assert result["interrupted"]
    assert result["steps"][stage] == 6
    assert result["steps"]["texture"] == (0 if stage == "coarse shape" else 6)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "checkpoint.pt",
        "config.yaml",
        "mesh.glb",
        "metrics.json",
        "preflight.jpg",
        "report.html",
        "turntable.mp4",
    }
    assert len(trimesh.load(tmp_path / "out" / "mesh.glb", force="mesh").faces) > 500


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stop_takes_one_ctrl_c_and_obeys_the_second(name):
    import os
    import signal

    number = signal.Signals[name]
    before = signal.getsignal(number)
    with Stop() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_what_a_killed_run_was_writing_goes(tmp_path):
    names = [".checkpoint.4711.part.pt", ".mesh.12.part.glb", ".my.part", "a.part.txt"]
    for name in names:
        (tmp_path / name).write_text("half")
    claim(tmp_path, Options())
    assert sorted(p.name for p in tmp_path.iterdir()) == [".my.part", "a.part.txt"]


def test_time_limit_is_a_budget(dataset, tmp_path, monkeypatch):
    # No clock of the machine: a stage may spend what is left after the reserve for writing, by its share.
    monkeypatch.setattr(Progress, "elapsed", 10.0)
    run = Run(Progress({}, False), Stop(), torch.Generator())
    job = Job(Path(), Path(), Options(time_limit=110.0), run, torch.device("cpu"), STAGES)
    photos = Photos([], [], "", 1, 0, 0)
    run.progress.begin("coarse shape")
    coarse = job.budget(photos)
    run.progress.begin("texture")
    texture = job.budget(photos)
    monkeypatch.undo()
    assert coarse["seconds"] == pytest.approx((100 - 14 - 5.5) * 0.25)
    assert texture["seconds"] == pytest.approx(100 - 14)
    assert (coarse["steps"], texture["steps"]) == (300, 480)  # of the 1200 that there are without a limit
    result = reconstruct(dataset, tmp_path / "out", replace(SMALL, time_limit=1e-3, steps=None))
    assert max(result["steps"].values()) <= 1  # each stage may begin one step before it sees that time is over


def test_a_stage_can_be_swapped(dataset, tmp_path):
    begun, drawn = [], []

    def from_a_ball(photos: Photos) -> Made:
        begun.append(photos.faces)
        ball = icosphere(0.8, 2)
        return {"shape": Shape(ball.vertices, ball.faces, torch.full_like(ball.vertices, 0.5)), "notes": ["a ball"]}

    def look(job: Job, model, metrics) -> None:
        drawn.append((job.run.stage, len(model.faces), metrics))

    own = (*with_stage("hull", from_a_ball), Stage("look", look))
    result = reconstruct(dataset, tmp_path / "out", replace(SMALL, steps=4), stages=own)
    assert len(begun) == 1 and (tmp_path / "out" / "mesh.glb").is_file()
    assert drawn == [("look", result["mesh"]["faces"], result)]
    assert result["notes"][0] == "a ball"
    assert result["steps"].keys() == {"coarse shape", "fine shape", "texture"}
    with pytest.raises(ValueError, match="there is no stage 'hul'; the stages are read, "):
        with_stage("hul", from_a_ball)
    with pytest.raises(ValueError, match="stage 'coarse shape' needs 'shape', which no stage before it made"):
        less = [stage for stage in STAGES if stage.name != "hull"]
        reconstruct(dataset, tmp_path / "none", SMALL, stages=less)


def test_gif_where_mp4_cannot_be_encoded(tmp_path, monkeypatch):
    real = turntable.imageio.mimwrite

    def refuse(path, *args, **kwargs):
        if str(path).endswith(".mp4"):
            raise ImportError("no ffmpeg here")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(turntable.imageio, "mimwrite", refuse)
    frames = [np.full((16, 32, 3), 10 * i, dtype=np.uint8) for i in range(6)]
    path = turntable.write_film(tmp_path, frames)
    assert path.name == "turntable.gif"
    assert [p.name for p in tmp_path.iterdir()] == ["turntable.gif"]
    assert turntable.imageio.mimread(path)[0].shape[:2] == (16, 32)


def test_photographs_without_alpha_are_reconstructed(dataset, views, tmp_path):
    """The same torus before black, no masks: the threshold must find them and the pictures be aligned."""
    folder = tmp_path / "dark"
    folder.mkdir()
    (folder / "transforms_train.json").write_text((dataset / "transforms_train.json").read_text())
    for view in views:
        save_image(folder / view.path, (0.15 + 0.85 * view.load().rgb) * view.load_mask()[..., None], linear=False)
    result = reconstruct(folder, tmp_path / "out", replace(SMALL, steps=120))
    assert result["masks"] == "threshold"
    assert "exposure" in result["findings"]  # refined where a camera took the pictures, it seems
    assert result["held_out"]["mask_iou"] > 0.93
    assert result["mesh"]["euler_number"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1; got 0"),
        ({"time_limit": -1.0}, "--time-limit must be at least 1e-09; got -1"),
        ({"time_limit": math.nan}, "--time-limit must be at least"),
        ({"faces": 10}, "--faces must be at least 100"),
        ({"texture": 4}, "--texture must be at least 16"),
        ({"device": "gpu"}, "device must be cpu or cuda; got gpu"),
        ({"holdout": 12}, "holdout must lie between 0 and 11"),
        ({"holdout": "test"}, "has no transforms_test.json beside a transforms_train.json"),
        ({"holdout": "some"}, "--holdout must be a whole number or test; got 'some'"),
    ],
)
def test_bad_options(dataset, tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        reconstruct(dataset, tmp_path / "out", Options(progress=False, **options))


def test_demo_data_set_is_what_its_recipe_makes(tmp_path):
    made = recipe("11_make_demo_dataset")
    demo = RECIPES.parent / "assets" / "demo"
    assert sum(p.stat().st_size for p in demo.rglob("*") if p.is_file()) < 3e6
    views = read_views(demo)
    assert add_masks(views) == "alpha"
    mesh = made["build"](step=0.04)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).euler_number == 0  # the handle's hole
    ctx = dr.RasterizeContext()
    cameras = list(made["cameras"](28, 256))
    for i in (0, 13, 27):
        torch.testing.assert_close(cameras[i].world_to_camera, views[i].camera.world_to_camera, atol=1e-7, rtol=0)
        picture = made["photograph"](ctx, mesh, cameras[i], samples=2)
        assert (picture[..., 3] - views[i].load_mask()).abs().mean() < 0.01


def test_metrics_are_judged_with_more_than_one_sample():
    assert metrics.SAMPLES >= 2
