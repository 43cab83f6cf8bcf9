"""The main job's figures on the test data: held-out PSNR and mask IoU, distance to the known mesh, open spaces.

python benchmarks/reconstruct.py [spot|temple|demo ...] [--ingredients]
"""

import argparse
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from scipy import ndimage

import diffrast.torch as dr
from diffrast.fitting.metrics import DEFINITIONS, chamfer
from diffrast.fitting.targets import SAMPLES
from diffrast.io import load_mesh
from diffrast.photos.data import View, read_views
from diffrast.photos.masks import add_masks
from diffrast.reconstruct import Options, reconstruct
from diffrast.reconstruct.options import BASELINES
from diffrast.reconstruct.orient import undo_turns
from diffrast.scene.passes import clip_matrices, finish, to_clip

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIFFRAST_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Job:
    """A data set, the seconds it may take, and the goals (at least, or for those of ``AT_MOST`` at most)."""

    folder: Path
    seconds: float
    goals: dict[str, float]
    reference: Path | None = None


JOBS = {
    "spot": Job(
        DATA / "spot_photos",
        300,
        {
            "psnr": 30,
            "mask_iou": 0.99,
            "chamfer_percent": 0.4,
            "faces": 20000,
            "self_intersections": 0,
            "parts": 1,
            "closed": 1,
        },
        DATA / "spot" / "spot_triangulated.obj",
    ),
    "temple": Job(DATA / "templeRing", 480, {"psnr_object": 25, "mask_iou": 0.97, "open_spaces": 1}),
    "demo": Job(ROOT / "assets" / "demo", 120, {}),
}
AT_MOST = ("chamfer_percent", "faces", "self_intersections", "parts")
# What each ingredient gains: `spot` again in a third of the time with one of them left out or replaced.
INGREDIENTS: dict[str, dict[str, Any]] = {
    "all": {},
    "start: sphere": {"init": "sphere"},
    "start: grid": {"init": "grid"},
    **{f"baseline: {name}": {"baseline": name} for name in BASELINES},
    "sphere, no-remeshing": {"init": "sphere", "baseline": "no-remeshing"},
}
OPEN_SPACES = (
    "Share of the openings of the photographs' masks (enclosed background of at least 1 % of the object's area, all "
    "views, at most half of it in doubt, see metrics.doubt) of which the reconstruction leaves more than half open."
)


def open_spaces(mesh_file: Path, views: list[View]) -> float:
    """See ``OPEN_SPACES``; 1 where the photographs show no opening."""
    mesh = load_mesh(mesh_file)
    ctx = dr.RasterizeContext()
    box = torch.stack([mesh.vertices.amin(0), mesh.vertices.amax(0)])
    found = []
    for view in views:
        mask, unsure = view.load_mask().numpy() > 0.5, view.load_doubt()
        doubt = np.zeros_like(mask) if unsure is None else unsure.numpy()
        clip = to_clip(mesh.vertices, clip_matrices([view.camera], box))
        rast, _ = dr.rasterize(ctx, clip, mesh.faces, mask.shape)
        ours = finish(torch.zeros_like(rast[..., :1]), rast, clip, mesh.faces, 0.0)[0, ..., 1].numpy() > 0.5
        labels, count = ndimage.label(~mask)
        outside = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        for k in set(range(1, count + 1)) - set(outside.tolist()):
            if (labels == k).sum() >= 0.01 * mask.sum() and doubt[labels == k].mean() <= 0.5:
                found.append(float((~ours[labels == k]).mean()) > 0.5)
    return float(np.mean(found)) if found else 1.0


def measure(name: str, job: Job, out: Path, holdout: int, **options: Any) -> dict:
    start = time.perf_counter()
    metrics = reconstruct(job.folder, out, Options(holdout=holdout, time_limit=job.seconds, overwrite=True, **options))
    row = {"data": name, "seconds": time.perf_counter() - start, "limit": job.seconds, **metrics["held_out"]}
    row.update({key: metrics["mesh"][key] for key in ("faces", "parts", "self_intersections", "euler_number")})
    row["closed"] = int(metrics["mesh"]["closed"])
    views = read_views(job.folder)
    add_masks(views)
    row["open_spaces"] = open_spaces(out / "mesh.glb", undo_turns(views))
    if job.reference is not None:
        mesh = load_mesh(out / "mesh.glb")
        reference = trimesh.load(job.reference, process=False, force="mesh")
        row.update(chamfer(mesh.vertices.numpy(), mesh.faces.numpy(), reference))
    reached = {k: row[k] <= v if k in AT_MOST else row[k] >= v for k, v in job.goals.items()}
    return {
        **row,
        "goals": job.goals,
        "reached": reached,
        "steps": metrics["steps"],
        "stages": metrics["seconds"],
        "notes": metrics["notes"],
        "used": metrics["used"],
        "versions": metrics["versions"],
    }


COLUMNS = ("psnr", "psnr_object", "mask_iou", "chamfer_percent", "open_spaces", "faces", "parts", "self_intersections")


def table(rows: list[dict]) -> None:
    width = max([8, *(len(row["data"]) + 2 for row in rows)])
    print(f"{'data':<{width}}{'seconds':>8}{'limit':>7}" + "".join(f"{c:>{len(c) + 2}}" for c in COLUMNS) + "  goals")
    for row in rows:
        cells = "".join(f"{f'{row[c]:.5g}' if c in row else '-':>{len(c) + 2}}" for c in COLUMNS)
        goals = ", ".join(f"{k} {v:g}: {'yes' if row['reached'][k] else 'NO'}" for k, v in row["goals"].items())
        print(f"{row['data']:<{width}}{row['seconds']:>8.0f}{row['limit']:>7.0f}{cells}  {goals}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=list(JOBS), help=f"which of {', '.join(JOBS)} (default: all)")
    parser.add_argument(
        "--ingredients", action="store_true", help="also what each ingredient gains, on spot in a third of the time"
    )
    parser.add_argument("--holdout", type=int, default=4)
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="folder for the runs (default: out)")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "reconstruct.json")
    args = parser.parse_args()
    dr.keep_freed_memory()  # as the command does
    rows: list[dict] = []
    gains: list[dict] = []
    definitions = {**DEFINITIONS, "open_spaces": OPEN_SPACES, "samples_per_pixel": SAMPLES**2}
    args.json.parent.mkdir(parents=True, exist_ok=True)

    def keep(group: list[dict], row: dict) -> None:
        """After each, so that a run that is cut off leaves what it has."""
        group.append(row)
        found = {"rows": rows, "ingredients": gains, "definitions": definitions}
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for name in args.data:
        keep(rows, measure(name, JOBS[name], args.out / name, args.holdout))
    if args.ingredients:
        job = replace(JOBS["spot"], seconds=JOBS["spot"].seconds / 3, goals={})
        for name, options in INGREDIENTS.items():
            row = measure(name, job, args.out / "ingredient", args.holdout, frames=0, **options)
            keep(gains, row)
    print(f"{args.holdout} views held out, {torch.get_num_threads()} threads")
    for group in filter(None, (rows, gains)):
        table(group)


if __name__ == "__main__":
    main()
