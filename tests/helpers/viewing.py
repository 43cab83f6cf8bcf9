"""What the viewer's tests share: a small scene, a client without a browser, a headless Chromium."""

import contextlib
import io
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import diffrast.torch as dr
from diffrast.io.image import from_pil
from diffrast.mesh import Mesh
from diffrast.viewer import Viewer, protocol
from diffrast.viewer.channels import ViewOptions, draw
from diffrast.viewer.drawable import Drawable, copy_mesh
from diffrast.viewer.orbit import Pose

POSE = {"target": [0.0, 0.0, 0.0], "yaw": 0.5, "pitch": 0.3, "distance": 4.0, "fov": 35.0}
LOOK = {
    "channel": "shaded",
    "wireframe": False,
    "flat": False,
    "light": 0,
    "turn": 0,
    "theme": "dark",
    "view": -1,
    "opacity": 0,
    "frusta": False,
}


def torus(rows: int = 24, texture: int = 64) -> Mesh:
    """A closed textured torus; its texture is smooth, so that JPEG does it no harm."""
    i, j = torch.meshgrid(torch.arange(rows + 1), torch.arange(rows + 1), indexing="ij")
    uv = torch.stack([i, j], -1).reshape(-1, 2).float() / rows
    a, b = 2 * torch.pi * uv.unbind(-1)[0], 2 * torch.pi * uv.unbind(-1)[1]
    ring = 1 + 0.4 * b.cos()
    vertices = torch.stack([ring * a.cos(), 0.4 * b.sin(), ring * a.sin()], -1)
    corner = (torch.arange(rows)[:, None] * (rows + 1) + torch.arange(rows)).reshape(-1)
    right, up = corner + rows + 1, corner + 1
    faces = torch.cat([torch.stack([corner, up, right], 1), torch.stack([right, up, right + 1], 1)])
    y, x = torch.meshgrid(*(torch.linspace(0, 1, texture),) * 2, indexing="ij")
    colors = torch.stack([0.3 + 0.6 * x, 0.4 + 0.3 * (6.28 * y).sin(), 0.8 - 0.5 * x * y], -1)
    return Mesh(vertices.round(decimals=6), faces.int(), uv, colors)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b.clamp(0, 1)).square().mean()) + 1e-12)


def decoded(data: bytes) -> torch.Tensor:
    """Display values of a JPEG or PNG."""
    return from_pil(Image.open(io.BytesIO(data)), linear=False)


def direct(width: int, height: int, pose: dict = POSE, **look) -> torch.Tensor:
    """What a page should show of the torus, drawn without server and JPEG."""
    camera = Pose(**{**pose, "target": tuple(pose["target"])}).camera(width, height)
    return draw(dr.RasterizeContext(), Drawable(copy_mesh(torus())), camera, ViewOptions(**{**LOOK, **look}))


class Page:
    """A page without a browser. It acknowledges frames unless told otherwise."""

    def __init__(self, viewer: Viewer, **options):
        host = f"127.0.0.1:{viewer.url.rsplit(':', 1)[1].strip('/')}"
        self._connect = connect(f"ws://{host}/ws", compression=None, max_size=None, close_timeout=0.5, **options)
        self.socket: ClientConnection = self._connect.__enter__()
        self.frames: list[tuple[dict, bytes]] = []
        self.messages: list[dict] = []
        self.acknowledge = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            self._hear()

    def _hear(self) -> None:
        for message in self.socket:
            if isinstance(message, str):
                self.messages.append(json.loads(message))
                continue
            head, data = protocol.unpack(message)
            self.frames.append((head, data))
            if self.acknowledge and head["kind"] == protocol.FRAME:
                self.say("ack", frame=head["frame"])

    def say(self, kind: str, **fields) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def move(self, stamp: float, **changes) -> None:
        self.say("camera", stamp=stamp, **{**POSE, **changes})

    def look(self, stamp: float, **changes) -> None:
        self.say("options", stamp=stamp, **{**LOOK, **changes})

    def of_type(self, kind: str) -> list[dict]:
        return [m for m in self.messages if m["type"] == kind]

    def frame_after(self, stamp: float, full: bool = True) -> tuple[dict, bytes]:
        """The first frame drawn for the input of that time stamp."""

        def found():
            return [
                f for f in list(self.frames) if f[0]["stamp"] >= stamp and (f[0]["flags"] & protocol.FULL or not full)
            ]

        return wait(lambda: found() and found()[0], f"a frame for stamp {stamp}")

    def close(self) -> None:
        self._connect.__exit__(None, None, None)

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wait(condition: Callable, what: str, seconds: float = 40.0):
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come in {seconds:g} s")


def missing_browser() -> str:
    """Why there is no browser to test with; empty if there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed (pip install selenium)"
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install chromium chromium-driver)"
    return ""


def browser(folder: Path, width: int = 1000, height: int = 700) -> Iterator:
    """A headless Chromium; skips without one, or fails where one is required."""
    if why := missing_browser():
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"a browser is required here but {why}")
        pytest.skip(f"NOT TESTED in a browser: {why}")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()
