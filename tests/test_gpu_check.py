"""`make gpu-check`: on a machine without a GPU it says so; its reading of results needs none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("script", ["gpu_check.py", "gpu.py"])
def test_without_a_gpu_it_says_so(script, tmp_path):
    command = [sys.executable, f"benchmarks/{script}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    assert result.stdout.strip() == "no CUDA device"


def test_a_step_that_fails_or_runs_out_of_time_fails_the_check(gpu_check, tmp_path):
    python = [sys.executable, "-c"]
    assert gpu_check.run([*python, "print('fine')"], 60, tmp_path / "log") == (0, "fine\n")
    status, _ = gpu_check.run([*python, "raise SystemExit(3)"], 60, tmp_path / "log")
    assert status == 3
    slow = "import time; print('begun', flush=True); time.sleep(60)"
    assert gpu_check.run([*python, slow], 1, tmp_path / "log") == (124, "begun\n")
    assert (tmp_path / "log").read_text().count("exit status") == 3
    assert gpu_check.ok({"tests": {"exit status": 0}, "sanitizer": {"memcheck": {"exit status": 0}}})
    assert not gpu_check.ok({"tests": {"exit status": 0}, "sanitizer": {"memcheck": {"exit status": 99}}})


def test_failures_are_named(gpu_check, tmp_path, monkeypatch):
    output = "F.s\nFAILED tests/test_x.py::test_y[cuda] - boom\n1 failed, 1 passed, 1 skipped in 2.0s\n"
    monkeypatch.setattr(gpu_check, "run", lambda *a, **k: (1, output))
    found = gpu_check.tests(tmp_path)
    assert found == {
        "exit status": 1,
        "failed": 1,
        "passed": 1,
        "skipped": 1,
        "failures": ["tests/test_x.py::test_y[cuda]"],
    }


def test_floors_count_each_byte_once(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    rows = {row["op"]: row for row in gpu.primitive_table(1e12, "cpu", size=64, batch=2)}
    pixels, triangles = 2 * 64 * 64, 12 * gpu.Workload(20_000, 64, 2, "cpu").tri.shape[0]
    uv = gpu.Workload(20_000, 64, 2, "cpu").uv.numel() * 4
    # rast and rast_db in, uv and its derivatives out; then their gradients, and those of rast, rast_db and attr
    assert rows["interpolate"]["forward MB"] == pytest.approx((pixels * (32 + 24) + triangles + uv) / 1e6)
    assert rows["interpolate"]["backward MB"] == pytest.approx((pixels * (64 + 24) + triangles + 2 * uv) / 1e6)
    assert rows["interpolate"]["forward floor ms"] == pytest.approx(float(rows["interpolate"]["forward MB"]) / 1e3)
