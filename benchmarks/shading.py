"""What shading costs on the CPU: `python benchmarks/shading.py`. Prints tables and writes JSON.

One step of a textured metallic-roughness sphere of 20k triangles under an environment map, forward and backward into
positions, two textures and the prefiltered map, against the primitives that it is made of alone (with as many
channels), where the sphere fills half of the picture and all of it; the prefilter of cube maps; and the sparse Cholesky
factorization of a smoothing matrix. On a machine that does other work at the same time the figures mean little.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median

import torch
from measure import machine, milliseconds, save, table
from workloads import sphere

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.mesh import Mesh, icosphere
from diffrast.optimize.largesteps import SOLVERS, LargeSteps
from diffrast.scene.environment import EnvironmentLight, PreparedEnvironment
from diffrast.scene.light import Surrounding
from diffrast.scene.material import MetallicRoughness
from diffrast.scene.prefilter import prefilter
from diffrast.scene.renderer import Scene, render


class Prepared(Surrounding):
    """An environment whose prefiltered maps are leaves: the prefilter, measured by itself, is left out."""

    def __init__(self, light: EnvironmentLight) -> None:
        super().__init__()
        with torch.no_grad():
            levels, irradiance = prefilter(light.cube())
        self.leaves = [x.detach().clone().requires_grad_() for x in (*levels, irradiance)]
        self.turn, self.scale = torch.zeros(()), torch.ones(())

    def prepare(self) -> PreparedEnvironment:
        return PreparedEnvironment(self.leaves[:-1], self.leaves[-1], self.turn, self.scale)


class Step:
    """The whole shaded step, and the same calls of primitives with nothing between them."""

    def __init__(self, size: int, distance: float) -> None:
        generator = torch.Generator().manual_seed(0)
        points, uv, tri = sphere(20_000)
        self.mesh = Mesh(points.requires_grad_(), tri, uv)
        self.camera = Camera.look_at((0, 0.17 * distance, distance), (0, 0, 0), fov_y=0.8, width=size, height=size)
        material = MetallicRoughness(*(torch.rand(512, 512, 3, generator=generator) for _ in range(2)))
        self.light = Prepared(EnvironmentLight(torch.rand(6, 64, 64, 3, generator=generator)))
        self.scene, self.size = Scene(self.mesh, material, [self.light]), size
        self.target = torch.rand(1, size, size, 4, generator=generator)
        self.ctx = dr.RasterizeContext(backend="cpu")
        self.leaves = [points, *material.parameters(), *self.light.leaves]
        self.textures = [material.base_color, material.orm]
        self.color_grad = torch.rand(1, size, size, 4, generator=generator)
        self.normal = torch.nn.functional.normalize(points.detach(), dim=-1).requires_grad_()
        self.leaves.append(self.normal)

    def _clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None

    def shaded(self) -> None:
        self._clear()
        image = render(self.scene, self.camera, ctx=self.ctx, max_layers=1).image
        torch.nn.functional.mse_loss(image, self.target).backward()

    def primitives(self) -> None:
        """Rasterize; interpolate position, normal and UV; two textures, irradiance and prefiltered levels; antialias;
        backward."""
        self._clear()
        pos = self.camera.to_clip(self.mesh.vertices)[None]
        rast, rast_db = dr.rasterize(self.ctx, pos, self.mesh.faces, (self.size, self.size))
        place, _ = dr.interpolate(self.mesh.vertices, rast, self.mesh.faces)
        normal, _ = dr.interpolate(self.normal, rast, self.mesh.faces)
        assert self.mesh.uv is not None
        uv, uv_da = dr.interpolate(self.mesh.uv, rast, self.mesh.faces, rast_db, "all")
        base, orm = (dr.texture(t[None], uv, uv_da) for t in self.textures)
        levels = [x[None] for x in self.light.leaves]
        diffuse = dr.texture(levels[-1], normal, boundary_mode="cube")
        glossy = dr.texture(
            levels[0], normal, mip_level_bias=uv_da[..., 0].abs(), mip=levels[1:-1], boundary_mode="cube"
        )
        image = dr.antialias(torch.cat([glossy, uv[..., :1]], -1), rast, pos, self.mesh.faces, mode="silhouette")
        gradient = self.color_grad[..., :3]
        torch.autograd.backward([image, base, orm, diffuse, place], [self.color_grad] + [gradient] * 4)


def compare(one: Callable[[], None], other: Callable[[], None], repeats: int = 9) -> tuple[float, float, float, float]:
    """Median milliseconds of both, taken in turns; the median ratio of such pairs, and that of the least CPU times,
    which other work on the machine disturbs less."""
    times = []
    for _ in range(repeats + 1):
        row = []
        for work in (one, other):
            start = time.perf_counter(), time.process_time()
            work()
            row += [time.perf_counter() - start[0], time.process_time() - start[1]]
        times.append(row)
    wall, cpu, wall_other, cpu_other = map(list, zip(*times[1:], strict=True))
    pairs = [b / a for a, b in zip(wall, wall_other, strict=True)]
    return 1e3 * median(wall), 1e3 * median(wall_other), median(pairs), min(cpu_other) / min(cpu)


def shading_table(cases: list[tuple[int, float]]) -> list[dict[str, object]]:
    rows = []
    for size, distance in cases:
        step = Step(size, distance)
        with torch.no_grad():
            covered = render(step.scene, step.camera, ctx=step.ctx).mask.float().mean().item()
        alone, shaded, ratio, cpu_ratio = compare(step.primitives, step.shaded)
        rows.append(
            {
                "size": size,
                "covered": covered,
                "primitives ms": alone,
                "shaded ms": shaded,
                "ratio": ratio,
                "ratio of CPU time": cpu_ratio,
            }
        )
    return rows


def prefilter_table(sizes: list[int]) -> list[dict[str, object]]:
    rows = []
    for size in sizes:
        cube = torch.rand(6, size, size, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        levels, irradiance = prefilter(cube)
        grads = [torch.rand_like(x) for x in (*levels, irradiance)]

        def both(cube=cube, grads=grads) -> None:
            levels, irradiance = prefilter(cube)
            torch.autograd.grad([*levels, irradiance], cube, grads)

        rows.append({"size": size, "forward + backward ms": milliseconds(both, 15)})
    return rows


def factorization_table() -> list[dict[str, object]]:
    """Of ``I + 10 L`` of a sphere: the first solve, which factorizes, and each one after it."""
    mesh = icosphere(1.0, 5)
    smooth = {
        name: LargeSteps(mesh.faces, len(mesh.vertices), 10.0, solver=name)
        for name in SOLVERS
        if name == "scipy" or find_spec(name)
    }
    rows = []
    for name, steps in smooth.items():
        u = steps.from_vertices(mesh.vertices)

        def first(name=name, steps=steps, u=u) -> None:
            SOLVERS[name](steps.matrix)(u)

        rows.append(
            {
                "solver": name,
                "vertices": len(u),
                "factorization + solve ms": milliseconds(first, 9),
                "solve ms": milliseconds(lambda steps=steps, u=u: steps.to_vertices(u)),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-json", action="store_true", help="print only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dr.set_log_level(2)
    print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    results: dict[str, object] = {
        "shading under an environment map, forward + backward": shading_table([(256, 2.9), (512, 2.9), (512, 1.5)]),
        "prefilter of a cube map": prefilter_table([16, 32, 64]),
        "sparse Cholesky factorization of a Laplacian": factorization_table(),
    }
    for title, rows in results.items():
        table(title, rows)  # type: ignore[arg-type]
    if not args.no_json:
        save("shading", results)


if __name__ == "__main__":
    main()
