"""Runs that can be repeated from a file, shared by several processes, and that lose nothing when writing fails."""

import json
import math
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from helpers.ring import SHORT

from diffrast.fitting import distributed
from diffrast.fitting.distributed import Group
from diffrast.fitting.metrics import chamfer
from diffrast.reconstruct import Options, config, reconstruct

ROOT = Path(__file__).resolve().parents[2]


# --- The configuration file -------------------------------------------------------------------------------------------


def test_a_run_leaves_the_file_that_repeats_it(dataset, whole, tmp_path):
    out, metrics = whole
    given = config.load(out / "config.yaml")
    assert Path(given.pop("dataset")) == dataset.resolve()
    own = {name: getattr(SHORT, name) for name in config.OWN}
    assert Options(**given, **own) == SHORT
    assert metrics["options"]["seed"] == 0
    command = [sys.executable, "-m", "diffrast", "reconstruct", "--config", str(out / "config.yaml"), "--quiet"]
    result = subprocess.run([*command, "--out", str(tmp_path / "again")], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "again" / "mesh.glb").read_bytes() == (out / "mesh.glb").read_bytes()
    assert (tmp_path / "again" / "config.yaml").read_bytes() == (out / "config.yaml").read_bytes()


def test_every_option_is_in_the_file(tmp_path):
    text = config.dump(tmp_path, Options())
    names = {f.name for f in fields(Options)} - set(config.OWN)
    assert set(yaml.safe_load(text)) == names | {"dataset"}


def test_paths_count_from_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text("dataset: photos\nmasks: ../m\ntime-limit: 60\nsteps:\n")
    assert config.load(tmp_path / "run.yaml") == {
        "dataset": str(tmp_path / "photos"),
        "masks": str(tmp_path / "../m"),
        "time_limit": 60.0,
        "steps": None,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", r"run\.yaml: there is no option 'stepz'; is 'steps' meant\?"),
        ("overwrite: true", r"there is no option 'overwrite'"),
        ("steps: many", r"run\.yaml: steps must be a whole number or nothing; got 'many'"),
        ("seed: true", r"seed must be a whole number; got True"),
        ("time_limit: [1]", r"time_limit must be a number or nothing; got \[1\]"),
        ("baseline: magic", r"baseline must be adam-vertices or no-remeshing or nothing; got 'magic'"),
        ("[1, 2]", r"run\.yaml must hold options by name"),
        ("steps: {", r"run\.yaml is not valid YAML"),
        ("steps: !!python/object/apply:os.getcwd []", r"run\.yaml is not valid YAML"),
    ],
)
def test_faults_of_the_file(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        config.load(tmp_path / "run.yaml")
    with pytest.raises(ValueError, match=r"cannot read .*none\.yaml"):
        config.load(tmp_path / "none.yaml")


def test_metrics_say_what_ran_where(whole):
    out, metrics = whole
    written = json.loads((out / "metrics.json").read_text())
    assert written == json.loads(json.dumps(metrics))
    assert written["versions"]["torch"] == torch.__version__
    assert written["device"]["type"] == "cpu"
    assert 100 < written["peak_memory_mb"]["process"] < 50_000
    assert {"read", "hull", "texture", "write", "total"} <= set(written["seconds"])
    assert set(written["preflight"]) == {"views", "masks", "poses", "scale", "exposure", "assumed"}


# --- Several processes ------------------------------------------------------------------------------------------------


def test_a_batch_is_shared():
    index = torch.tensor([5, 2, 7, 1, 4])
    parts = [Group(rank, 2).part(index) for rank in (0, 1)]
    assert [p[0].tolist() for p in parts] == [[5, 7, 4], [2, 1]]
    assert [p[1] for p in parts] == [0.6, 0.4]
    assert Group(2, 3).part(index[:2])[1] == 0.0  # more processes than views


def test_alone_nothing_is_exchanged():
    group = Group()
    loss = torch.tensor(2.0, requires_grad=True)
    assert float(group.total(loss, [loss])) == 2
    assert group.agree(0.3, True) == (0.3, True)
    assert group.share(group) is group


def test_two_processes_come_to_the_same_result(dataset, whole, tmp_path):
    out = tmp_path / "out"
    options = {"holdout": 2, "steps": SHORT.steps, "faces": SHORT.faces, "texture": SHORT.texture, "frames": 0}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "diffrast"]
    result = subprocess.run(
        [*command, "reconstruct", str(dataset), "--out", str(out), "--quiet", *given],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("wrote") == 1
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == whole[1]["steps"]
    for group in ("held_out", "used"):
        assert metrics[group]["psnr"] == pytest.approx(whole[1][group]["psnr"], abs=0.2)
        assert metrics[group]["mask_iou"] == pytest.approx(whole[1][group]["mask_iou"], abs=0.005)
    meshes = [trimesh.load(folder / "mesh.glb", force="mesh", process=False) for folder in (out, whole[0])]
    assert chamfer(meshes[0].vertices, meshes[0].faces, meshes[1], samples=5000)["chamfer_percent"] < 0.2
    assert sorted(p.name for p in out.iterdir()) == [
        "config.yaml",
        "mesh.glb",
        "metrics.json",
        "preflight.jpg",
        "report.html",
    ]


def test_a_dataclass_of_tensors_moves():
    from diffrast.fitting.geometry import Shape

    shape = Shape(torch.zeros(3, 3), torch.zeros(1, 3, dtype=torch.int32), torch.ones(3, 3))
    moved = distributed._moved((shape, {"a": [shape.colors]}, None), "meta")
    assert moved[0].vertices.device.type == "meta"
    assert moved[1]["a"][0].shape == (3, 3)
    assert moved[2] is None


# --- Folders and disks ------------------------------------------------------------------------------------------------


def test_folders_that_cannot_be_used(dataset, whole, tmp_path):
    with pytest.raises(
        ValueError, match=r"already holds a run \(mesh\.glb, .*metrics\.json\); choose another folder or give overwrite"
    ):
        reconstruct(dataset, whole[0], SHORT)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match=r"cannot make the folder .*file"):
        reconstruct(dataset, tmp_path / "file", SHORT)
    with pytest.raises(ValueError, match=r"cannot make the folder .*file/deeper"):
        reconstruct(dataset, tmp_path / "file" / "deeper", SHORT)


