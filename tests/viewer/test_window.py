"""`diffrast view --window`: the window itself, on a screen in memory (Xvfb), judged by what is on that screen."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers.screen import SIZE, Screen
from helpers.viewing import psnr, torus, wait

import diffrast.torch as dr
from diffrast.io import load_image
from diffrast.viewer.channels import ViewOptions
from diffrast.viewer.shown import Shown


def direct(pose=None, **options) -> torch.Tensor:
    """What the window should show, drawn by the CPU."""
    scene = Shown().changed(mesh=torus())
    return scene.picture(dr.RasterizeContext("cpu"), pose or scene.fitting_pose(), ViewOptions(**options), *SIZE)


def shows(screen: Screen, picture: torch.Tensor, decibels: float = 30.0) -> bool:
    return screen.file.exists() and psnr(screen.picture(), picture) > decibels


# Turns with the mouse's and presses the keys' functions as the window's library calls them, and draws a frame after
# each.
STEERED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from helpers.viewing import torus
from diffrast.viewer.window import Window
with Window(torus(), size=(320, 240)) as w:
    inner, keys, poses = w._window, w._window.keys, []
    w.run(frames=2)
    def rest():
        w._moved = 0.0
        w.run(frames=2)
        poses.append(vars(w.pose))
    inner.mouse_drag_event_func(100, 100, 60, 20); rest()
    inner.mouse_scroll_event_func(0, 3); rest()
    inner.modifiers.shift = True
    inner.mouse_drag_event_func(100, 100, 24, 0); rest()
    inner.key_event_func(keys.H, keys.ACTION_PRESS, None)
    for _ in range(8): inner.key_event_func(keys.C, keys.ACTION_PRESS, None)
    inner.key_event_func(keys.C, keys.ACTION_RELEASE, None)
    inner.key_event_func(keys.W, keys.ACTION_PRESS, None); rest()
    inner.key_event_func(keys.P, keys.ACTION_PRESS, None)
    print(json.dumps([poses, vars(w.options)]), flush=True)
    sys.stdin.readline()
"""


def test_the_window_opens_draws_and_closes(screen, glb):
    command = [sys.executable, "-m", "diffrast", "view", str(glb), "--window", "--size", "320", "--json"]
    process = subprocess.Popen(
        command, env=screen.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"window": True, "triangles": 1152}
        wanted = direct()
        wait(lambda: shows(screen, wanted) or process.poll() is not None, "the picture on the screen")
        assert process.poll() is None
        assert psnr(screen.picture(), direct(channel="normal")) < 25  # the comparison can tell
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    wait(lambda: float(screen.picture().max()) == 0, "an empty screen")


def test_mouse_and_keys(screen, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", STEERED, str(Path(__file__).parents[1])],
        env=screen.environment,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1])
    (turned, zoomed, moved, home), options = json.loads(line)
    first = vars(Shown().changed(mesh=torus()).fitting_pose())
    assert turned["yaw"] < first["yaw"]
    assert turned["pitch"] > first["pitch"]
    assert turned["distance"] == first["distance"] > zoomed["distance"]
    assert moved["target"] != zoomed["target"] == list(first["target"])
    assert home == {**first, "target": list(first["target"])}
    assert options["channel"] == "matcap"
    assert options["wireframe"]
    wanted = direct(channel="matcap", wireframe=True)
    wait(lambda: shows(screen, wanted, 25), "the picture on the screen")
    assert psnr(load_image(tmp_path / "diffrast.png", linear=False), wanted) > 25
    process.communicate("\n", timeout=30)
    assert process.returncode == 0


def test_without_a_display_it_says_so(glb):
    if find_spec("moderngl_window") is None:
        pytest.skip("NOT TESTED in a window: moderngl-window is missing (pip install moderngl-window)")
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    result = subprocess.run(
        [sys.executable, "-m", "diffrast", "view", str(glb), "--window"],
        env=without,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    assert "is there a display?" in result.stderr
    assert "Traceback" not in result.stderr
