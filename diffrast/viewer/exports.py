"""What takes longer than a frame: screenshot, turntable film, mesh, thumbnails.

Each job is a generator that pauses after a bit of work."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import diffrast.torch as dr

from ..io import save_mesh
from ..io.image import encode, to_uint8
from . import protocol
from .photographs import SIDE, contact_sheet
from .session import Order
from .shown import Shown

FILM_FRAMES, FILM_RATE = 90, 30
Job = Callable[[Shown, Order, str], Iterator[bytes | None]]  # of what is shown, the page's view, and a backend


def screenshot(shown: Shown, order: Order, backend: str) -> Iterator[bytes | None]:
    """A PNG of the view at full resolution."""
    width, height = max(order.width, 16), max(order.height, 16)
    image = shown.picture(dr.RasterizeContext(backend), order.pose, order.options, width, height)
    yield protocol.pack(protocol.PNG, encode(image, "PNG", linear=False), width=order.width, height=order.height)


def turntable(shown: Shown, order: Order, backend: str) -> Iterator[bytes | None]:
    """An H.264 film once around the target. Sides become even, as the codec wants them."""
    import imageio.v2 as imageio

    ctx, pose, options = dr.RasterizeContext(backend), order.pose, replace(order.options, view=-1)
    width, height = max(order.width // 2 * 2, 16), max(order.height // 2 * 2, 16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "turntable.mp4")
        with imageio.get_writer(path, fps=FILM_RATE, codec="libx264", quality=7, macro_block_size=2) as film:
            for i in range(FILM_FRAMES):
                turned = replace(pose, yaw=pose.yaw + 2 * math.pi * i / FILM_FRAMES)
                image = shown.picture(ctx, turned, options, width, height)
                film.append_data(to_uint8(image, linear=False))  # type: ignore[attr-defined]
                yield None
        yield protocol.pack(protocol.MP4, path.read_bytes(), width=width, height=height)


def mesh(shown: Shown, _: Order, __: str) -> Iterator[bytes | None]:
    """The mesh as it is now, as GLB."""
    if shown.mesh is None:
        raise ValueError("there is no mesh to save")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mesh.glb")
        save_mesh(path, shown.mesh)
        yield protocol.pack(protocol.GLB, path.read_bytes())


def thumbnails(shown: Shown, _: Order, __: str) -> Iterator[bytes | None]:
    """Those of all photographs, in one JPEG."""
    for sheet in contact_sheet(shown.views) if shown.views else ():
        data = None if sheet is None else encode(sheet, "JPEG", linear=False, quality=80)
        yield data and protocol.pack(protocol.THUMBNAILS, data, flags=SIDE)


JOBS: dict[str, Job] = {"screenshot": screenshot, "turntable": turntable, "mesh": mesh, "thumbnails": thumbnails}
