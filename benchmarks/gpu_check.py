"""Everything that only a GPU can show, meant to fit into 8 minutes: `make gpu-check [OUT=folder]`.

1. the tests on the backend `cuda`, and those of tests/backends/test_cuda.py;
2. compute-sanitizer (memcheck, racecheck) on a short selection of them, where it is installed;
3. benchmarks/gpu.py.

Writes benchmarks/results/<device>-<date>.json, and into OUT gpu-check.json (the same), pytest.log and sanitizer.log.
Exits with 2, "no CUDA device", where there is none, with 1 if anything failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch
from measure import RESULTS, machine

ROOT = Path(__file__).resolve().parents[1]
SECONDS = {"tests": 220, "sanitizer": 60, "benchmarks": 120}  # each step's limit; the sanitizer's is per tool
SHORT = ["tests/ops/test_agreement.py", "-k", "cuda and (soup or near)"]


def run(command: list[str], seconds: float, log: Path, **environment: str) -> tuple[int, str]:
    """Exit status (124: ran out of time) and output, which is appended to the log."""
    start = time.monotonic()
    try:
        result = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            timeout=seconds,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        status, output = result.returncode, result.stdout
    except subprocess.TimeoutExpired as error:
        kept = error.stdout or b""
        status, output = 124, kept if isinstance(kept, str) else kept.decode(errors="replace")
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n{output}\nexit status {status}, {time.monotonic() - start:.0f} s\n\n")
    return status, output


def tests(out: Path) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "-k",
        "cuda or on_a_gpu",
        "-p",
        "no:cacheprovider",
        "tests",
    ]
    status, output = run(command, SECONDS["tests"], out / "pytest.log")
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return {"exit status": status, **counts, "failures": failures}


def sanitizer(out: Path) -> dict[str, object]:
    if shutil.which("compute-sanitizer") is None:
        return {"skipped": "compute-sanitizer is not installed"}
    found: dict[str, object] = {}
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "99"]
        if tool == "racecheck":
            command.remove("--report-api-errors")
            command.remove("no")
        command += [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SHORT]
        # torch's allocator would hide what is read beyond a tensor.
        status, output = run(command, SECONDS["sanitizer"], out / "sanitizer.log", PYTORCH_NO_CUDA_MEMORY_CACHING="1")
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
        found[tool] = {"exit status": status, "summary": summary[-1] if summary else "none"}
    return found


def benchmarks(out: Path) -> dict[str, object]:
    place = out / "benchmarks.json"
    command = [sys.executable, "benchmarks/gpu_check.py", "--only-benchmarks", str(place)]
    status, output = run(command, SECONDS["benchmarks"], out / "pytest.log")
    print(output)
    return {"exit status": status, **(json.loads(place.read_text()) if place.exists() else {})}


def only_benchmarks(place: Path) -> int:
    import gpu

    place.write_text(json.dumps(gpu.measure()))
    return 0


def ok(step: object) -> bool:
    """Whether a step and the steps inside it ended with status 0."""
    return not isinstance(step, dict) or (step.get("exit status", 0) == 0 and all(map(ok, step.values())))


def main() -> int:
    if "--only-benchmarks" in sys.argv:
        return only_benchmarks(Path(sys.argv[-1]))
    if not torch.cuda.is_available():
        print("no CUDA device")
        return 2
    out = Path(os.environ.get("OUT") or ROOT / "out" / "gpu-check")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.log"):
        old.unlink()
    start = time.monotonic()
    device = torch.cuda.get_device_name()
    results: dict[str, object] = {"device": device, "machine": machine(), "cuda": torch.version.cuda}
    for step in (tests, sanitizer, benchmarks):
        results[step.__name__] = step(out)
        print(step.__name__, json.dumps(results[step.__name__], indent=1)[:2000])
    results["seconds"] = round(time.monotonic() - start)
    text = json.dumps(results, indent=1) + "\n"
    (out / "gpu-check.json").write_text(text)
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    (RESULTS / f"{name}-{date.today()}.json").write_text(text)
    return 0 if ok(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
