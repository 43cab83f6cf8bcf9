"""What a subcommand is, and the options that several of them share."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..mesh.mesh import Mesh
    from ..viewer.orbit import Pose


@dataclass(frozen=True)
class Command:
    """A subcommand: its one-line help, the options it adds to its parser, what it does (returns the exit code), and an
    example."""

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    example: str = ""


def mesh_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("mesh", help="a .glb, .gltf, .obj, .ply or .stl file")
    add("--texture", metavar="FILE", help="a picture to use as base colour (the mesh must have UVs)")


def up_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--up", choices=("y", "z"), default="y", help="the axis that points up (default: y)")


def json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def quiet_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def camera_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--yaw", type=float, default=35.0, metavar="DEG", help="around the object (default: 35)")
    add("--pitch", type=float, default=20.0, metavar="DEG", help="above the horizon, -89 to 89 (default: 20)")
    add("--distance", type=float, metavar="D", help="from the middle of the object (default: so that all of it fits)")
    add("--fov", type=float, default=35.0, metavar="DEG", help="vertical field of view (default: 35)")


def pose_of(args: argparse.Namespace, mesh: Mesh) -> Pose:
    """The camera that the options ask for."""
    from ..viewer.shown import Shown

    between("--fov", args.fov, 1, 150)
    between("--pitch", args.pitch, -89, 89)
    if args.distance is not None:
        between("--distance", args.distance, 1e-6, 1e9)
    fit = Shown().changed(mesh=mesh).fitting_pose()
    # Keep the object's size in the picture when the field of view is another than the usual one.
    wide = math.sin(math.radians(fit.fov / 2)) / math.sin(math.radians(args.fov / 2))
    distance = args.distance or fit.distance * wide
    return type(fit)(fit.target, math.radians(args.yaw), math.radians(args.pitch), distance, args.fov)


def load(args: argparse.Namespace) -> Mesh:
    """The mesh that `mesh_options` ask for."""
    from ..io import load_image, load_mesh

    mesh = load_mesh(args.mesh)
    if args.texture:
        if mesh.uv is None:
            raise ValueError(f"--texture needs UVs, and mesh {args.mesh} has none")
        picture = load_image(args.texture)
        mesh.materials, mesh.material_ids = [], None  # the picture takes their place
        mesh.texture = picture[..., :3].expand(-1, -1, 3).contiguous()
    return mesh


def between(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{option} must be {low:g} to {high:g}; got {value:g}")


def out_file(path: str, *suffixes: str) -> Path:
    """A path to write, checked before the work starts."""
    out = Path(path)
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"the output must end in {' or '.join(suffixes)}; got {path}")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist")
    return out


def say(args: argparse.Namespace, facts: dict[str, Any], sentence: str) -> None:
    """The result: for machines with --json, for people without."""
    print(json.dumps(facts) if args.json else sentence)


def progress(items, label: str, quiet: bool):
    """The items, with a bar on stderr where somebody looks."""
    from tqdm import tqdm

    return tqdm(items, desc=label, disable=quiet or not sys.stderr.isatty(), leave=False)


def stopped(state: str) -> int:
    """The exit code after Ctrl-C, when what there is has been written."""
    print(f"diffrast: stopped early: {state}", file=sys.stderr)
    return 130