def test_a_folder_without_write_permission(dataset, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir(mode=0o555)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"cannot write into the folder .*out"):
        reconstruct(dataset, tmp_path / "out", SHORT)


def test_an_earlier_run_stays_until_a_new_one_is_done(dataset, whole, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def killed(stage, step):
        if stage == "texture":
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        reconstruct(dataset, out, replace(SHORT, overwrite=True, seed=3), callback=killed)
    after = {p.name: p.read_bytes() for p in out.iterdir() if p.name != "checkpoint.pt"}
    assert after == before


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(dataset, tmp_path, monkeypatch):
    """Writing fails in the middle of a run; what was saved before is whole, and the run goes on from it."""
    from diffrast.fitting import checkpoint
    from diffrast.io.atomic import write_bytes

    room = [3]

    def writes(path, data):
        room[0] -= 1
        if room[0] < 0:
            Path(path).with_name(".checkpoint.part").write_bytes(data[: len(data) // 2])
            Path(path).with_name(".checkpoint.part").unlink()
            raise OSError(28, f"cannot write {path}: No space left on device")
        write_bytes(path, data)

    monkeypatch.setattr(checkpoint, "write_bytes", writes)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        reconstruct(dataset, tmp_path / "out", SHORT)
    saved = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert saved["progress"]["done"] == 2
    monkeypatch.undo()
    metrics = reconstruct(dataset, tmp_path / "out", replace(SHORT, resume=True))
    assert not metrics["interrupted"]
    assert np.isfinite(metrics["used"]["psnr"])


def test_another_seed_gives_another_mesh(dataset, whole, tmp_path):
    reconstruct(dataset, tmp_path / "out", replace(SHORT, seed=1))  # that the same one repeats: the first test here
    assert (tmp_path / "out" / "mesh.glb").read_bytes() != (whole[0] / "mesh.glb").read_bytes()


def test_photographs_that_were_left_out_are_in_the_report(dataset, tmp_path):
    import shutil

    folder = tmp_path / "photos"
    shutil.copytree(dataset, folder)
    picture = folder / "v5.png"
    picture.write_bytes(picture.read_bytes()[:300])
    metrics = reconstruct(folder, tmp_path / "out", SHORT)
    assert len(metrics["views"]) == 13
    assert any("v5.png cannot be read" in note for note in metrics["notes"])
    assert "v5.png cannot be read" in (tmp_path / "out" / "report.html").read_text()
    assert math.isfinite(metrics["held_out"]["psnr"])


# --- The report -------------------------------------------------------------------------------------------------------


def test_pictures_of_a_model(views):
    import diffrast.torch as dr
    from diffrast.fitting.appearance import unwrap
    from diffrast.fitting.geometry import Shape
    from diffrast.reconstruct.portraits import coverage_image, rig, six_sides

    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    ctx = dr.RasterizeContext()
    model = unwrap(ctx, Shape(vertices, torch.tensor(ball.faces, dtype=torch.int32), vertices.abs()), 128)
    seen = torch.full((128, 128), 5, dtype=torch.int32)
    seen[:64] = 0
    picture = coverage_image(replace(model, seen=seen), 15)
    assert float(picture[~model.covered].amin()) == 1
    torch.testing.assert_close(picture[:64][model.covered[:64]].mean(0), torch.tensor([0.85, 0.1, 0.1]))
    torch.testing.assert_close(picture[64:][model.covered[64:]].mean(0), torch.tensor([0.98, 0.9, 0.25]))
    sides = six_sides(ctx, model, views, 32)
    assert sides.shape == (64, 192, 3)
    assert all(float(sides[32:, 32 * i : 32 * i + 32].std()) > 0.05 for i in range(6))
    shape, frustums = rig(ctx, model, views, 90, 60)
    assert shape.shape == (60, 90, 3)
    assert [(pyramid.count("M"), edge.count("L")) for pyramid, edge in frustums] == [(5, 1)] * len(views)


def test_curves_have_every_stage():
    from diffrast.reconstruct.report import curve

    values = [("coarse", 10.0 / (i + 1)) for i in range(100)] + [("texture", 0.01)] * 50
    plot = curve([(name, math.log10(value)) for name, value in values], 1, "1e{}")
    assert [(line["name"], line["steps"]) for line in plot["lines"]] == [("coarse", 100), ("texture", 50)]
    assert [tick["name"] for tick in plot["ticks"]] == ["1e-2", "1e-1", "1e0", "1e1"]
    assert all("nan" not in line["points"] for line in plot["lines"])
    assert curve([], 1, "1e{}") == {}
