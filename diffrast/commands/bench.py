"""`diffrast bench`: how long the primitives take on this machine."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal

from tyro.conf import UseAppendAction

from .command import Device, Json, Quiet, Range, progress, stopped


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure the primitives on this machine.

    Example: diffrast bench --size 512 --size 1024
    """

    #: pixels along each side; may be given several times (default: 512)
    size: Annotated[UseAppendAction[tuple[int, ...]], Range(8, 8192)] = ()
    #: of a textured sphere
    triangles: Annotated[int, Range(16, 50_000_000)] = 20_000
    #: the median of so many calls
    repeats: Annotated[int, Range(1, 1000)] = 10
    #: rasterizer
    backend: Literal["auto", "cpu", "cuda", "gl"] = "auto"
    device: Device = "cpu"
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        import torch

        from .. import __version__
        from ..backends.devices import device_of

        device_of(self.device)
        rows: dict[int, dict[str, float]] = {}
        code = 0
        try:
            for size in progress(self.size or (512,), "sizes", self.quiet):
                rows[size] = measure(size, self.triangles, self.repeats, self.backend, self.device)
        except RuntimeError as error:
            raise OSError(str(error)) from error  # the backend cannot start: exit code 1
        except KeyboardInterrupt:
            if not rows:
                raise
            code = stopped("these are the sizes that were done")
        facts = {
            "diffrast": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "device": self.device,
            "backend": self.backend,
            "triangles": self.triangles,
            "milliseconds": rows,
        }
        if self.json:
            print(json.dumps(facts))
            return code
        print(f"milliseconds, {self.triangles} triangles, {self.device}, {facts['threads']} threads")
        print(" " * 20 + "".join(f"{f'{size}x{size}':>12}" for size in rows))
        for name in next(iter(rows.values())):
            print(f"{name:<20}" + "".join(f"{row[name]:>12.2f}" for row in rows.values()))
        return code


def measure(size: int, triangles: int, repeats: int, backend: str, device: str) -> dict[str, float]:
    """Milliseconds of each primitive and of a whole step, forward and backward."""
    import torch

    import diffrast.torch as dr

    from ..mesh.primitives import sphere

    rings = max(2, round(math.sqrt(triangles / 4)))
    mesh = sphere(segments=2 * rings, rings=rings).to(device)
    assert mesh.uv is not None and mesh.uv_faces is not None
    x, y, z = mesh.vertices.unbind(1)
    pos = torch.stack([2.6 * x, 2.6 * y, 0.5 * (3 - z) - 0.8, 3 - z], 1)[None]  # in clip space
    uv, tri, uv_tri = mesh.uv, mesh.faces, mesh.uv_faces
    tex = torch.rand(1, 1024, 1024, 3, generator=torch.Generator().manual_seed(0)).to(device)
    ctx = dr.RasterizeContext(backend)
    topology = dr.antialias_construct_topology_hash(tri)
    rast, rast_db = dr.rasterize(ctx, pos, tri, (size, size))
    uvs, uv_da = dr.interpolate(uv, rast, uv_tri, rast_db, "all")
    color = dr.texture(tex, uvs, uv_da)

    def step() -> None:
        p, t = pos.clone().requires_grad_(), tex.clone().requires_grad_()
        r, db = dr.rasterize(ctx, p, tri, (size, size))
        a, da = dr.interpolate(uv, r, uv_tri, db, "all")
        dr.antialias(dr.texture(t, a, da), r, p, tri, topology).square().mean().backward()

    works = {
        "rasterize": lambda: dr.rasterize(ctx, pos, tri, (size, size)),
        "interpolate": lambda: dr.interpolate(uv, rast, uv_tri, rast_db, "all"),
        "texture": lambda: dr.texture(tex, uvs, uv_da),
        "antialias": lambda: dr.antialias(color, rast, pos, tri, topology),
        "step with gradients": step,
    }
    return {name: round(_milliseconds(work, repeats, device), 3) for name, work in works.items()}


def _milliseconds(work: Callable[[], object], repeats: int, device: str) -> float:
    import torch

    times = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if i >= 2:  # the first ones warm caches up
            times.append(time.perf_counter() - start)
    return 1e3 * median(times)
