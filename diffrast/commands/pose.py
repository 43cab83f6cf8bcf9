"""`diffrast pose`: where a known mesh stands before the camera, from one photograph."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from .command import Command, between, json_option, load, mesh_options, out_file, quiet_option, say, stopped


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    mesh_options(parser)
    add("image", help="a photograph that shows all of it; its alpha is the mask if it has any")
    add("--fov", type=float, required=True, metavar="DEG", help="the photograph's vertical field of view")
    add("--out", required=True, metavar="FILE", help="a .json to write: the camera, as in a NeRF-synthetic data set")
    add("--overlay", metavar="FILE", help="a .png or .jpg: the mesh over the photograph (default: beside --out)")
    add("--mask", metavar="FILE", help="a picture, bright on the object (default: alpha, or by a threshold)")
    add("--orientations", type=int, default=4608, metavar="N", help="to start from (default: 4608, 15 degrees apart)")
    quiet_option(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    from ..camera.camera import Camera
    from ..fitting.pose import find_pose, overlay
    from ..io.atomic import write_text
    from ..io.image import load_image, save_image, srgb_to_linear
    from ..photos.masks import add_masks
    from ..photos.photo import Pixels, split_alpha
    from ..photos.views import View

    between("--fov", args.fov, 1, 150)
    between("--orientations", args.orientations, 100, 1_000_000)
    out = out_file(args.out, ".json")
    proof = out_file(args.overlay or str(out.with_suffix(".png")), ".png", ".jpg", ".jpeg")
    if args.mask and not Path(args.mask).is_file():
        raise ValueError(f"mask {args.mask} does not exist")
    mesh, path = load(args), Path(args.image)
    if path.exists() and proof.exists() and proof.samefile(path):
        raise ValueError(f"{proof} is the photograph itself; choose another --overlay")
    rgb, alpha = split_alpha(load_image(path, linear=False))
    height, width = rgb.shape[:2]
    camera = Camera.perspective(fov_y=math.radians(args.fov), width=width, height=height)
    pixels, mask = Pixels(rgb, None if args.mask else alpha), Path(args.mask) if args.mask else None
    view = View(path.stem, path, camera, pixels, mask=mask)
    add_masks([view])
    pixels = view.load()
    assert pixels.alpha is not None
    image = srgb_to_linear(pixels.rgb)
    with torch.no_grad():
        found = find_pose(mesh, image, pixels.alpha, camera, orientations=args.orientations, progress=not args.quiet)
        # What lies behind an alpha of zero is not meant to be seen.
        behind = image if alpha is None else image * alpha[..., None] + 1 - alpha[..., None]
        save_image(proof, overlay(mesh, behind, pixels.alpha, found.camera))
    file = transforms(found.camera, path, out)
    write_text(out, json.dumps(file, indent=1) + "\n")
    facts = {
        "out": str(out),
        "overlay": str(proof),
        "rms": round(found.rms, 5),
        "iou": round(found.iou, 5),
        "rivals": [matrix(c) for c in found.rivals],
        "camera": file,
        "interrupted": found.interrupted,
    }
    text = f"outlines agree by {found.iou:.1%} (IoU), colours within {found.rms:.3f} (RMS)\nwrote {out} and {proof}"
    if found.rivals:
        text = f"{len(found.rivals)} other poses explain the photograph nearly as well; --json lists them\n{text}"
    say(args, facts, text)
    return stopped("this is the best pose at Ctrl-C") if found.interrupted else 0


def matrix(camera) -> list[list[float]]:
    """Camera to world, for a file."""
    return [[round(x, 9) + 0.0 for x in row] for row in camera.camera_to_world.tolist()]


def transforms(camera, picture: Path, beside: Path) -> dict:
    """The camera as a NeRF-synthetic data set of one photograph, whose place is told from the file's folder."""
    _, focal, principal = camera.to_opengl()
    try:
        name = picture.resolve().relative_to(beside.resolve().parent).as_posix()
    except ValueError:  # elsewhere
        name = str(picture.resolve())
    angle = 2 * math.atan(camera.width / (2 * float(focal[0])))
    return {
        "camera_angle_x": angle,
        "fl_x": float(focal[0]),
        "fl_y": float(focal[1]),
        "cx": float(principal[0]),
        "cy": float(principal[1]),
        "w": camera.width,
        "h": camera.height,
        "frames": [{"file_path": name, "transform_matrix": matrix(camera)}],
    }


COMMAND = Command(
    "find the pose of a known mesh in a photograph",
    options,
    run,
    "diffrast pose spot.glb photo.png --fov 36 --out pose.json",
)
