"""`diffrast export`: a mesh in another format, textures padded across seams or baked into vertex colours."""

from __future__ import annotations

import argparse
from dataclasses import replace

from .command import Command, json_option, load, mesh_options, out_file, say


def options(parser: argparse.ArgumentParser) -> None:
    mesh_options(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="a .glb, .gltf, .obj or .ply to write; .ply carries colours at vertices",
    )
    parser.add_argument("--no-pad", action="store_true", help="leave texels outside of charts as they are")
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..io import save_mesh
    from ..mesh.bake_textures import padded, vertex_colors

    out = out_file(args.out, ".glb", ".gltf", ".obj", ".ply")
    mesh, filled = load(args), 0
    if out.suffix.lower() == ".ply":
        mesh = replace(mesh, colors=vertex_colors(mesh))
    elif not args.no_pad:
        mesh, filled = padded(mesh)
    save_mesh(out, mesh)
    pictures = any(m.base_color_texture is not None for m in mesh.material_list())
    color = "vertex colours" if mesh.colors is not None else "the shape alone"
    color = "with its textures" if pictures and out.suffix.lower() != ".ply" else color
    facts = {
        "out": str(out),
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.faces),
        "textured": color == "with its textures",
        "colored": mesh.colors is not None,
        "padded_texels": filled,
    }
    say(args, facts, f"wrote {out} ({len(mesh.faces)} triangles, {color})")
    return 0


COMMAND = Command("write a mesh in another format", options, run, "diffrast export scene.obj --out scene.glb")
