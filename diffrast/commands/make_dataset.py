"""`diffrast make-dataset`: photographs of a mesh with known cameras, in the NeRF-synthetic layout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .command import Json, MeshFile, Quiet, Range, Samples, Switch, Up, progress, say, stopped

if TYPE_CHECKING:
    from torch import Tensor

    import diffrast.torch as dr

    from ..camera.camera import Camera
    from ..viewer.drawable import Drawable
    from ..viewer.orbit import Pose


@dataclass(frozen=True, kw_only=True)
class MakeDataset(MeshFile):
    """Photograph a mesh: a posed multi-view data set.

    Example: diffrast make-dataset scene.glb --out photos --views 36
    """

    #: folder for transforms_train.json and train/*.png
    out: Path
    #: photographs
    views: Annotated[int, Range(1, 10_000)] = 36
    #: pixels along each side
    size: Annotated[int, Range(8, 8192)] = 400
    #: field of view, in degrees
    fov: Annotated[float, Range(1, 120)] = 36.0
    samples: Samples = 3
    #: the base colour alone, without light
    unlit: Switch = False
    #: replace another data set in --out
    overwrite: Switch = False
    up: Up = "y"
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        import torch

        import diffrast.torch as dr

        from ..io.atomic import write_text
        from ..io.image import save_image
        from ..viewer.drawable import Drawable, copy_mesh
        from ..viewer.shown import Shown

        out = self.out
        index = out / "transforms_train.json"
        if index.exists() and not self.overwrite:
            raise ValueError(f"{out} already holds a data set; choose another --out or give --overwrite")
        mesh = self.load()
        try:
            (out / "train").mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"cannot make the folder {out}: a file is in the way") from None
        ctx, model = dr.RasterizeContext(), Drawable(copy_mesh(mesh))
        home = Shown().changed(mesh).fitting_pose()
        frames, code = [], 0
        try:
            with torch.no_grad():
                for i, pose in enumerate(progress(list(poses(self.views, home, self.fov)), "photographs", self.quiet)):
                    camera = pose.camera(self.size, self.size, self.up)
                    image = photograph(ctx, model, camera, self.samples, self.up, self.unlit)
                    save_image(out / "train" / f"r_{i:03d}.png", image)
                    matrix = torch.linalg.inv(camera.world_to_camera)
                    rows = [[round(x, 9) for x in row] for row in matrix.tolist()]
                    frames.append({"file_path": f"./train/r_{i:03d}", "transform_matrix": rows})
        except KeyboardInterrupt:
            if not frames:
                raise
            code = stopped("these are the photographs that were done")
        write_text(index, json.dumps({"camera_angle_x": math.radians(self.fov), "frames": frames}, indent=1) + "\n")
        count = len(frames)
        say(self.json, {"out": str(out), "views": count, "size": self.size}, f"wrote {count} views to {out}")
        return code


def poses(count: int, home: Pose, fov: float) -> Iterator[Pose]:
    """Viewpoints on a spiral from below the object's middle to high above it, evenly spread over the sphere's bands."""
    golden = math.pi * (3 - math.sqrt(5))
    wide = math.sin(math.radians(home.fov / 2)) / math.sin(math.radians(fov / 2))
    for i in range(count):
        pitch = math.asin(-0.4 + 1.3 * (i + 0.5) / count)
        yield type(home)(home.target, golden * i, pitch, home.distance * wide, fov)


def photograph(ctx: dr.RasterizeContext, model: Drawable, camera: Camera, samples: int, up: str, unlit: bool) -> Tensor:
    """Linear straight-alpha RGBA `[H, W, 4]` under a sky and a lamp that stay where they are when the camera
    moves."""
    import torch

    from ..viewer.orbit import UPS
    from ..viewer.surface import Surface

    surface = Surface(ctx, model, camera.resized(camera.width * samples, camera.height * samples))
    color = surface.albedo
    if not unlit:
        sky = color.new_tensor(UPS[up])
        lamp = color.new_tensor((0.45, 0.75, 0.5) if up == "y" else (0.45, -0.5, 0.75))
        lamp = torch.nn.functional.normalize(lamp, dim=0)
        n = surface.normal
        color = color * (0.45 + 0.15 * (n @ sky) + 0.5 * (n @ lamp).clamp_min(0))[:, None]
    fine = surface.scatter(torch.nn.functional.pad(color, (0, 1), value=1.0), (0.0,) * 4)
    mean = torch.nn.functional.avg_pool2d(fine.permute(2, 0, 1)[None], samples)[0].permute(1, 2, 0)
    return torch.cat([mean[..., :3] / mean[..., 3:].clamp_min(1e-6), mean[..., 3:]], dim=-1)
