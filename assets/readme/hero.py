"""Draws the picture at the top of README.md from what `make demo` made: `python assets/readme/hero.py out/demo`.

Above photographs, in the middle the reconstructed mesh with its texture, below its bare shape, under the same cameras.
"""

import sys
from pathlib import Path

import torch

import diffrast.torch as dr
from diffrast.io import load_mesh, save_image, srgb_to_linear
from diffrast.photos.data import read_views
from diffrast.scene.passes import clip_matrices, finish, render_clay, to_clip

HERE = Path(__file__).resolve().parent
VIEWS = (9, 6, 13, 19)
SAMPLES = 4
ROWS = slice(36, 222)  # without the empty rows above and below


def main() -> None:
    views = [read_views(HERE.parent / "demo")[i] for i in VIEWS]
    mesh = load_mesh(Path(sys.argv[1]) / "mesh.glb")
    box = torch.stack([mesh.vertices.amin(0), mesh.vertices.amax(0)])
    ctx = dr.RasterizeContext()
    columns = []
    for view in views:
        camera, size = view.camera, (view.camera.height, view.camera.width)
        clip = to_clip(mesh.vertices, clip_matrices([camera], box))
        rast, _ = dr.rasterize(ctx, clip, mesh.faces, [SAMPLES * n for n in size])
        uv, _ = dr.interpolate(mesh.uv, rast, mesh.uv_index)
        textured = finish(dr.texture(mesh.texture[None], uv), rast, clip, mesh.faces, 1.0, SAMPLES)[0, ..., :3]
        clay = srgb_to_linear(render_clay(ctx, clip, mesh, camera, size, SAMPLES)[0])
        rgb, alpha = view.load().rgb, view.load_mask()[..., None]
        photograph = rgb * alpha + 1 - alpha
        columns.append(
            torch.cat([part[ROWS] for part in (clay, textured, srgb_to_linear(photograph))])
        )  # row 0 is the bottom one
    save_image(HERE / "hero.png", torch.cat(columns, dim=1))


if __name__ == "__main__":
    main()
