"""What --refine-cameras makes of wrong cameras: the error of rotations before and after, and the figures of the result.

python benchmarks/cameras.py                  every camera turned by 2 degrees
python benchmarks/cameras.py --degrees 0 --masks 3      masks wider or narrower by up to 3 pixels, each by its own
python benchmarks/cameras.py --degrees 0 --focal 1.05   focal length too long by 5 percent

Each camera is turned about its own eye around a random axis. Errors are measured after the similarity transform that
best takes the found eyes to the true ones (Umeyama 1991): where the world is, and how large, no photograph can tell.
"""

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import torch
from scipy import ndimage

import diffrast.torch as dr
from diffrast.camera.lie import so3_exp, so3_log
from diffrast.photos.views import View
from diffrast.reconstruct import STAGES, Job, Made, Options, Photos, Stage, reconstruct, with_stage

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))


def disturbed(views: list[View], degrees: float, focal: float = 1.0, seed: int = 0) -> list[View]:
    """Each camera turned about its eye by ``degrees`` around an axis of its own; focal lengths times ``focal``."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for view in views:
        axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        matrix, K = view.camera.world_to_camera.clone(), view.camera.K.clone()
        matrix[:3] = so3_exp(math.radians(degrees) * axis) @ matrix[:3]
        K[:2, :2] *= focal
        out.append(replace(view, camera=replace(view.camera, world_to_camera=matrix, K=K)))
    return out


def misjudged(views: list[View], pixels: float, seed: int = 0) -> list[View]:
    """Masks grown or shrunk, each by its own number of pixels up to ``pixels``; colours stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for view in views:
        by = pixels * float(2 * torch.rand((), generator=generator) - 1)
        inside = view.load_mask().numpy() > 0.5
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        out.append(view.with_mask(torch.from_numpy(distance > -by).float()))
    return out


def rotation_errors(views: list[View], truth: list[View]) -> torch.Tensor:
    """Degrees ``[N]`` between found and true rotations, after the similarity that best takes the found eyes to the true
    ones."""
    a, b = (torch.stack([v.camera.center for v in x]) for x in (views, truth))
    u, _, vh = torch.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    flip = torch.diag(torch.stack([a.new_tensor(1.0), a.new_tensor(1.0), torch.linalg.det(u @ vh)]))
    gauge = u @ flip @ vh  # from the found world to the true one
    turns = [
        x.camera.world_to_camera[:3, :3] @ gauge.T @ y.camera.world_to_camera[:3, :3].T
        for x, y in zip(views, truth, strict=True)
    ]
    return so3_log(torch.stack(turns)).norm(dim=1).rad2deg()


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Reconstruct with disturbed cameras; the errors of the views that were used."""
    seen: dict[str, list[View]] = {}
    own = {stage.name: stage.run for stage in STAGES}

    def read(job: Job) -> Made:
        made = own["read"](job)
        assert made and "photos" in made
        photos = made["photos"]
        seen["truth"] = photos.used
        photos = replace(photos, views=misjudged(disturbed(photos.views, args.degrees, args.focal), args.masks))
        seen["given"] = photos.used
        return made | {"photos": photos}

    def keep(photos: Photos) -> None:
        seen["found"] = photos.used

    stages = (*with_stage("read", read), Stage("keep", keep, again=True))
    options = Options(
        holdout=args.holdout,
        steps=args.steps,
        time_limit=args.time_limit,
        resolution=args.resolution,
        overwrite=True,
        refine_cameras=not args.as_given,
        frames=0,
    )
    metrics = reconstruct(args.data, args.out, options, stages=stages)
    before, after = (rotation_errors(seen[name], seen["truth"]) for name in ("given", "found"))
    focal = [float(v[0].camera.K[0, 0]) for v in (seen["found"], seen["truth"])]
    return {
        "degrees before": float(before.mean()),
        "degrees": float(after.mean()),
        "worst degrees": float(after.max()),
        "focal": focal[0] / focal[1],
        "psnr": metrics["held_out"].get("psnr", math.nan),
        "psnr of views used": metrics["used"]["psnr"],
        "seconds": metrics["seconds"]["total"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "spot_photos")
    parser.add_argument("--degrees", type=float, default=2.0, help="by which each camera is turned")
    parser.add_argument("--focal", type=float, default=1.0, help="factor on the focal lengths")
    parser.add_argument("--masks", type=float, default=0.0, help="pixels by which masks are off")
    parser.add_argument("--as-given", action="store_true", help="leave the cameras as they are, to compare")
    parser.add_argument("--holdout", type=int, default=4)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--resolution", type=int, help="reduce the photographs to at most so many pixels a side")
    parser.add_argument("--time-limit", type=float)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "cameras")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "cameras.json")
    args = parser.parse_args()
    dr.keep_freed_memory()  # as the command does
    given = {k: v for k, v in vars(args).items() if k not in ("data", "out", "json")}
    case = {"data": args.data.name, "options": given, **{k: round(v, 4) for k, v in measure(args).items()}}
    print(json.dumps(case, indent=1))
    before = json.loads(args.json.read_text()) if args.json.is_file() else []
    rows = [row for row in before if (row["data"], row["options"]) != (case["data"], given)] + [case]
    args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
