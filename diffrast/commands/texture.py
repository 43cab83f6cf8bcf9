"""`diffrast texture`: posed photographs baked onto a mesh."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from .command import Device, Json, Quiet, Range, Switch, out_file, say, stopped


@dataclass(frozen=True, kw_only=True)
class Texture:
    """Bake posed photographs onto a mesh.

    Example: diffrast texture spot.obj photos --out spot.glb
    """

    #: a .glb, .gltf, .obj, .ply or .stl file; its UVs are kept if it has any
    mesh: Positional[Path]
    #: folder of posed photographs, as for reconstruct
    dataset: Positional[Path]
    #: a .glb, .gltf or .obj to write
    out: Path
    #: folder of masks, one per photograph, by the same name; bright is the object
    masks: Path | None = None
    #: texels along the texture's side (default: by the photographs' size)
    size: Annotated[int | None, Range(16, 8192)] = None
    #: of the fit; 0: the mean of the photographs
    steps: Annotated[int, Range(0, 1_000_000)] = 100
    #: make new UVs even if the mesh has some
    new_uv: Switch = False
    #: seed of the order in which views are used
    seed: int = 0
    device: Device = "cpu"
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        from ..backends.devices import device_of
        from ..backends.memory import keep_freed_memory
        from ..fitting.metrics import mean_figures
        from ..io import load_mesh, save_mesh
        from ..photos.data import load
        from ..reconstruct.bake import bake

        out = out_file(self.out, ".glb", ".gltf", ".obj")
        device = device_of(self.device)
        keep_freed_memory()
        mesh = load_mesh(self.mesh, textures=False)
        capture = load(self.dataset, self.masks)
        for reason in capture.left_out:
            print(f"diffrast: left out: {reason}", file=sys.stderr)
        views = capture.views
        baked = bake(
            mesh,
            views,
            size=self.size,
            steps=self.steps,
            new_uv=self.new_uv,
            seed=self.seed,
            device=device,
            progress=not self.quiet,
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
        say(self.json, {**facts, "interrupted": baked.interrupted}, "\n".join(lines))
        return stopped("this is the texture at Ctrl-C") if baked.interrupted else 0
