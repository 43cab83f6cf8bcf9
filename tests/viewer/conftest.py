"""The viewer, its page in a browser, and a screen in memory."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from helpers.driven import Driven
from helpers.screen import SIZE, Screen
from helpers.viewing import browser, torus

import diffrast.viewer as package
from diffrast.viewer import Viewer
from diffrast.viewer.shown import Shown


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    """A viewer that shows a torus."""
    with Viewer(port=0, quiet=True) as v:
        v.show(mesh=torus())
        yield v


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A headless Chromium."""
    yield from browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def page(driver, viewer: Viewer) -> Driven:
    """The viewer's page in it."""
    return Driven(driver, viewer)


@pytest.fixture
def shown(monkeypatch) -> list[Shown]:
    """What `diffrast view` shows; each ends at once."""
    scenes: list[Shown] = []

    class Watched(Viewer):
        def wait(self):
            scenes.append(self._shown)
            raise KeyboardInterrupt

    monkeypatch.setattr(package, "Viewer", Watched)
    return scenes


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Iterator[Screen]:
    missing = [
        *(["Xvfb (apt-get install xvfb)"] if shutil.which("Xvfb") is None else []),
        *(["moderngl-window (pip install moderngl-window)"] if find_spec("moderngl_window") is None else []),
    ]
    if missing:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"a screen is required here but these are missing: {', '.join(missing)}")
        pytest.skip(f"NOT TESTED in a window: these are missing: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("screen")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-screen",
            "0",
            f"{SIZE[0]}x{SIZE[1]}x24",
            "-fbdir",
            str(folder),
            "-nolisten",
            "tcp",
        ],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as answer:
        name = answer.readline().strip()
    assert name, "Xvfb did not start"
    yield Screen(f":{name}", folder / "Xvfb_screen0")
    server.terminate()
    server.wait(timeout=10)
