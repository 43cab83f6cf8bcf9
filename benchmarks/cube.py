"""The cube recipe's figures: mean vertex error for every resolution and seed, as a table and as JSON.

python benchmarks/cube.py
"""

import argparse
import json
import runpy
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
GOALS = {16: 1e-4, 8: 5e-3, 4: 5e-2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--outlier", type=float, default=30.0, help="inf: plain L2 loss")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "cube.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "recipes"))  # for what it shares with the other recipes
    cube = runpy.run_path(str(ROOT / "recipes" / "01_cube.py"))

    rows = []
    print(f"mean vertex error after {args.steps} steps (side 1)")
    seeds = " ".join(f"{f'seed {seed}':>9}" for seed in range(args.seeds))
    print(f"{'pixels':>8} {'goal':>9} {seeds} {'mean':>9} {'s/run':>6}")
    for size, goal in GOALS.items():
        start = time.perf_counter()
        errors = []
        for seed in range(args.seeds):
            corners, _, _ = cube["fit"](size, args.steps, seed, args.device, outlier=args.outlier)
            errors.append(cube["vertex_error"](corners))
        mean, seconds = sum(errors) / len(errors), (time.perf_counter() - start) / len(errors)
        row = {"resolution": size, "goal": goal, "errors": errors, "mean": mean}
        rows.append({**row, "seconds_per_run": seconds})
        shown = " ".join(f"{e:9.1e}" for e in (*errors, mean))
        print(f"{f'{size}x{size}':>8} {goal:9.0e} {shown} {seconds:6.1f}", flush=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    figures = {"steps": args.steps, "outlier": str(args.outlier), "device": args.device, "rows": rows}
    args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
