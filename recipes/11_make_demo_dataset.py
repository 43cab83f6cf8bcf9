"""The data set of `make demo`: photographs of a small teapot, rendered with diffrast itself.

The teapot is the zero set of a smooth union of simple distances, its albedo is a function of position evaluated in
every pixel, its light is a sky and a lamp. Images are rendered with 4x4 samples per pixel and stored like the
NeRF-synthetic data: straight-alpha sRGB PNGs and `transforms_train.json`. The same input gives the same pixels.

    python recipes/11_make_demo_dataset.py --out assets
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import options, reduced
from skimage.measure import marching_cubes
from torch.nn.functional import normalize

import diffrast.torch as dr
from diffrast.camera import Camera, look_at
from diffrast.io import save_image, save_mesh
from diffrast.mesh import Mesh
from diffrast.scene import clip_matrices, to_clip

BOX = torch.tensor([[-1.0, -0.6, -0.62], [1.05, 0.75, 0.62]])


def _capsule(p, a, b, ra, rb):
    a, b = p.new_tensor(a), p.new_tensor(b)
    t = (((p - a) @ (b - a)) / ((b - a) @ (b - a))).clamp(0, 1)
    return (p - a - t[..., None] * (b - a)).norm(dim=-1) - (ra + t * (rb - ra))


def _torus(p, center, major, minor):
    q = p - p.new_tensor(center)
    return torch.stack([torch.hypot(q[..., 0], q[..., 1]) - major, q[..., 2]], dim=-1).norm(dim=-1) - minor


def _ellipsoid(p, center, radii):
    q = (p - p.new_tensor(center)) / p.new_tensor(radii)
    return (q.norm(dim=-1) - 1) * min(radii)


def parts(p: torch.Tensor) -> dict[str, torch.Tensor]:
    """Distances from points `[..., 3]` to the teapot's parts."""
    spout = torch.minimum(
        _capsule(p, (0.35, -0.16, 0), (0.66, 0.04, 0), 0.15, 0.09),
        _capsule(p, (0.66, 0.04, 0), (0.88, 0.36, 0), 0.09, 0.065),
    )
    foot = torch.stack([torch.hypot(p[..., 0], p[..., 2]) - 0.3, p[..., 1] + 0.43], dim=-1).norm(dim=-1) - 0.075
    return {
        "body": _ellipsoid(p, (0, 0, 0), (0.54, 0.43, 0.54)),
        "foot": foot,
        "handle": _torus(p, (-0.6, 0.03, 0), 0.27, 0.06),
        "spout": spout,
        "lid": _ellipsoid(p, (0, 0.35, 0), (0.3, 0.15, 0.3)),
        "knob": _ellipsoid(p, (0, 0.56, 0), (0.1, 0.09, 0.1)),
    }


def distance(p: torch.Tensor, roundness: float = 0.03) -> torch.Tensor:
    """The smooth union of all parts."""
    return -roundness * torch.logsumexp(torch.stack([-d / roundness for d in parts(p).values()]), dim=0)


def albedo(p: torch.Tensor) -> torch.Tensor:
    """Linear base color `[..., 3]` at points `[..., 3]`."""
    name = {k: i for i, k in enumerate(parts(p[:1]))}
    nearest = torch.stack(list(parts(p).values())).argmin(dim=0)
    angle, height = torch.atan2(p[..., 2], p[..., 0]), p[..., 1]
    color = p.new_tensor([0.86, 0.79, 0.66]).expand(*p.shape[:-1], 3).clone()

    def put(where, rgb):
        color[where] = p.new_tensor(rgb)

    body = nearest == name["body"]
    wave = height - 0.05 * torch.sin(7 * angle)
    put(body & (wave.abs() < 0.1), (0.03, 0.12, 0.36))
    put(body & ((wave.abs() - 0.15).abs() < 0.018), (0.03, 0.12, 0.36))
    cell = (angle * 12 / (2 * math.pi)) % 1 - 0.5
    put(body & (torch.hypot(cell * 0.26, wave) < 0.055), (0.93, 0.52, 0.06))
    flower = torch.hypot(cell * 0.26, height + 0.26)
    put(body & (flower < 0.05), (0.55, 0.06, 0.05))
    put(body & (flower < 0.02), (0.95, 0.75, 0.1))
    put(nearest == name["foot"], (0.25, 0.09, 0.04))
    put((nearest == name["handle"]) | (nearest == name["knob"]), (0.5, 0.1, 0.05))
    turn = torch.atan2(p[..., 1] - 0.03, p[..., 0] + 0.6)
    put((nearest == name["handle"]) & ((turn * 9 / math.pi) % 1 < 0.3), (0.9, 0.7, 0.35))
    put(nearest == name["spout"], (0.06, 0.3, 0.28))
    put((nearest == name["spout"]) & ((p[..., 0] + 0.6 * p[..., 1]) % 0.12 < 0.035), (0.85, 0.8, 0.66))
    lid = nearest == name["lid"]
    put(lid & ((torch.hypot(p[..., 0], p[..., 2]) * 9) % 1 < 0.35), (0.03, 0.12, 0.36))
    put(lid & (torch.hypot(p[..., 0], p[..., 2]) > 0.26), (0.5, 0.1, 0.05))
    return color


