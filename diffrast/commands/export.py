"""`diffrast export`: a mesh in another format, textures padded across seams or baked into vertex colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .command import Json, MeshFile, Switch, out_file, say


@dataclass(frozen=True, kw_only=True)
class Export(MeshFile):
    """Write a mesh in another format.

    Example: diffrast export scene.obj --out scene.glb
    """

    #: a .glb, .gltf, .obj or .ply to write; .ply carries colours at vertices
    out: Path
    #: leave texels outside of charts as they are
    pad: Switch = True
    json: Json = False

    def run(self) -> int:
        from ..io import save_mesh
        from ..mesh.bake_textures import padded, vertex_colors

        out = out_file(self.out, ".glb", ".gltf", ".obj", ".ply")
        mesh, filled = self.load(), 0
        if out.suffix.lower() == ".ply":
            mesh = replace(mesh, colors=vertex_colors(mesh))
        elif self.pad:
            mesh, filled = padded(mesh)
        save_mesh(out, mesh)
        textures = any(m.base_color_texture is not None for m in mesh.material_list())
        color = "vertex colours" if mesh.colors is not None else "the shape alone"
        color = "with its textures" if textures and out.suffix.lower() != ".ply" else color
        facts = {
            "out": str(out),
            "vertices": len(mesh.vertices),
            "triangles": len(mesh.faces),
            "textured": color == "with its textures",
            "colored": mesh.colors is not None,
            "padded_texels": filled,
        }
        say(self.json, facts, f"wrote {out} ({len(mesh.faces)} triangles, {color})")
        return 0
