"""Measures the primitives on a CUDA device, with CUDA events: `python benchmarks/gpu.py [--no-json] [--floors
BYTES_PER_SECOND]`.

Medians after a warm-up. The floor is the time that a plain copy, measured in the same run, takes for the bytes of an
operation's inputs and outputs, each counted once. `--floors 3e12` prints the bytes and floors for that bandwidth
instead, with no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from statistics import median

import torch
from measure import save, table
from workloads import clip_positions, sphere

import diffrast.torch as dr

Rows = list[dict[str, object]]


def milliseconds(work: Callable[[], object], repeats: int = 20, warm_up: int = 5) -> float:
    """The median time between two events around one call."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return median(times)


def copy_bandwidth(size: int = 1 << 30) -> float:
    """Bytes read and written per second by a copy that no cache holds."""
    source = torch.rand(size // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * size / (1e-3 * milliseconds(lambda: target.copy_(source)))


def size_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


class Workload:
    """A textured sphere, `batch` times, and what each primitive takes and gives."""

    def __init__(self, triangles: int, size: int, batch: int, device: str, texels: int = 1024) -> None:
        points, uv, tri = sphere(triangles)
        turns = [clip_positions(points, tilt=0.5 + 0.1 * k) for k in range(batch)]
        g = torch.Generator().manual_seed(0)
        self.size = size
        self.ctx = dr.RasterizeContext(backend="cuda" if device == "cuda" else "cpu")
        self.pos = torch.cat(turns).to(device).requires_grad_()
        self.uv, self.tri = uv.to(device).requires_grad_(), tri.to(device)
        self.tex = torch.rand(1, texels, texels, 3, generator=g).to(device).requires_grad_()
        self.target = torch.rand(batch, size, size, 3, generator=g).to(device)
        self.topology = dr.antialias_construct_topology_hash(self.tri)

    def rasterize(self) -> tuple[torch.Tensor, torch.Tensor]:
        return dr.rasterize(self.ctx, self.pos, self.tri, (self.size, self.size))

    def image(self) -> torch.Tensor:
        rast, rast_db = self.rasterize()
        uv, uv_da = dr.interpolate(self.uv, rast, self.tri, rast_db, "all")
        color = dr.texture(self.tex, uv, uv_da)
        return dr.antialias(color, rast, self.pos, self.tri, self.topology, mode="silhouette")


def primitives(load: Workload) -> dict[str, tuple[Callable[[], object], list[torch.Tensor]]]:
    """Name -> (forward, the inputs that get gradients)."""
    with torch.no_grad():
        rast, rast_db = load.rasterize()
        uv, uv_da = dr.interpolate(load.uv, rast, load.tri, rast_db, "all")
        color = dr.texture(load.tex, uv, uv_da)
    leaves = [x.requires_grad_() for x in (rast, rast_db, uv, uv_da, color)]
    rast, rast_db, uv, uv_da, color = leaves
    return {
        "rasterize": (load.rasterize, [load.pos]),
        "interpolate": (lambda: dr.interpolate(load.uv, rast, load.tri, rast_db, "all"), [load.uv, rast, rast_db]),
        "texture": (lambda: dr.texture(load.tex, uv, uv_da), [load.tex, uv, uv_da]),
        "antialias": (
            lambda: dr.antialias(color, rast.detach(), load.pos, load.tri, load.topology, mode="silhouette"),
            [color, load.pos],
        ),
    }


def primitive_table(bandwidth: float, device: str, size: int = 2048, batch: int = 4) -> Rows:
    """Each primitive alone. Inputs without a gradient (rast in antialias, triangles) are read too, and counted."""
    load = Workload(20_000, size, batch, device)
    also = {"antialias": [(batch, size, size, 4)]}  # rast
    rows: Rows = []
    for name, (forward, inputs) in primitives(load).items():
        result = forward()
        outputs = [o for o in (result if isinstance(result, tuple) else (result,)) if isinstance(o, torch.Tensor)]
        read = size_of([*inputs, load.tri]) + sum(4 * torch.Size(s).numel() for s in also.get(name, []))
        written = size_of(outputs)
        cotangents = [torch.rand_like(o) for o in outputs]
        row: dict[str, object] = {
            "op": name,
            "workload": f"{batch} x {size}^2, {load.tri.shape[0]} triangles",
            "forward MB": (read + written) / 1e6,
            "forward floor ms": 1e3 * (read + written) / bandwidth,
            # It reads what the forward read and the gradients of its outputs, and writes those of its inputs.
            "backward MB": (read + written + size_of(inputs)) / 1e6,
            "backward floor ms": 1e3 * (read + written + size_of(inputs)) / bandwidth,
        }
        if device == "cuda":

            def backward(outputs=outputs, inputs=inputs, cotangents=cotangents) -> None:
                torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True)

            with torch.no_grad():
                row["forward ms"] = milliseconds(forward)
            row["backward ms"] = milliseconds(backward)
            for part in ("forward", "backward"):
                row[f"{part} ratio"] = float(str(row[f"{part} ms"])) / float(str(row[f"{part} floor ms"]))
        rows.append(row)
    return rows