def build(step: float = 0.016) -> Mesh:
    """The teapot as a mesh, from marching cubes."""
    axes = [torch.arange(float(lo), float(hi), step) for lo, hi in BOX.T]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    v, f, _, _ = marching_cubes(-distance(grid).numpy(), 0.0, gradient_direction="ascent")
    return Mesh(torch.from_numpy(v * np.float32(step)) + BOX[0], torch.from_numpy(f.astype(np.int32)))


def photograph(ctx: dr.RasterizeContext, mesh: Mesh, camera: Camera, samples: int = 4) -> torch.Tensor:
    """Linear straight-alpha RGBA `[H, W, 4]`."""
    size = (camera.height * samples, camera.width * samples)
    rast, _ = dr.rasterize(ctx, to_clip(mesh.vertices, clip_matrices([camera], BOX)), mesh.faces, size)
    surface, _ = dr.interpolate(torch.cat([mesh.vertices, mesh.normals()], dim=1), rast, mesh.faces)
    hit = rast[0, ..., 3] > 0
    p, n = surface[0][hit].split(3, dim=-1)
    n = normalize(n, dim=-1)
    lamp = normalize(torch.tensor([0.4, 0.8, 0.55]), dim=0)
    sky = 0.5 + 0.5 * n[:, 1:2]
    light = 0.25 + 0.35 * sky * torch.tensor([0.92, 0.97, 1.05]) + 0.55 * (n @ lamp).clamp_min(0)[:, None]
    fine = torch.zeros(*hit.shape, 4)
    fine[hit] = torch.cat([albedo(p) * light, torch.ones(len(p), 1)], dim=1)
    mean = reduced(fine, samples)
    return torch.cat([mean[..., :3] / mean[..., 3:].clamp_min(1e-6), mean[..., 3:]], dim=-1)


def cameras(count: int, size: int) -> Iterator[Camera]:
    """Viewpoints on a spiral from below the teapot's middle to high above it."""
    golden = math.pi * (3 - math.sqrt(5))
    for i in range(count):
        elevation = math.asin(-0.4 + 1.3 * (i + 0.5) / count)
        around = golden * i
        eye = 3.1 * np.array(
            [math.cos(elevation) * math.sin(around), math.sin(elevation), math.cos(elevation) * math.cos(around)]
        )
        yield look_at(eye, (0.02, 0.06, 0), (0, 1, 0), fov_y=math.radians(36), width=size, height=size)


def main(argv: list[str] | None = None) -> None:
    args = options(
        __doc__,
        argv,
        smoke={"views": 2, "size": 64},
        views=(28, "how many photographs"),
        size=(256, "pixels along each side"),
        mesh=(Path, "also write the teapot itself to this .glb, .ply or .obj"),
    )
    out = args.out / "demo"
    (out / "train").mkdir(parents=True, exist_ok=True)
    ctx, mesh, frames = dr.RasterizeContext(), build(), []
    for i, camera in enumerate(cameras(args.views, args.size)):
        save_image(out / "train" / f"r_{i:03d}.png", photograph(ctx, mesh, camera))
        pose = torch.linalg.inv(camera.world_to_camera)
        matrix = [[round(x, 9) for x in row] for row in pose.tolist()]
        frames.append({"file_path": f"./train/r_{i:03d}", "transform_matrix": matrix})
    scene = {"camera_angle_x": math.radians(36), "frames": frames}
    (out / "transforms_train.json").write_text(json.dumps(scene, indent=1) + "\n", encoding="utf-8")
    if args.mesh:
        save_mesh(args.mesh, mesh)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{out}: {args.views} views, {size / 1e6:.2f} MB; the teapot has {len(mesh.faces)} triangles")


if __name__ == "__main__":
    main()
