"""What takes longer than a frame: screenshot, turntable film, mesh, thumbnails.

Each job is a generator that pauses after a bit of work."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

import diffrast.torch as dr

from ..io import save_mesh
from ..io.image import encode, encode_png, to_uint8
from . import protocol
from .channels import ViewOptions
from .orbit import Pose
from .photographs import SIDE, contact_sheet
from .shown import Shown

FILM_FRAMES, FILM_RATE = 90, 30
Job = Callable[[Shown, Pose, ViewOptions, int, int, str], Iterator[bytes | None]]


def screenshot(
    scene: Shown, pose: Pose, options: ViewOptions, width: int, height: int, backend: str
) -> Iterator[bytes | None]:
    """A PNG of the view at full resolution."""
    picture = scene.picture(dr.RasterizeContext(backend), pose, options, max(width, 16), max(height, 16))
    yield protocol.pack(protocol.PNG, encode_png(picture, linear=False), width=width, height=height)


def film_frames(
    scene: Shown, pose: Pose, options: ViewOptions, width: int, height: int, backend: str, count: int = FILM_FRAMES
) -> Iterator[Tensor]:
    """Display values `[height, width, 3]` of `count` frames once around the target."""
    ctx = dr.RasterizeContext(backend)
    for i in range(count):
        turned = replace(pose, yaw=pose.yaw + 2 * math.pi * i / count)
        yield scene.picture(ctx, turned, replace(options, view=-1), width, height)


def turntable(
    scene: Shown, pose: Pose, options: ViewOptions, width: int, height: int, backend: str
) -> Iterator[bytes | None]:
    """An H.264 film once around the target. Sides become even, as the codec wants them."""
    import imageio.v2 as imageio

    width, height = max(width // 2 * 2, 16), max(height // 2 * 2, 16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "turntable.mp4")
        with imageio.get_writer(path, fps=FILM_RATE, codec="libx264", quality=7, macro_block_size=2) as film:
            for picture in film_frames(scene, pose, options, width, height, backend):
                film.append_data(to_uint8(picture, linear=False))  # type: ignore[attr-defined]
                yield None
        yield protocol.pack(protocol.MP4, path.read_bytes(), width=width, height=height)


def mesh(scene: Shown, _: Pose, __: ViewOptions, width: int, height: int, ___: str) -> Iterator[bytes | None]:
    """The mesh as it is now, as GLB."""
    if scene.mesh is None:
        raise ValueError("there is no mesh to save")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mesh.glb")
        save_mesh(path, scene.mesh)
        yield protocol.pack(protocol.GLB, path.read_bytes())


def thumbnails(scene: Shown, _: Pose, __: ViewOptions, width: int, height: int, ___: str) -> Iterator[bytes | None]:
    """Those of all photographs, in one JPEG."""
    for sheet in contact_sheet(scene.views) if scene.views else ():
        data = None if sheet is None else encode(sheet, "JPEG", linear=False, quality=80)
        yield data and protocol.pack(protocol.THUMBNAILS, data, flags=SIDE)


JOBS: dict[str, Job] = {"screenshot": screenshot, "turntable": turntable, "mesh": mesh, "thumbnails": thumbnails}
