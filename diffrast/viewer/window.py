"""A window on the desktop that shows a mesh as the OpenGL backend draws it: `diffrast view --window`.

The window is moderngl-window's (an extra: `pip install 'diffrast[window]'`). The picture is drawn by diffrast in its
own OpenGL context and put on the window's as a texture, so that what one sees is what is optimized.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import diffrast.torch as dr

from ..io.image import from_uint8, save_image, to_uint8
from ..mesh.mesh import Mesh
from .channels import CHANNELS, ViewOptions
from .pace import Pace
from .session import MOVING
from .shown import Shown

VERTEX = """#version 330
out vec2 uv;
void main() { uv = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0; gl_Position = vec4(2.0 * uv - 1.0, 0.0, 1.0); }"""
FRAGMENT = """#version 330
uniform sampler2D picture;
in vec2 uv;
out vec4 color;
void main() { color = vec4(texture(picture, vec2(uv.x, 1.0 - uv.y)).rgb, 1.0); } // its first row is the top one"""


class Window:
    """A window with a mesh. `backend` is that of the rasterizer, `up` "y" or "z", `environment` as for `Viewer.show`.

    Raises:
        RuntimeError: moderngl-window or a display is missing, or OpenGL cannot start; it says which.
    """

    help = "drag: turn, shift: move, wheel: zoom, C: channel, W: wireframe, F: flat, H: show all, P: save, Esc: close"

    def __init__(
        self,
        mesh: Mesh,
        *,
        environment: Tensor | None = None,
        size: tuple[int, int] = (960, 720),
        up: str = "y",
        backend: str = "gl",
    ):
        self.scene = Shown(up=up).changed(mesh=mesh, environment=environment)
        self.pose, self.options = self.scene.fitting_pose(), ViewOptions()
        self._rasterizer = dr.RasterizeContext(backend=backend)
        self._pace, self._moved, self._drawn = Pace(), 0.0, False
        self._shown = (0, 0)
        self._window = _open("diffrast", size)
        gl = self._window.ctx
        self._program = gl.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        self._triangle = gl.vertex_array(self._program, [])
        self._texture: Any = None
        self._listen()

    def run(self, frames: int | None = None, until: Callable[[], bool] = lambda: False) -> None:
        """Shows the mesh until the window is closed, for so many frames at most, or until `until()` is true."""
        count = 0
        while not (self._window.is_closing or count == frames or until()):
            self.draw()
            self._window.swap_buffers()  # waits for the screen, and asks what happened
            count += 1
            if self._drawn:
                time.sleep(0.01)

    def draw(self) -> None:
        """One frame: small while the camera moves, full when it rests, nothing where nothing has changed."""
        moving = time.monotonic() - self._moved < MOVING
        width, height = self._window.buffer_size
        if not self._drawn or self._shown != (width, height):
            began = time.perf_counter()
            w, h = self._pace.size(width, height, moving)
            self._put(self.scene.picture(self._rasterizer, self.pose, self.options, w, h, smooth=not moving))
            self._pace.learn(time.perf_counter() - began, w * h, moving)
            self._drawn, self._shown = not moving, (width, height)
        self._window.use()
        self._window.ctx.viewport = (0, 0, width, height)
        self._texture.use()
        self._triangle.render(vertices=3)

    def pixels(self) -> Tensor:
        """What the window shows, display values `[H, W, 3]`, row 0 at the bottom."""
        width, height = self._window.buffer_size
        data = self._window.ctx.screen.read((0, 0, width, height), components=3, alignment=1)
        levels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        return from_uint8(levels[::-1].copy(), linear=False)

    def close(self) -> None:
        self._window.destroy()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _put(self, picture: Tensor) -> None:
        levels = to_uint8(picture, linear=False)
        height, width, _ = levels.shape
        if self._texture is None or self._texture.size != (width, height):
            if self._texture is not None:
                self._texture.release()
            self._texture = self._window.ctx.texture((width, height), 3, alignment=1)
        self._texture.write(levels.tobytes(), alignment=1)

    # --- Mouse and keys -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        window = self._window
        window.mouse_drag_event_func = self._drag
        window.mouse_scroll_event_func = lambda _, y: self._look(self.pose.zoomed(0.9**y))
        window.key_event_func = self._key
        window.title = f"diffrast: {self.help}"

    def _look(self, pose: Any) -> None:
        self.pose, self._moved, self._drawn = pose, time.monotonic(), False

    def _drag(self, x: float, y: float, dx: float, dy: float) -> None:
        if self._window.modifiers.shift or self._window.mouse_states.right:
            height = self._window.height
            self._look(self.pose.moved(-dx / height, dy / height, self.scene.up))
        else:
            self._look(self.pose.turned(-0.008 * dx, 0.008 * dy))

    def _key(self, key: Any, action: Any, _: Any) -> None:
        keys = self._window.keys
        if action != keys.ACTION_PRESS:
            return
        names = [name for name, *_ in self.scene.channels() if name in CHANNELS]
        after = names[(names.index(self.options.channel) + 1) % len(names)]
        changes = {
            keys.C: {"channel": after},
            keys.W: {"wireframe": not self.options.wireframe},
            keys.F: {"flat": not self.options.flat},
        }
        if key == keys.H:
            self._look(self.scene.fitting_pose())
        elif key == keys.P:
            save_image(Path("diffrast.png"), self.pixels(), linear=False)
        elif key in changes:
            self.options, self._drawn = replace(self.options, **changes[key]), False
            self._window.title = f"{CHANNELS[self.options.channel].label} | diffrast: {self.help}"


def _open(title: str, size: tuple[int, int]) -> Any:
    try:
        library = import_module("moderngl_window")
    except ImportError as error:
        raise RuntimeError(f"a window needs moderngl-window: pip install moderngl-window ({error})") from None
    try:
        return library.get_local_window_cls("pyglet")(
            title=title, size=size, gl_version=(3, 3), resizable=True, vsync=True
        )
    except Exception as error:  # the library below raises whatever it likes
        raise RuntimeError(
            f"no window could be opened; is there a display? ({type(error).__name__}: {error}) "
            "Without one, `diffrast view` shows the mesh in a browser"
        ) from error
