"""`diffrast reconstruct`: posed photographs to a textured mesh."""

from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

from .command import Command, json_option, quiet_option, say, stopped

# The fields of `reconstruct.pipeline.Options` that people set, with what argparse wants to know of them. Defaults are
# the dataclass's: what is not on the command line is not passed on.
FIELDS: dict[str, dict[str, Any]] = {
    "overwrite": {"action": "store_true", "help": "replace another run in --out"},
    "resume": {"action": "store_true", "help": "go on with a run in --out that was stopped or killed; same options"},
    "checkpoint": {"type": float, "metavar": "SECONDS", "help": "save the state this often (default: 30)"},
    "masks": {"metavar": "DIR", "help": "one mask per photograph, by the same name; bright is the object"},
    "refine_cameras": {
        "action": "store_true",
        "help": "refine poses and a common focal length together with the shape, from errors of a few degrees on",
    },
    "exposure": {
        "action": argparse.BooleanOptionalAction,
        "help": "refine exposure and white balance of each photograph (default: where photographs have no alpha)",
    },
    "pbr": {
        "action": "store_true",
        "help": "find a material (base colour, roughness, metalness) and the light, instead of a texture with the "
        "light in it",
    },
    "normal_map": {"action": "store_true", "help": "with --pbr: find a normal map, too"},
    "baseline": {
        "metavar": "WHAT",
        "help": "leave an ingredient out, to see what it gains: adam-vertices (no Large Steps) or no-remeshing",
    },
    "resolution": {
        "type": int,
        "metavar": "N",
        "help": "reduce photographs to at most N pixels a side (default: 1600, less where they are many)",
    },
    "holdout": {
        "type": lambda text: int(text) if text.lstrip("-").isdigit() else text,
        "metavar": "N|test",
        "help": "keep N views out, or those of transforms_test.json, and judge the result by them (default: 0)",
    },
    "time_limit": {"type": float, "metavar": "SECONDS", "help": "finish, outputs included, in at most about this time"},
    "steps": {"type": int, "metavar": "N", "help": "optimization steps of all stages together (default: 1200)"},
    "init": {
        "metavar": "HOW",
        "help": "what to start from: hull, sphere, grid (topology is optimized), or the file of a closed mesh "
        "(default: hull)",
    },
    "faces": {"type": int, "metavar": "N", "help": "triangles of the mesh (default: by the photographs' size)"},
    "max_faces": {"type": int, "metavar": "N", "help": "never more triangles than this (default: 20000)"},
    "texture": {
        "type": int,
        "metavar": "N",
        "help": "texels along the texture's side (default: by the photographs' size)",
    },
    "frames": {"type": int, "metavar": "N", "help": "frames of the turntable film, 0 for none (default: 60)"},
    "seed": {"type": int, "metavar": "N", "help": "seed of the order in which views are used (default: 0)"},
    "device": {"help": "cpu or cuda (default: cpu)"},
}


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "dataset",
        nargs="?",
        help="folder of posed photographs: NeRF-synthetic, Middlebury, COLMAP or IDR layout, or K, R, t in text files",
    )
    add("--config", metavar="FILE", help="take the data set and options from a YAML file, as a run leaves one")
    add("--out", required=True, metavar="DIR", help="folder for mesh.glb, turntable.mp4, report.html and metrics.json")
    for name, how in FIELDS.items():
        add(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, **how)
    quiet_option(parser)
    add("--view", action="store_true", help="show the mesh in the browser while it takes shape")
    add("--port", type=int, metavar="N", help="with --view: port to listen on (default: 8484 or the next free one)")
    json_option(parser)


def _watched(args: argparse.Namespace) -> AbstractContextManager[Any]:
    if not args.view:
        return nullcontext()
    from ..viewer import Viewer

    return Viewer(port=args.port, quiet=args.json)


def run(args: argparse.Namespace) -> int:
    from ..backends.memory import keep_freed_memory
    from ..reconstruct.config import load
    from ..reconstruct.pipeline import Options, reconstruct

    keep_freed_memory()
    given = load(args.config) if args.config else {}
    given |= {f.name: getattr(args, f.name) for f in fields(Options) if hasattr(args, f.name)}
    dataset = args.dataset or given.get("dataset")
    given.pop("dataset", None)
    if dataset is None:
        raise ValueError("which photographs? give a data set's folder, or a --config that names one")
    with _watched(args) as viewer:
        metrics = reconstruct(dataset, args.out, Options(**given, progress=not args.quiet), viewer=viewer)
    if int(os.environ.get("RANK", "0")):  # one of several processes speaks for all
        return 0
    groups = (("held-out views", metrics["held_out"]), ("views used", metrics["used"]))
    lines = [
        f"{title:<15}{group['count']:>4}   PSNR {group['psnr']:.2f} dB   on the object "
        f"{group['psnr_object']:.2f} dB   mask IoU {group['mask_iou']:.4f}"
        for title, group in groups
        if group["count"]
    ]
    lines.append(f"wrote {Path(args.out, 'report.html')} in {metrics['seconds']['total']:.0f} s")
    say(args, {"out": args.out, **metrics}, "\n".join(lines))
    if metrics["interrupted"]:
        return stopped("this is the state at Ctrl-C; --resume goes on from it")
    return 0


COMMAND = Command(
    "posed photographs to a textured mesh", options, run, "diffrast reconstruct assets/demo --out out/demo"
)
