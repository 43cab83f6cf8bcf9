"""`diffrast pose`: where a known mesh stands before the camera, from one photograph."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from .command import Fov, Json, MeshFile, Quiet, Range, out_file, say, stopped

if TYPE_CHECKING:
    from ..camera.camera import Camera


@dataclass(frozen=True, kw_only=True)
class Pose(MeshFile):
    """Find the pose of a known mesh in a photograph.

    Example: diffrast pose spot.glb photo.png --fov 36 --out pose.json
    """

    #: a photograph that shows all of it; its alpha is the mask if it has any
    image: Positional[Path]
    #: the photograph's vertical field of view, in degrees
    fov: Fov
    #: a .json to write: the camera, as in a NeRF-synthetic data set
    out: Path
    #: a .png or .jpg: the mesh over the photograph (default: beside --out)
    overlay: Path | None = None
    #: an image, bright on the object (default: alpha, or by a threshold)
    mask: Path | None = None
    #: to start from; 4608 are 15 degrees apart
    orientations: Annotated[int, Range(100, 1_000_000)] = 4608
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        import torch

        from ..camera.camera import Camera
        from ..fitting.pose import find_pose, overlay
        from ..io.atomic import write_text
        from ..io.image import load_image, save_image, srgb_to_linear
        from ..photos.masks import add_masks
        from ..photos.photo import Pixels, split_alpha
        from ..photos.views import View

        out = out_file(self.out, ".json")
        proof = out_file(self.overlay or out.with_suffix(".png"), ".png", ".jpg", ".jpeg")
        if self.mask and not self.mask.is_file():
            raise ValueError(f"mask {self.mask} does not exist")
        mesh, path = self.load(), self.image
        if path.exists() and proof.exists() and proof.samefile(path):
            raise ValueError(f"{proof} is the photograph itself; choose another --overlay")
        rgb, alpha = split_alpha(load_image(path, linear=False))
        height, width = rgb.shape[:2]
        camera = Camera.perspective(fov_y=math.radians(self.fov), width=width, height=height)
        view = View(path.stem, path, camera, Pixels(rgb, None if self.mask else alpha), mask=self.mask)
        add_masks([view])
        pixels, mask = view.load(), view.load_mask()
        image = srgb_to_linear(pixels.rgb)
        with torch.no_grad():
            found = find_pose(mesh, image, mask, camera, orientations=self.orientations, progress=not self.quiet)
            # What lies behind an alpha of zero is not meant to be seen.
            behind = image if alpha is None else image * alpha[..., None] + 1 - alpha[..., None]
            save_image(proof, overlay(mesh, behind, mask, found.camera))
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
        say(self.json, facts, text)
        return stopped("this is the best pose at Ctrl-C") if found.interrupted else 0


def matrix(camera: Camera) -> list[list[float]]:
    """Camera to world, for a file."""
    return [[round(x, 9) + 0.0 for x in row] for row in camera.camera_to_world.tolist()]


def transforms(camera: Camera, image: Path, beside: Path) -> dict[str, Any]:
    """The camera as a NeRF-synthetic data set of one photograph, whose place is told from the file's folder."""
    _, focal, principal = camera.to_opengl()
    try:
        name = image.resolve().relative_to(beside.resolve().parent).as_posix()
    except ValueError:  # elsewhere
        name = str(image.resolve())
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
