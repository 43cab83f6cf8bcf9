"""Times of the primitives and of a whole optimization step, on the CPU: `make bench`, or `python
benchmarks/primitives.py`.

Prints tables and writes JSON. Every time stands beside its floor, the bytes that must be read and written over the
bandwidth of a copy measured in the same run. On a machine that does other work at the same time the figures mean
little.
"""

import argparse
from functools import partial

import torch
from measure import copy_bandwidth, machine, milliseconds, save, table
from workloads import clip_positions, sphere

import diffrast.torch as dr
from diffrast.backends import memory

SIZES = (512, 1024, 2048)
TRIANGLES = (1_300, 20_000, 330_000)


class Step:
    """One optimization step of a textured mesh: rasterize, interpolate with uv_da, trilinear texture, antialias, L2,
    backward."""

    def __init__(self, triangles: int, size: int) -> None:
        points, self.uv, self.tri = sphere(triangles)
        self.pos = clip_positions(points).requires_grad_()
        generator = torch.Generator().manual_seed(0)
        self.tex = torch.rand(1, 1024, 1024, 3, generator=generator).requires_grad_()
        self.target = torch.rand(1, size, size, 3, generator=generator)
        self.ctx, self.size = dr.RasterizeContext(backend="cpu"), size
        self.topology = dr.antialias_construct_topology_hash(self.tri)

    def forward(self) -> dict[str, torch.Tensor]:
        rast, rast_db = dr.rasterize(self.ctx, self.pos, self.tri, (self.size, self.size))
        uv, uv_da = dr.interpolate(self.uv, rast, self.tri, rast_db, "all")
        color = dr.texture(self.tex, uv, uv_da)
        image = dr.antialias(color, rast, self.pos, self.tri, self.topology, mode="silhouette")
        return {"rast": rast, "rast_db": rast_db, "uv": uv, "uv_da": uv_da, "color": color, "image": image}

    def whole(self) -> None:
        self.pos.grad = self.tex.grad = None
        torch.nn.functional.mse_loss(self.forward()["image"], self.target).backward()


def rasterize_table(bandwidth: float) -> list[dict[str, object]]:
    ctx = dr.RasterizeContext(backend="cpu")
    rows = []
    for triangles in TRIANGLES:
        points, _, tri = sphere(triangles)
        pos = clip_positions(points)
        for size in SIZES:
            time = milliseconds(lambda: dr.rasterize(ctx, pos, tri, (size, size)))  # noqa: B023 - called at once
            floor = 1e3 * size * size * 32 / (bandwidth / 2)
            rows.append({"triangles": tri.shape[0], "size": size, "ms": time, "floor ms": floor})
    return rows


def step_table(keep_freed: bool) -> list[dict[str, object]]:
    if keep_freed:
        dr.keep_freed_memory()
    rows = []
    for size in SIZES:
        step = Step(20_000, size)
        rows.append({"triangles": step.tri.shape[0], "size": size, "ms": milliseconds(step.whole, 9)})
    return rows


def op_table(size: int, bandwidth: float) -> list[dict[str, object]]:
    """Each primitive alone, forward and backward, with the bytes of its images and textures."""
    step = Step(20_000, size)
    with torch.no_grad():
        out = step.forward()
    leaf = {name: value.detach().requires_grad_() for name, value in out.items()}
    pixels = size * size
    cases = {
        "rasterize": (lambda: dr.rasterize(step.ctx, step.pos, step.tri, (size, size)), [step.pos], 32),
        "interpolate": (
            lambda: dr.interpolate(step.uv, leaf["rast"], step.tri, leaf["rast_db"], "all"),
            [leaf["rast"], leaf["rast_db"]],
            56,
        ),
        "texture": (lambda: dr.texture(step.tex, leaf["uv"], leaf["uv_da"]), [step.tex, leaf["uv"], leaf["uv_da"]], 36),
        **{
            f"antialias, {mode}": (
                lambda mode=mode: dr.antialias(
                    leaf["color"], leaf["rast"].detach(), step.pos, step.tri, step.topology, mode=mode
                ),
                [leaf["color"], step.pos],
                40,
            )
            for mode in ("silhouette", "area")
        },
    }
    rows = []
    for name, (forward, inputs, bytes_per_pixel) in cases.items():
        outputs = forward()
        outputs = [o for o in (outputs if isinstance(outputs, tuple) else (outputs,)) if o.requires_grad and o.numel()]
        grads = [torch.rand_like(o) for o in outputs]

        def backward(outputs=outputs, inputs=inputs, grads=grads) -> None:
            torch.autograd.grad(outputs, inputs, grads, retain_graph=True)

        with torch.no_grad():
            time = milliseconds(forward)
        floor = 1e3 * pixels * bytes_per_pixel / bandwidth
        rows.append(
            {
                "op": name,
                "size": size,
                "forward ms": time,
                "backward ms": milliseconds(backward),
                "forward floor ms": floor,
            }
        )
    return rows


def scaling_table() -> list[dict[str, object]]:
    """Cost against triangles, and one thread against all."""
    ctx = dr.RasterizeContext(backend="cpu")
    threads, rows = torch.get_num_threads(), []
    for triangles in (20_000, 100_000, 500_000, 1_000_000, 5_000_000):
        points, _, tri = sphere(triangles)
        pos = clip_positions(points)
        times = []
        for count in (1, threads):
            torch.set_num_threads(count)
            times.append(milliseconds(lambda: dr.rasterize(ctx, pos, tri, (1024, 1024)), 5))  # noqa: B023
        rows.append(
            {
                "triangles": tri.shape[0],
                "1 thread ms": times[0],
                f"{threads} threads ms": times[1],
                "gain": times[0] / times[1],
                "ns per triangle": 1e6 * times[1] / tri.shape[0],
            }
        )
    return rows


def memory_table(bandwidth: float) -> list[dict[str, object]]:
    """What the first touch of output memory costs: 4 tensors of 64 MiB written once, freed, and again."""
    count, tensors = 16 << 20, 4
    kinds = {
        "torch.empty": lambda: torch.empty(count),
        "huge pages, used again": lambda: memory.empty((count,), torch.float32),
        "huge pages, fresh each time": lambda: (memory.release(), memory.empty((count,), torch.float32))[1],
    }

    def write(allocate) -> None:
        kept = []
        for _ in range(tensors):
            kept.append(allocate().fill_(1.0))

    floor = 1e3 * tensors * count * 4 / (bandwidth / 2)
    return [
        {"allocation": name, "ms": milliseconds(partial(write, kind), 7), "floor ms": floor}
        for name, kind in kinds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-json", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dr.set_log_level(2)
    print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    bandwidth = copy_bandwidth()
    print(f"copy: {bandwidth / 1e9:.1f} GB/s (read + written)")
    results: dict[str, object] = {"copy_bytes_per_second": bandwidth}
    tables = {
        "rasterize, both outputs": lambda: rasterize_table(bandwidth),
        "whole step: forward, L2, backward to vertices and a 1024x1024 texture": lambda: step_table(False),
        "primitives, 20k triangles": lambda: op_table(512, bandwidth) + op_table(1024, bandwidth),
        "rasterize at 1024x1024 by triangles": scaling_table,
        "memory: 4 tensors of 64 MiB": lambda: memory_table(bandwidth),
    }
    # Last: it cannot be undone.
    tables["the same with dr.keep_freed_memory()"] = lambda: step_table(True)
    for title, make in tables.items():
        rows = make()
        table(title, rows)
        results[title] = rows
    if not args.no_json:
        save("primitives", results)


if __name__ == "__main__":
    main()
