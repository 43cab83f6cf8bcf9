"""`diffrast texture`: posed photographs baked onto a mesh."""

from __future__ import annotations

import argparse
import sys

from .command import Command, between, json_option, out_file, quiet_option, say, stopped


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("mesh", help="a .glb, .gltf, .obj, .ply or .stl file; its UVs are kept if it has any")
    add("dataset", help="folder of posed photographs, as for reconstruct")
    add("--out", required=True, metavar="FILE", help="a .glb, .gltf or .obj to write")
    add("--masks", metavar="DIR", help="one mask per photograph, by the same name; bright is the object")
    add("--size", type=int, metavar="N", help="texels along the texture's side (default: by the photographs' size)")
    add("--steps", type=int, default=100, metavar="N", help="of the fit; 0: the mean of the photographs (default: 100)")
    add("--new-uv", action="store_true", help="make new UVs even if the mesh has some")
    add("--seed", type=int, default=0, metavar="N", help="seed of the order in which views are used (default: 0)")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    quiet_option(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..backends.devices import device_of
    from ..backends.memory import keep_freed_memory
    from ..fitting.metrics import mean_figures
    from ..io import load_mesh, save_mesh
    from ..photos.data import load
    from ..reconstruct.bake import bake

    if args.size is not None:
        between("--size", args.size, 16, 8192)
    between("--steps", args.steps, 0, 1_000_000)
    out = out_file(args.out, ".glb", ".gltf", ".obj")
    device = device_of(args.device)
    keep_freed_memory()
    mesh = load_mesh(args.mesh, textures=False)
    capture = load(args.dataset, args.masks)
    for reason in capture.left_out:
        print(f"diffrast: left out: {reason}", file=sys.stderr)
    views = capture.views
    baked = bake(
        mesh,
        views,
        size=args.size,
        steps=args.steps,
        new_uv=args.new_uv,
        seed=args.seed,
        device=device,
        progress=not args.quiet,
    )
    save_mesh(out, baked.mesh)
    assert baked.mesh.texture is not None
    mean, side = mean_figures(baked.figures), baked.mesh.texture.shape[0]
    lines = [
        f"{f['view']:<24} PSNR {f['psnr']:6.2f} dB   on the object {f['psnr_object']:6.2f} dB"
        for f in [*baked.figures, {"view": f"mean of {len(views)} views", **mean}]
    ]
    lines.append(f"wrote {out} ({side} x {side} texels, {baked.seen:.0%} of the surface seen)")
    facts = {"out": str(out), "size": side, "seen": round(baked.seen, 4), "mean": mean, "views": baked.figures}
    say(args, {**facts, "interrupted": baked.interrupted}, "\n".join(lines))
    return stopped("this is the texture at Ctrl-C") if baked.interrupted else 0


COMMAND = Command("bake posed photographs onto a mesh", options, run, "diffrast texture spot.obj photos --out spot.glb")
