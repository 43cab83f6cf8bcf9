"""`diffrast render`: one picture of a mesh."""

from __future__ import annotations

import argparse

from . import command
from .command import Command, between

CHANNELS = ("shaded", "albedo", "normal", "depth", "uv", "id", "mask", "matcap")


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    command.mesh_options(parser)
    add("--out", required=True, metavar="FILE", help="a .png or .jpg to write")
    add("--width", type=int, default=800, metavar="N", help="pixels (default: 800)")
    add("--height", type=int, default=600, metavar="N", help="pixels (default: 600)")
    add("--channel", choices=CHANNELS, default="shaded", help="what to draw (default: shaded)")
    add("--wireframe", action="store_true", help="draw the edges over it")
    add("--flat", action="store_true", help="one normal per triangle")
    add("--light", type=float, default=0.0, metavar="DEG", help="turn the lamp around the object (default: 0)")
    add("--theme", choices=("dark", "light"), default="light", help="colour of the background (default: light)")
    add("--samples", type=int, default=2, metavar="N", help="N x N samples per pixel (default: 2)")
    command.camera_options(parser)
    command.up_option(parser)
    command.json_option(parser)


def run(args: argparse.Namespace) -> int:
    import torch

    import diffrast.torch as dr

    from ..io.image import save_image
    from ..viewer.channels import ViewOptions, draw
    from ..viewer.drawable import Drawable, copy_mesh

    between("--width", args.width, 1, 16384)
    between("--height", args.height, 1, 16384)
    between("--samples", args.samples, 1, 8)
    out = command.out_file(args.out, ".png", ".jpg", ".jpeg")
    mesh = command.load(args)
    camera = command.pose_of(args, mesh).camera(args.width * args.samples, args.height * args.samples, args.up)
    names = ("channel", "wireframe", "flat", "light", "theme")
    look = ViewOptions(**{name: getattr(args, name) for name in names})
    fine = draw(dr.RasterizeContext(), Drawable(copy_mesh(mesh)), camera, look, args.up)
    picture = torch.nn.functional.avg_pool2d(fine.permute(2, 0, 1)[None], args.samples)[0].permute(1, 2, 0)
    save_image(out, picture, linear=False)
    facts = {"out": str(out), "width": args.width, "height": args.height, "triangles": len(mesh.faces)}
    command.say(args, facts, f"wrote {out} ({args.width} x {args.height})")
    return 0


COMMAND = Command("draw a mesh into a picture", options, run, "diffrast render scene.glb --out scene.png --yaw 60")
