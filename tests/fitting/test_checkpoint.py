"""Runs that are killed or stopped go on to the result that they would have had."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.ring import SHORT

from diffrast.fitting.checkpoint import Checkpoint
from diffrast.fitting.geometry import Shape
from diffrast.fitting.loop import Batches, Progress, Run, Stop, descend, optimize
from diffrast.reconstruct import reconstruct


class Killed(Exception):
    pass


def until(stage, step, error):
    def callback(name, number):
        if (name, number) == (stage, step):
            raise error

    return callback


def test_a_finished_run_leaves_no_checkpoint(whole):
    assert not (whole[0] / "checkpoint.pt").exists()


CASES = {
    "killed early": ("coarse shape", Killed),
    "stopped": ("fine shape", KeyboardInterrupt),
    "killed late": ("texture", Killed),
}


@pytest.mark.parametrize(("stage", "how"), CASES.values(), ids=CASES)
def test_going_on_gives_the_same_mesh(dataset, tmp_path, whole, stage, how):
    out = tmp_path / "out"
    if how is Killed:
        with pytest.raises(Killed):
            reconstruct(dataset, out, SHORT, callback=until(stage, 4, Killed()))
        assert sorted(p.name for p in out.iterdir()) == ["checkpoint.pt", "preflight.jpg"]
    else:
        assert reconstruct(dataset, out, SHORT, callback=until(stage, 4, how()))["interrupted"]
    steps = []
    metrics = reconstruct(dataset, out, replace(SHORT, resume=True), callback=lambda *at: steps.append(at))
    assert steps[0][0] == stage
    assert steps[0][1] in (4, 5)
    assert (out / "mesh.glb").read_bytes() == (whole[0] / "mesh.glb").read_bytes()
    assert metrics["steps"] == whole[1]["steps"]
    assert metrics["held_out"] == whole[1]["held_out"]
    assert not (out / "checkpoint.pt").exists()


def test_what_a_step_changes_is_saved_and_filled_in_again(tmp_path):
    def descent(path: Path, resume: bool = False, killed_at: int | None = None) -> tuple[torch.Tensor, list]:
        run = Run(Progress({"fit": 1.0}, False), Stop(), torch.Generator().manual_seed(0))
        run.checkpoint = Checkpoint(path, {}, 0.0, resume)
        run.progress.begin("fit")
        run.checkpoint.begin("fit", {}, {})
        x = torch.ones(5, requires_grad=True)
        optimizer, batches = torch.optim.Adam([{"params": [x], "rate": 0.1}]), Batches(5, 2, run.generator)

        def step(t: float) -> torch.Tensor:
            index = next(batches)
            if len(run.losses) == killed_at:
                raise Killed
            loss = (x[index] - torch.rand(2, generator=run.generator)).square().sum()
            descend(optimizer, loss, t)
            return loss.detach()

        optimize(run, step, {"x": x, "optimizer": optimizer, "batches": batches}, 9)
        return x.detach(), run.losses

    x, losses = descent(tmp_path / "whole.pt")
    with pytest.raises(Killed):
        descent(tmp_path / "out.pt", killed_at=4)
    again, after = descent(tmp_path / "out.pt", resume=True)
    assert torch.equal(again, x)
    assert len(after) == 9 and after == losses


def test_killed_at_any_moment_the_last_checkpoint_is_whole(dataset, tmp_path, whole):
    """Another process, killed by the system while it writes checkpoints all the time."""
    out = tmp_path / "out"
    options = [
        "--holdout",
        "2",
        "--steps",
        "24",
        "--faces",
        "500",
        "--texture",
        "64",
        "--frames",
        "0",
        "--checkpoint",
        "0",
    ]
    command = [sys.executable, "-m", "diffrast", "reconstruct", str(dataset), "--out", str(out), "--quiet", *options]
    process = subprocess.Popen(command)
    while not (out / "checkpoint.pt").exists():
        assert process.poll() is None
    stamps = set()
    while len(stamps) < 8:
        stamps.add((out / "checkpoint.pt").stat().st_mtime_ns)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "mesh.glb").exists()
    result = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert (out / "mesh.glb").read_bytes() == (whole[0] / "mesh.glb").read_bytes()


def test_an_unfinished_run_is_not_thrown_away(dataset, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Killed):
        reconstruct(dataset, out, SHORT, callback=until("coarse shape", 2, Killed()))
    with pytest.raises(
        ValueError, match=r"already holds a run \(checkpoint\.pt\); .*resume to go on with it, or overwrite"
    ):
        reconstruct(dataset, out, SHORT)
    with pytest.raises(ValueError, match=r"is of a run with another --seed, 0, not 1; go on with the same"):
        reconstruct(dataset, out, replace(SHORT, resume=True, seed=1))
    path = out / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read"):
        reconstruct(dataset, out, replace(SHORT, resume=True))


def test_resume_needs_something_to_go_on_with(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"there is no run to resume: .*checkpoint\.pt does not exist"):
        reconstruct(dataset, tmp_path / "out", replace(SHORT, resume=True))


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    from diffrast.fitting import checkpoint

    kept = Checkpoint(tmp_path / "checkpoint.pt", {"--seed": 0}, 0.0)
    kept.begin("texture", {"shape": Shape(torch.ones(2, 3), torch.ones(1, 3), torch.ones(2, 3))}, {"shape": Shape})
    kept.save({"done": 1})
    before = kept.path.read_bytes()

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        kept.save({"done": 2})
    assert kept.path.read_bytes() == before
