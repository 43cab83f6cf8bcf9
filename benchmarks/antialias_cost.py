"""What mode "area" of antialias costs, in times of mode "silhouette": `python benchmarks/antialias_cost.py`.

Both modes take turns, and the least time of each counts, so that what else the machine does at the time meets both: on
a shared machine the ratios mean more than the times, which are upper bounds. One thread. Writes `antialias_cost`,
`.json` and
`.md`, to
`benchmarks/results/`. Part of `make bench-gradients`.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

import diffrast.torch as dr
from diffrast.gradcheck import shapes
from diffrast.gradcheck.case import moved, project, smooth_colors
from diffrast.gradcheck.report import machine

RESULTS = Path(__file__).resolve().parent / "results"
MODES = ("silhouette", "area")
# Name -> mesh, sides of the picture.
SCENES = {
    "cube": (shapes.cube, (16, 64, 256)),
    "bumpy sphere, 20k triangles": (lambda: shapes.bumpy(5), (64, 256, 512)),
    "bumpy sphere, 82k triangles": (lambda: shapes.bumpy(6), (64, 256)),
    "smooth sphere, 20k triangles": (lambda: shapes.icosphere(5), (1024,)),
}
COLUMNS = (
    "scene",
    "size",
    "pairs",
    "silhouettes",
    "crossings",
    *(f"{what} {unit}" for what in ("op", "gradient") for unit in ("ms", "ratio")),
)


class Case:
    def __init__(self, mesh, size: int) -> None:
        points, self.tri = mesh
        pose = torch.tensor([0.4, 0.8, 0.3, 0.02, 0.03, 0.1], dtype=torch.float64)
        points = points * (0.6 / float(points.norm(dim=1).max()))
        self.pos = project(moved(points, pose), 3.0, 3.2).float()[None].requires_grad_()
        self.attributes, self.size = smooth_colors(points).float(), (size, size)
        self.ctx, self.topology = dr.RasterizeContext(), dr.antialias_construct_topology_hash(self.tri)
        with torch.no_grad():
            self.rast, _ = dr.rasterize(self.ctx, self.pos, self.tri, self.size)
        self.color = dr.interpolate(self.attributes, self.rast, self.tri)[0].detach().requires_grad_()
        self.cotangent = torch.rand(self.color.shape, generator=torch.Generator().manual_seed(0))

    def op(self, mode: str) -> None:
        """antialias, forward and backward."""
        out = dr.antialias(self.color, self.rast, self.pos, self.tri, self.topology, mode=mode)
        torch.autograd.grad(out, (self.color, self.pos), self.cotangent)

    def gradient(self, mode: str) -> None:
        """rasterize, interpolate and antialias, forward and backward."""
        rast, _ = dr.rasterize(self.ctx, self.pos, self.tri, self.size)
        color, _ = dr.interpolate(self.attributes, rast, self.tri)
        out = dr.antialias(color, rast, self.pos, self.tri, self.topology, mode=mode)
        torch.autograd.grad(out, self.pos, self.cotangent)

    def counts(self) -> dict[str, int]:
        """Pairs of neighbouring pixels with different triangles, and in how many of them each mode finds something."""
        ids, inputs = (self.rast[..., 3], (self.color, self.rast, self.pos, self.tri, self.topology.ring, 1.0, "none"))
        pairs = torch.ops.diffrast.antialias(*inputs)[1]
        code = torch.ops.diffrast.antialias_area(*inputs)[1]
        return {
            "pairs": int((ids[:, 1:] != ids[:, :-1]).sum() + (ids[..., 1:] != ids[..., :-1]).sum()),
            "silhouettes": int((pairs & 15 != 0).sum() + (pairs >> 4 != 0).sum()),
            "crossings": int((code & 1).sum() + (code >> 1 & 1).sum()),
        }


def measured(work: Callable[[str], None], seconds: float = 5.0) -> dict[str, float]:
    """The least time of each mode, in ms."""
    least: dict[str, float] = {mode: float("inf") for mode in MODES}
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < 15 or time.perf_counter() < end:
        for mode in MODES:
            start = time.perf_counter()
            work(mode)
            least[mode] = min(least[mode], 1e3 * (time.perf_counter() - start))
        rounds += 1
    return least


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for name, (mesh, sizes) in SCENES.items():
        for size in sizes:
            case = Case(mesh(), size)
            row = {"scene": name, "size": size, **case.counts()}
            for what, work in (("op", case.op), ("gradient", case.gradient)):
                least = measured(work)
                row |= {f"{what} ms": least["area"], f"{what} ratio": least["area"] / least["silhouette"]}
            rows.append(row)
            print(" ".join(f"{row[c]:.2f}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS), flush=True)
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = (f"{row[c]:.2f}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"ms: of mode area; ratio: over that of mode silhouette. Measured on {machine()}."]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "antialias_cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps({"machine": machine(), "rows": rows}, indent=1)
    (RESULTS / "antialias_cost.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
