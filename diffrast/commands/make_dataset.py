"""`diffrast make-dataset`: photographs of a mesh with known cameras, in the NeRF-synthetic layout."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from .command import Command, between, json_option, load, mesh_options, progress, quiet_option, say, stopped, up_option


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    mesh_options(parser)
    add("--out", required=True, metavar="DIR", help="folder for transforms_train.json and train/*.png")
    add("--views", type=int, default=36, metavar="N", help="photographs (default: 36)")
    add("--size", type=int, default=400, metavar="N", help="pixels along each side (default: 400)")
    add("--fov", type=float, default=36.0, metavar="DEG", help="field of view (default: 36)")
    add("--samples", type=int, default=3, metavar="N", help="N x N samples per pixel (default: 3)")
    add("--unlit", action="store_true", help="the base colour alone, without light")
    add("--overwrite", action="store_true", help="replace another data set in --out")
    up_option(parser)
    quiet_option(parser)
    json_option(parser)


def poses(count: int, home, fov: float):
    """Viewpoints on a spiral from below the object's middle to high above it, evenly spread over the sphere's bands."""
    golden = math.pi * (3 - math.sqrt(5))
    wide = math.sin(math.radians(home.fov / 2)) / math.sin(math.radians(fov / 2))
    for i in range(count):
        pitch = math.asin(-0.4 + 1.3 * (i + 0.5) / count)
        yield type(home)(home.target, golden * i, pitch, home.distance * wide, fov)


def photograph(ctx, model, camera, samples: int, up: str, unlit: bool):
    """Linear straight-alpha RGBA ``[H, W, 4]`` under a sky and a lamp that stay where they are when the camera
    moves."""
    import torch

    from ..viewer.orbit import UPS
    from ..viewer.surface import Surface

    surface = Surface(ctx, model, camera.resized(camera.width * samples, camera.height * samples))
    color = surface.albedo
    if not unlit:
        sky = color.new_tensor(UPS[up])
        lamp = color.new_tensor((0.45, 0.75, 0.5) if up == "y" else (0.45, -0.5, 0.75))
        lamp = torch.nn.functional.normalize(lamp, dim=0)
        n = surface.normal
        color = color * (0.45 + 0.15 * (n @ sky) + 0.5 * (n @ lamp).clamp_min(0))[:, None]
    fine = surface.scatter(torch.nn.functional.pad(color, (0, 1), value=1.0), (0.0,) * 4)
    mean = torch.nn.functional.avg_pool2d(fine.permute(2, 0, 1)[None], samples)[0].permute(1, 2, 0)
    return torch.cat([mean[..., :3] / mean[..., 3:].clamp_min(1e-6), mean[..., 3:]], dim=-1)


def run(args: argparse.Namespace) -> int:
    import torch

    import diffrast.torch as dr

    from ..io.atomic import write_text
    from ..io.image import save_image
    from ..viewer.drawable import Drawable, copy_mesh
    from ..viewer.shown import Shown

    between("--views", args.views, 1, 10_000)
    between("--size", args.size, 8, 8192)
    between("--fov", args.fov, 1, 120)
    between("--samples", args.samples, 1, 8)
    out = Path(args.out)
    index = out / "transforms_train.json"
    if index.exists() and not args.overwrite:
        raise ValueError(f"{out} already holds a data set; choose another --out or give --overwrite")
    mesh = load(args)
    try:
        (out / "train").mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot make the folder {out}: a file is in the way") from None
    ctx, model = dr.RasterizeContext(), Drawable(copy_mesh(mesh))
    home = Shown().changed(mesh).fitting_pose()
    frames, code = [], 0
    try:
        with torch.no_grad():
            for i, pose in enumerate(progress(list(poses(args.views, home, args.fov)), "photographs", args.quiet)):
                camera = pose.camera(args.size, args.size, args.up)
                picture = photograph(ctx, model, camera, args.samples, args.up, args.unlit)
                save_image(out / "train" / f"r_{i:03d}.png", picture)
                matrix = torch.linalg.inv(camera.world_to_camera)
                rows = [[round(x, 9) for x in row] for row in matrix.tolist()]
                frames.append({"file_path": f"./train/r_{i:03d}", "transform_matrix": rows})
    except KeyboardInterrupt:
        if not frames:
            raise
        code = stopped("these are the photographs that were done")
    write_text(index, json.dumps({"camera_angle_x": math.radians(args.fov), "frames": frames}, indent=1) + "\n")
    count = len(frames)
    say(args, {"out": str(out), "views": count, "size": args.size}, f"wrote {count} views to {out}")
    return code


COMMAND = Command(
    "photograph a mesh: a posed multi-view data set",
    options,
    run,
    "diffrast make-dataset scene.glb --out photos --views 36",
)
