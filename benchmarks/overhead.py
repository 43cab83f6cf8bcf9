"""What an operator costs before it computes anything: microseconds a call on a triangle and 8x8 pixels.

`python benchmarks/overhead.py` prints the medians of every primitive, forward and backward, on one thread. With
`--against FOLDER`, the root of another checkout that has been built, both take turns in processes of their own, and the
last columns are what the other takes and the ratio of the medians: below one, this checkout is faster. What else the
machine does meets both alike.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
SIZE = (8, 8)


def cases() -> dict[str, Callable[[], object]]:
    """Name -> one call of a primitive, or of its backward."""
    import diffrast.torch as dr  # of the checkout that PYTHONPATH names

    dr.set_log_level(2)
    ctx, tri = dr.RasterizeContext(backend="cpu"), torch.tensor([[0, 1, 2]], dtype=torch.int32)
    pos = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [0, 1, 0, 1]]], requires_grad=True)
    attr, tex = (torch.rand(shape, requires_grad=True) for shape in ((1, 3, 2), (1, 8, 8, 3)))
    rast, rast_db = (x.detach() for x in dr.rasterize(ctx, pos, tri, SIZE))
    uv, uv_da = (x.detach() for x in dr.interpolate(attr, rast, tri, rast_db, "all"))
    color = torch.rand(1, *SIZE, 3, requires_grad=True)
    work = {
        "rasterize": (lambda: dr.rasterize(ctx, pos, tri, SIZE)[0], [pos]),
        "interpolate": (lambda: dr.interpolate(attr, rast, tri, rast_db, "all")[0], [attr]),
        "texture, mipmapped": (lambda: dr.texture(tex, uv, uv_da), [tex]),
        "antialias, area": (lambda: dr.antialias(color, rast, pos, tri, mode="area"), [color, pos]),
        "antialias, silhouette": (lambda: dr.antialias(color, rast, pos, tri, mode="silhouette"), [color, pos]),
    }
    found: dict[str, Callable[[], object]] = {}
    for name, (forward, inputs) in work.items():
        out = forward()
        cotangent = torch.ones_like(out)
        found[f"{name}, forward"] = forward
        found[f"{name}, backward"] = lambda out=out, inputs=inputs, cotangent=cotangent: torch.autograd.grad(
            out, inputs, cotangent, retain_graph=True
        )
    return found


def answer() -> None:
    """Measures for a number of calls each time that a line with that number comes in; answers microseconds a call."""
    torch.set_num_threads(1)
    work = cases()
    for line in sys.stdin:
        calls, times = int(line), {}
        for name, call in work.items():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[name] = 1e6 * (time.perf_counter() - start) / calls
        print(json.dumps(times), flush=True)


class Worker:
    """A process that measures one checkout."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, __file__, "--answer"]
        env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, calls: int) -> dict[str, float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(calls, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="the root of another checkout, built")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        answer()
        return
    workers = [Worker(root.resolve()) for root in (ROOT, args.against) if root is not None]
    for worker in workers:
        worker.measure(20)  # warm up
    rounds = [[worker.measure(10) for worker in workers] for _ in range(args.rounds)]
    for worker in workers:
        worker.close()
    print(f"{'microseconds a call':32} {'here':>8}" + (f" {'there':>8} {'ratio':>6}" if args.against else ""))
    for name in rounds[0][0]:
        times = [median(turn[k][name] for turn in rounds) for k in range(len(workers))]
        print(f"{name:32}", *(f"{t:8.1f}" for t in times), f"{times[0] / times[1]:6.2f}" if args.against else "")


if __name__ == "__main__":
    main()
