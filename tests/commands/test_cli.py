"""The command: exit codes, messages without tracebacks, and Ctrl-C from outside."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import run

from diffrast import __version__, cli
from diffrast.io import atomic as files

QUICK = ["--steps", "3", "--faces", "400", "--texture", "64", "--frames", "2", "--quiet"]


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"diffrast {__version__}\n"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reconstruct", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in ("out", "holdout", "time-limit", "steps", "seed", "masks", "overwrite", "device", "json"):
        assert f"--{option}" in text
    with pytest.raises(SystemExit) as stopped:
        cli.main(["paint"])
    assert stopped.value.code == 2


def test_a_run_and_its_refusal_to_overwrite(demo, tmp_path, capsys):
    code, out, err = run(capsys, "reconstruct", demo, "--out", tmp_path / "a", "--holdout", 2, *QUICK)
    assert code == 0, err
    assert "held-out views    2   PSNR" in out
    assert f"wrote {tmp_path / 'a' / 'report.html'}" in out
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    code, _, err = run(capsys, "reconstruct", demo, "--out", tmp_path / "a", *QUICK)
    assert code == 2
    assert "already holds a run (mesh.glb, turntable.mp4, report.html, metrics.json)" in err
    assert "or give overwrite" in err
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    code, out, _ = run(capsys, "reconstruct", demo, "--out", tmp_path / "a", "--overwrite", "--json", *QUICK)
    assert code == 0
    written = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert json.loads(out) == {"out": str(tmp_path / "a"), **written}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [("nowhere", "nowhere is not a folder"), ("empty", "has no known layout"), ("broken", "is not valid JSON")],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, dataset, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "transforms_train.json").write_text("{")
    code, out, err = run(capsys, "reconstruct", tmp_path / dataset, "--out", tmp_path / "out", *QUICK)
    assert code == 2
    assert out == ""
    assert err.startswith("diffrast: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_out_that_is_a_file(demo, tmp_path, capsys):
    (tmp_path / "out").write_text("here")
    code, _, err = run(capsys, "reconstruct", demo, "--out", tmp_path / "out", *QUICK)
    assert code == 2
    assert f"cannot make the folder {tmp_path / 'out'}" in err


@pytest.mark.parametrize("name", ["mesh.glb", "turntable.mp4", "report.html", "metrics.json"])
def test_a_full_disk_names_the_file_and_leaves_no_part(demo, tmp_path, capsys, monkeypatch, name):
    real = os.replace

    def full(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    code, _, err = run(capsys, "reconstruct", demo, "--out", tmp_path / "out", *QUICK)
    assert code == 1
    assert f"diffrast: error: cannot write {tmp_path / 'out' / name}: No space left on device" in err
    left = [p.name for p in (tmp_path / "out").iterdir()]
    assert name not in left
    assert not [p for p in left if ".part" in p]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent differently on Windows")
def test_ctrl_c_from_outside_writes_everything(demo, tmp_path):
    out = tmp_path / "out"
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "diffrast",
                "reconstruct",
                str(demo),
                "--out",
                str(out),
                "--steps",
                "1000000",
                "--faces",
                "800",
                "--texture",
                "64",
                "--frames",
                "2",
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            while "loss" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=300) == 130, log.read_text()
        finally:
            process.kill()
    outputs = {"mesh.glb", "turntable.mp4", "report.html", "metrics.json", "preflight.jpg", "config.yaml"}
    assert {p.name for p in out.iterdir()} == outputs | {"checkpoint.pt"}
    text = log.read_text()
    assert "stopped early" in text
    assert "Traceback" not in text
