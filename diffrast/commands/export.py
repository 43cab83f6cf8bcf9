"""`diffrast export`: a mesh in another format, its texture padded across seams."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from .command import Command, json_option, load, mesh_options, out_file, say

if TYPE_CHECKING:
    from ..scene.mesh import Mesh


def options(parser: argparse.ArgumentParser) -> None:
    mesh_options(parser)
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="a .glb, .obj or .ply (without texture) to write"
    )
    parser.add_argument("--no-pad", action="store_true", help="leave texels outside of charts as they are")
    json_option(parser)


def pad_seams(mesh: Mesh) -> int:
    """Give texels that no triangle covers the colour of the nearest one that is, in place: filters and mipmaps across a
    chart's border then find its own colour. Returns how many changed."""
    from ..reconstruct.appearance import fill_gaps
    from ..scene.atlas import atlas

    if mesh.uv is None or mesh.texture is None:
        return 0
    try:
        covered, _ = atlas(mesh, (mesh.texture.shape[0], mesh.texture.shape[1]))
    except ValueError:  # the texture repeats: its border is no seam
        return 0
    mesh.texture = fill_gaps(mesh.texture, covered)
    for i, material in enumerate(
        mesh.materials
    ):  # there is one, or the mesh would have no texture of its own
        if material.base_color_texture is not None:
            padded = fill_gaps(material.base_color_texture, covered)
            mesh.materials[i] = replace(material, base_color_texture=padded)
    return int((~covered).sum())


def run(args: argparse.Namespace) -> int:
    from ..scene import save_mesh

    out = out_file(args.out, ".glb", ".obj", ".ply")
    mesh = load(args)
    padded = 0 if args.no_pad else pad_seams(mesh)
    save_mesh(out, mesh)
    textured = mesh.texture is not None and out.suffix.lower() != ".ply"
    facts = {"out": str(out), "vertices": len(mesh.vertices), "triangles": len(mesh.faces), "textured": textured,
             "padded_texels": padded}  # fmt: skip
    kind = "with its texture" if textured else "the shape alone"
    say(args, facts, f"wrote {out} ({len(mesh.faces)} triangles, {kind})")
    return 0


COMMAND = Command("write a mesh in another format", options, run, "diffrast export scene.obj --out scene.glb")
