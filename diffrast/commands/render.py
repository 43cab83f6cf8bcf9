"""`diffrast render`: one image of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from .command import Json, MeshFile, Range, Samples, Switch, Viewpoint, out_file, say


@dataclass(frozen=True, kw_only=True)
class Render(Viewpoint, MeshFile):
    """Draw a mesh into an image.

    Example: diffrast render scene.glb --out scene.png --yaw 60
    """

    #: a .png or .jpg to write
    out: Path
    #: pixels
    width: Annotated[int, Range(1, 16384)] = 800
    #: pixels
    height: Annotated[int, Range(1, 16384)] = 600
    #: what to draw
    channel: Literal["shaded", "albedo", "normal", "depth", "uv", "id", "mask", "matcap"] = "shaded"
    #: draw the edges over it
    wireframe: Switch = False
    #: one normal per triangle
    flat: Switch = False
    #: turn the lamp around the object, in degrees
    light: float = 0.0
    #: colour of the background
    theme: Literal["dark", "light"] = "light"
    samples: Samples = 2
    json: Json = False

    def run(self) -> int:
        import torch

        import diffrast.torch as dr

        from ..io.image import save_image
        from ..viewer.channels import ViewOptions, draw
        from ..viewer.drawable import Drawable, copy_mesh

        out = out_file(self.out, ".png", ".jpg", ".jpeg")
        mesh = self.load()
        camera = self.pose(mesh).camera(self.width * self.samples, self.height * self.samples, self.up)
        names = ("channel", "wireframe", "flat", "light", "theme")
        look = ViewOptions(**{name: getattr(self, name) for name in names})
        fine = draw(dr.RasterizeContext(), Drawable(copy_mesh(mesh)), camera, look, self.up)
        image = torch.nn.functional.avg_pool2d(fine.permute(2, 0, 1)[None], self.samples)[0].permute(1, 2, 0)
        save_image(out, image, linear=False)
        facts = {"out": str(out), "width": self.width, "height": self.height, "triangles": len(mesh.faces)}
        say(self.json, facts, f"wrote {out} ({self.width} x {self.height})")
        return 0