# Triangles and pixels along a side: a few, many, more than pixels.
RASTERIZE = ((12, 1024), (20_000, 1024), (500_000, 4096), (20_000_000, 1024), (20_000_000, 2048))


def rasterize_table(bandwidth: float) -> Rows:
    """Both outputs, and without rast_db's: its triangles are read, its pixels written."""
    rows: Rows = []
    for triangles, size in RASTERIZE:
        load = Workload(triangles, size, 1, "cuda", texels=1)
        with torch.no_grad():
            count = size_of([load.pos, load.tri]) + 32 * size * size
            time = milliseconds(load.rasterize)
        count_of = load.tri.shape[0]
        rows.append(
            {
                "op": "rasterize",
                "workload": f"{size}^2, {count_of} triangles",
                "forward ms": time,
                "forward floor ms": 1e3 * count / bandwidth,
                "triangles per second": count_of / (1e-3 * time),
            }
        )
        del load
        torch.cuda.empty_cache()
    return rows


def iteration_table() -> Rows:
    """Forward, L2, backward to vertices and texture, Adam: launched one by one, and as a CUDA graph."""
    load = Workload(5_000, 512, 1, "cuda", texels=512)
    optimizer = torch.optim.Adam([load.pos, load.tex], lr=1e-4, capturable=True)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=False)
        torch.nn.functional.mse_loss(load.image(), load.target).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            iteration()
    torch.cuda.current_stream().wait_stream(stream)
    eager = milliseconds(iteration, 50)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        iteration()
    workload = f"512^2, {load.tri.shape[0]} triangles, texture 512^2"
    return [
        {"op": "iteration", "workload": workload, "ms": eager, "how": "launched one by one"},
        {"op": "iteration", "workload": workload, "ms": milliseconds(graph.replay, 50), "how": "CUDA graph"},
    ]


def measure() -> dict[str, object]:
    """Every table of this file; prints them as they come."""
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}; copy: {bandwidth / 1e9:.0f} GB/s (read + written)")
    results: dict[str, object] = {"device": torch.cuda.get_device_name(), "copy_bytes_per_second": bandwidth}
    tables = {
        "primitives": lambda: primitive_table(bandwidth, "cuda"),
        "rasterize": lambda: rasterize_table(bandwidth),
        "whole iteration": iteration_table,
    }
    for title, make in tables.items():
        results[title] = make()
        table(title, results[title])  # pyright: ignore[reportArgumentType]
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-json", action="store_true", help="print only")
    parser.add_argument("--floors", type=float, metavar="BYTES_PER_SECOND", help="print floors; no GPU is needed")
    args = parser.parse_args()
    if args.floors:
        table(f"floors at {args.floors:.2g} bytes per second", primitive_table(args.floors, "cpu"))
        return 0
    if not torch.cuda.is_available():
        print("no CUDA device")
        return 2
    results = measure()
    if not args.no_json:
        save("gpu", results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
