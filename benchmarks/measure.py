"""How everything here is measured: medians of wall time after a warm-up, a copy in the same run as the floor, results
as JSON."""

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch

import diffrast

RESULTS = Path(__file__).resolve().parent / "results"


def milliseconds(work: Callable[[], object], repeats: int = 15, warm_up: int = 3) -> float:
    """The median wall time of one call."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def copy_bandwidth(size: int = 256 << 20) -> float:
    """Bytes read and written per second by a copy too large for the caches."""
    source, target = torch.ones(size // 4), torch.ones(size // 4)
    return 2 * size / (1e-3 * milliseconds(lambda: target.copy_(source)))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, object]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffrast": diffrast.__version__,
    }


def table(title: str, rows: list[dict[str, object]]) -> None:
    """Prints rows of equal keys, numbers with three digits."""
    text = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    head = list(rows[0])
    widths = [max(len(line[k]) for line in [head, *text]) for k in range(len(head))]
    print(f"\n{title}")
    for line in [head, *text]:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def save(name: str, results: dict[str, object]) -> Path:
    """Writes benchmarks/results/<name>-<processor>-<date>.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    slug = "-".join("".join(c if c.isalnum() else " " for c in processor().lower()).split())
    path = RESULTS / f"{name}-{slug}-{date.today().isoformat()}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")
    print(f"\nwrote {path}")
    return path
