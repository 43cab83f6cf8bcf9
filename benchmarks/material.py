"""How well --pbr tells paint from light: the base colour found, against the true one, both without any light, from
views that were kept out.

python benchmarks/material.py                        spot_photos, whose mesh and texture are known
python benchmarks/material.py --time-limit 300

One factor for all channels is fitted before the comparison: how bright paint is, and how bright the light, no
photograph can tell.
"""

import argparse
import json
import math
import os
from pathlib import Path

import torch

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import linear_to_srgb, load_image, load_mesh, save_image
from diffrast.mesh import Mesh
from diffrast.reconstruct import Options, Photos, Stage, reconstruct, stages_for
from diffrast.scene.material import Unlit
from diffrast.scene.renderer import Scene, render

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))


@torch.no_grad()
def unlit(mesh: Mesh, color: torch.Tensor, cameras: list[Camera]) -> torch.Tensor:
    """``[B, H, W, 4]``: linear colours ``[S, S, 3]`` without light, premultiplied, and coverage."""
    ctx = dr.RasterizeContext()
    return render(Scene(mesh, Unlit(color)), cameras, ctx=ctx, samples=2).image


def judge(found: torch.Tensor, true: torch.Tensor) -> tuple[dict[str, float], torch.Tensor]:
    """PSNR of pictures as of `unlit` over white, in display values, after one factor; and the pictures one above the
    other."""
    both = (found[..., 3] > 0.99) & (true[..., 3] > 0.99)
    a, b = found[both][:, :3], true[both][:, :3]
    factor = (a * b).sum() / a.square().sum()
    shown = [linear_to_srgb((x[..., :3] * k + 1 - x[..., 3:]).clamp(0, 1)) for x, k in ((found, factor), (true, 1.0))]
    error = (shown[0] - shown[1]).square()
    figures = {
        "base colour psnr": -10 * math.log10(float(error.mean())),
        "on the object": -10 * math.log10(float(error[both].mean())),
        "factor": float(factor),
    }
    return figures, torch.cat([torch.cat(list(x), dim=1) for x in shown])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "spot_photos")
    parser.add_argument("--mesh", type=Path, default=DATA / "spot" / "spot_triangulated.obj")
    parser.add_argument("--texture", type=Path, default=DATA / "spot" / "spot_texture.png")
    parser.add_argument("--holdout", type=int, default=4)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--resolution", type=int, help="reduce the photographs to at most so many pixels a side")
    parser.add_argument("--time-limit", type=float)
    parser.add_argument("--normal-map", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "material")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "material.json")
    args = parser.parse_args()
    dr.keep_freed_memory()  # as the command does
    options = Options(
        holdout=args.holdout,
        steps=args.steps,
        time_limit=args.time_limit,
        pbr=True,
        overwrite=True,
        frames=12,
        resolution=args.resolution,
        normal_map=args.normal_map,
    )
    cameras = []

    def keep(photos: Photos) -> None:
        cameras.extend(photos.views[i].camera for i in photos.held)

    stages = (*stages_for(options), Stage("keep", keep, again=True))
    metrics = reconstruct(args.data, args.out, options, stages=stages)
    ours, mesh = load_mesh(args.out / "mesh.glb"), load_mesh(args.mesh).welded()
    color = ours.material_list()[0].base_color_texture
    assert color is not None
    found = unlit(Mesh(ours.vertices, ours.faces, ours.uv, uv_faces=ours.uv_faces), color[..., :3], cameras)
    true = unlit(
        Mesh(mesh.vertices, mesh.faces, mesh.uv, uv_faces=mesh.uv_faces), load_image(args.texture)[..., :3], cameras
    )
    figures, picture = judge(found, true)
    save_image(args.out / "base_colour.png", picture, linear=False)
    figures |= {"psnr": metrics["held_out"]["psnr"], "seconds": metrics["seconds"]["total"]}
    figures = {k: round(v, 4) for k, v in figures.items()}
    print(json.dumps(figures, indent=1))
    print(metrics["findings"])
    row = {
        "data": args.data.name,
        "resolution": args.resolution,
        "time_limit": args.time_limit,
        "steps": args.steps,
        "normal_map": args.normal_map,
        **figures,
        "findings": metrics["findings"],
        "device": metrics["device"],
    }
    args.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
