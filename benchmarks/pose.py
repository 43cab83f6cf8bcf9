"""How often `diffrast pose` finds spot: photographs from random poses, rendered like `diffrast make-dataset` does (a
sky and a lamp), 320x240, the object at random places and distances, wholly in the picture.

python benchmarks/pose.py [--poses 20]
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from statistics import median

import torch

import diffrast.torch as dr
from diffrast.camera.camera import Camera
from diffrast.camera.conventions import rigid
from diffrast.camera.lie import so3_log
from diffrast.commands.make_dataset import photograph
from diffrast.fitting.pose import find_pose
from diffrast.io import load_image, load_mesh
from diffrast.io.image import decode, encode
from diffrast.mesh import Mesh
from diffrast.mesh.rotation import quaternion_to_rotation
from diffrast.viewer.drawable import Drawable, copy_mesh

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))
FOV = math.radians(36)


def random_camera(mesh: Mesh, generator: torch.Generator) -> Camera:
    """The object turned in any way, anywhere in the picture, 1 to 2 times as far as it must be to be seen whole."""
    R = quaternion_to_rotation(torch.randn(4, generator=generator, dtype=torch.float64))
    u = torch.rand(3, generator=generator, dtype=torch.float64)
    middle = mesh.bounds().mean(0).double()
    radius = float((mesh.vertices - middle).norm(dim=1).max())
    distance = radius / math.sin(FOV / 2) * (1.05 + 0.95 * float(u[0]))
    room = distance * math.tan(FOV / 2) - radius / math.cos(FOV / 2)
    t = torch.cat([(2 * u[1:] - 1) * room, torch.tensor([-distance], dtype=torch.float64)])
    return Camera.perspective(fov_y=FOV, width=320, height=240, world_to_camera=rigid(R, t - R @ middle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pose.json")
    args = parser.parse_args()
    mesh = load_mesh(DATA / "spot" / "spot_triangulated.obj")
    mesh.texture = load_image(DATA / "spot" / "spot_texture.png")[..., :3].contiguous()
    middle = mesh.bounds().mean(0).double()
    ctx, model = dr.RasterizeContext(), Drawable(copy_mesh(mesh))
    generator, rows = torch.Generator().manual_seed(args.seed), []
    for i in range(args.poses):
        truth = random_camera(mesh, generator)
        picture = photograph(ctx, model, truth, 3, "y", unlit=False)
        picture = decode(encode(picture, "PNG"), "photograph")  # 8 bits, sRGB
        start = time.perf_counter()
        with torch.no_grad():
            found = find_pose(
                mesh, picture[..., :3], picture[..., 3], Camera.perspective(fov_y=FOV, width=320, height=240)
            )
        a, b = (c.world_to_camera for c in (truth, found.camera))
        place = a[:3, :3] @ middle + a[:3, 3]
        off = b[:3, :3] @ middle + b[:3, 3] - place
        rows.append(
            {
                "degrees": round(math.degrees(float(so3_log(b[:3, :3] @ a[:3, :3].T).norm())), 4),
                "place_percent_of_distance": round(100 * float(off.norm() / place.norm()), 4),
                "iou": round(found.iou, 4),
                "rms": round(found.rms, 4),
                "rivals": len(found.rivals),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
        print(f"{i:3}", rows[-1], flush=True)
        args.out.write_text(json.dumps(summary(rows), indent=1) + "\n", encoding="utf-8")
    print({k: v for k, v in summary(rows).items() if k != "rows"})


def summary(rows: list[dict]) -> dict:
    degrees = [row["degrees"] for row in rows]
    return {
        "poses": len(rows),
        "under_1_degree": sum(d < 1 for d in degrees),
        "median_degrees": median(degrees),
        "worst_degrees": max(degrees),
        "median_seconds": median(row["seconds"] for row in rows),
        "threads": torch.get_num_threads(),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
