"""The adapter to viser: with a stand-in for its server, and for real where viser is installed."""

import io
import math
import time
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.viewing import browser, psnr, torus, wait
from PIL import Image

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.io.image import from_uint8
from diffrast.viewer.channels import ViewOptions, draw
from diffrast.viewer.drawable import Drawable, copy_mesh
from diffrast.viewer.viser_adapter import ViserBackground, camera_of

# At (0, -4, 0), ahead is +y and up is +z: x right, y down, z ahead in the camera.
QUARTER = math.sqrt(0.5)
FRONT = {
    "wxyz": (QUARTER, -QUARTER, 0.0, 0.0),
    "position": (0.0, -4.0, 0.0),
    "fov": 0.6,
    "aspect": 4 / 3,
    "image_height": 96,
}


class Client:
    """What the adapter uses of a viser client; keeps the pictures and when they came."""

    def __init__(self, **camera):
        self.camera = SimpleNamespace(**{**FRONT, **camera})
        self.scene = self
        self.pictures: list[tuple[float, torch.Tensor]] = []

    def set_background_image(self, image, format, *, jpeg_quality):
        assert (format, jpeg_quality) == ("jpeg", 75)
        self.pictures.append((time.monotonic(), from_uint8(image, linear=False)))

    def turn(self, angle: float) -> None:
        self.camera.position = (4 * math.sin(angle), -4 * math.cos(angle), 0.0)
        a, b = math.cos(angle / 2), math.sin(angle / 2)  # a turn about z, after the one that looks along y
        self.camera.wxyz = (a * QUARTER, -a * QUARTER, -b * QUARTER, b * QUARTER)


class Server(dict):
    def get_clients(self):
        return dict(self)


def expected(angle: float = 0.0) -> torch.Tensor:
    eye = (4 * math.sin(angle), -4 * math.cos(angle), 0.0)
    camera = look_at(eye, (0, 0, 0), (0, 0, 1), fov_y=0.6, width=128, height=96)
    return draw(dr.RasterizeContext(), Drawable(copy_mesh(torus())), camera, ViewOptions(theme="light"), "z")


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_cameras_are_those_of_viser(angle):
    client = Client()
    client.turn(angle)
    ours = camera_of((128, 96, 0.6, *client.camera.position, *client.camera.wxyz), 128, 96)
    eye = (4 * math.sin(angle), -4 * math.cos(angle), 0.0)
    wanted = look_at(eye, (0, 0, 0), (0, 0, 1), fov_y=0.6, width=128, height=96)
    assert torch.allclose(ours.world_to_camera.double(), wanted.world_to_camera.double(), atol=1e-6)
    assert torch.allclose(ours.K.double(), wanted.K.double(), atol=1e-5)


def test_each_page_gets_the_picture_of_its_camera_once():
    server = Server({0: Client(), 1: Client()})
    server[1].turn(1.0)
    with ViserBackground(server, rate=100) as background:
        time.sleep(0.1)
        assert server[0].pictures == []  # there is nothing to show yet
        background.show(torus())
        for client, angle in ((server[0], 0.0), (server[1], 1.0)):
            wait(lambda client=client: client.pictures, "a picture")
            assert psnr(client.pictures[-1][1], expected(angle)) > 35
        time.sleep(0.4)
        counts = [len(client.pictures) for client in server.values()]
        time.sleep(0.3)
        assert [len(client.pictures) for client in server.values()] == counts  # nothing has changed
        background.show(torus(12))
        wait(lambda: len(server[0].pictures) > counts[0], "the new mesh")


def test_pictures_are_paced_and_the_last_camera_wins():
    client = Client()
    with ViserBackground(Server({0: client}), rate=10) as background:
        background.show(torus())
        wait(lambda: client.pictures, "a picture")
        began, first, moves = time.monotonic(), len(client.pictures), 0
        while time.monotonic() - began < 1.0 or (len(client.pictures) < first + 3 and moves < 4000):
            client.turn(0.01 * moves)
            moves += 1
            time.sleep(0.004)
        count = len(client.pictures) - first
        assert 3 <= count <= 10 * (time.monotonic() - began) + 2
        last = 0.01 * (moves - 1)
        wait(
            lambda: client.pictures[-1][1].shape == (96, 128, 3) and psnr(client.pictures[-1][1], expected(last)) > 35,
            "the last camera's picture",
        )


def test_a_page_that_has_not_said_where_it_looks_and_one_that_fails():
    class Silent(SimpleNamespace):
        @property
        def image_height(self):
            raise AssertionError("no camera yet")

    class Silly(Client):
        def set_background_image(self, *_, **__):
            raise ConnectionError("gone")

    good, silent = Client(), Client()
    silent.camera = Silent()
    with ViserBackground(Server({0: silent, 1: Silly(), 2: good}), rate=50) as background:
        background.show(torus())
        wait(lambda: good.pictures, "the good page's picture")
        assert silent.pictures == []


@pytest.mark.parametrize(
    ("options", "message"), [({"rate": 0}, "rate must be above 0"), ({"channel": "x"}, "one of shaded")]
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ViserBackground(Server(), **options)


@pytest.mark.skipif(find_spec("viser") is None, reason="NOT TESTED with viser itself: pip install viser")
def test_a_real_viser_page_shows_the_mesh(tmp_path):
    server = import_module("viser").ViserServer(host="127.0.0.1", port=0, verbose=False)
    pages = browser(tmp_path)
    driver = next(pages)
    try:
        with ViserBackground(server) as background:
            background.show(torus())
            driver.get(f"http://127.0.0.1:{server.get_port()}")
            (client,) = wait(lambda: server.get_clients().values(), "a page")
            client.camera.position = (0.0, -4.0, 1.0)
            client.camera.look_at = (0.0, 0.0, 0.0)
            page = wait(lambda: background._pages.get(client.client_id), "the page's state")
            wait(lambda: page.shown, "a picture")
            wait(
                lambda: np.allclose(page.shown[0][3:6], (0, -4, 1)) and not page.shown[2],
                "the picture of that camera at rest",
            )
            eye = camera_of(page.shown[0], 64, 64)
            assert torch.allclose(eye.project(torch.zeros(1, 3))[0], torch.full((1, 2), 32.0), atol=0.1)

            def colourful() -> bool:
                """The torus is blue and pink; viser's own page is white and gray."""
                shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("HSV")
                middle = np.asarray(shot)[200:500, 200:600]
                return bool((middle[..., 1] > 50).mean() > 0.05)

            wait(colourful, "the mesh on viser's page")
    finally:
        server.stop()
        pages.close()
