"""diffrast's picture behind a viser scene, for programs that have a viser page (an extra: `pip install
'diffrast[viser]'`)::

    server = viser.ViserServer(host="127.0.0.1")
    with ViserBackground(server) as background:
        for i in range(1000):
            ...
            background.show(Mesh(vertices, faces))

viser puts every picture that it is given into a queue, so that giving it more than its page can show makes the page lag
behind the mouse. Here each page gets a picture when its camera or the mesh has changed, at most `rate` a second, and
always of the latest camera; while the camera moves it is small.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import torch
from torch import Tensor

import diffrast.torch as dr

from ..camera.camera import Camera
from ..io.image import to_uint8
from ..mesh.mesh import Mesh
from ..mesh.rotation import quaternion_to_rotation
from .channels import CHANNELS, ViewOptions, draw
from .pace import Pace
from .session import MOVING
from .shown import Shown

logger = logging.getLogger("diffrast")

QUALITY = 75  # of a JPEG
State = tuple[float, ...]  # of a page: size, field of view, position and rotation of its camera


class ViserBackground:
    """Draws on a thread of its own, from copies, for every page of a `viser.ViserServer`.

    Args:
        server: the server; only its `get_clients()` is used.
        rate: pictures a second for each page at most.
        size: pixels along the longer side of the largest picture.
        channel: what to draw, one of `diffrast.viewer.channels.CHANNELS`.
        backend: of the rasterizer.

    What cannot be drawn is logged; the program goes on.
    """

    def __init__(
        self, server: Any, *, rate: float = 12.0, size: int = 1024, channel: str = "shaded", backend: str = "auto"
    ):
        if not 0 < rate <= 120:
            raise ValueError(f"ViserBackground(): rate must be above 0 and at most 120 a second; got {rate}")
        if channel not in CHANNELS:
            raise ValueError(f"ViserBackground(): channel must be one of {', '.join(CHANNELS)}; got {channel!r}")
        self.server, self.rate, self.size = server, rate, size
        self._options, self._backend = ViewOptions(channel=channel, theme="light"), backend
        self._scene = Shown(up="z")  # viser's axis
        self._pace, self._pages = Pace(), dict[int, _Page]()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="diffrast viser", daemon=True)
        self._thread.start()

    def show(self, mesh: Mesh, *, gradient: Tensor | None = None, coverage: Tensor | None = None) -> None:
        """As `diffrast.Viewer.show`: copies, and does not wait for drawing."""
        self._scene = self._scene.changed(mesh=mesh, gradient=gradient, coverage=coverage)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=10)

    def __enter__(self) -> ViserBackground:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        ctx, failed = dr.RasterizeContext(backend=self._backend), ""
        while not self._closed.wait(0.005):
            clients = self.server.get_clients()
            self._pages = {name: self._pages.get(name) or _Page() for name in clients}
            for name, page in self._pages.items():
                try:
                    self._update(ctx, clients[name], page)
                except Exception as error:
                    if str(error) != failed:
                        logger.warning("viser: a picture could not be drawn: %s: %s", type(error).__name__, error)
                    failed = str(error)

    def _update(self, ctx: dr.RasterizeContext, client: Any, page: _Page) -> None:
        now, scene, state = time.monotonic(), self._scene, _state(client.camera)
        if state is None or scene.drawable is None:
            return
        if state != page.state:
            page.state, page.moved = state, now
        moving = now - page.moved < MOVING and page.shown is not None
        wanted = (state, scene.version, moving)
        if page.shown in (wanted, (state, scene.version, False)) or now < page.next:
            return
        page.next = now + 1 / self.rate
        shrink = min(1.0, self.size / max(state[:2]))
        full = max(1, round(state[0] * shrink)), max(1, round(state[1] * shrink))
        began = time.perf_counter()
        width, height = self._pace.size(*full, moving)
        picture = draw(ctx, scene.drawable, camera_of(state, width, height), self._options, scene.up, smooth=not moving)
        self._pace.learn(time.perf_counter() - began, width * height, moving)
        client.scene.set_background_image(to_uint8(picture, linear=False), format="jpeg", jpeg_quality=QUALITY)
        page.shown = wanted


class _Page:
    def __init__(self) -> None:
        self.state: State | None = None
        self.shown: tuple[State, int, bool] | None = None
        self.moved = self.next = 0.0


def _state(camera: Any) -> State | None:
    """What viser knows of a page's camera; None before the page has said."""
    try:
        height = int(camera.image_height)
        width = round(height * float(camera.aspect))
        numbers = (camera.fov, *camera.position, *camera.wxyz)
    except AssertionError:  # viser's answer until then
        return None
    return (width, height, *map(float, numbers)) if width > 0 and height > 0 else None


def camera_of(state: State, width: int, height: int) -> Camera:
    """viser's camera for a picture of this size: a full vertical angle, a place, and a rotation from OpenCV's camera
    axes (x right, y down, z ahead) to the world as a unit quaternion (viser's documentation, "Frame Conventions")."""
    fov, (position, wxyz) = state[2], torch.tensor(state[3:], dtype=torch.float64).split([3, 4])
    rotation = quaternion_to_rotation(wxyz)
    focal = height / 2 / math.tan(fov / 2)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera.from_opencv(K, rotation.T, -rotation.T @ position, (width, height), first_pixel=0.5)
