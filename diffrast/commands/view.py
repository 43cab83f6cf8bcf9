"""`diffrast view`: a mesh in the browser, or in a window."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import Json, MeshFile, Switch, Up

if TYPE_CHECKING:
    from torch import Tensor

    from ..mesh.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class View(MeshFile):
    """Turn a mesh around in the browser or a window.

    Example: diffrast view scene.glb
    """

    #: a window on this machine's screen instead, drawn by the OpenGL backend
    window: Switch = False
    #: what lights the channel Surroundings: a .hdr, .exr or other image, longitude by latitude
    environment: Path | None = None
    #: address to listen on; 127.0.0.1 is this machine only
    host: str = "127.0.0.1"
    #: port to listen on (default: 8484 or the next free one; 0: any)
    port: int | None = None
    #: open the browser (default: where there is a screen)
    open: bool | None = None
    #: pixels along the longer side at most
    size: int = 1024
    up: Up = "y"
    json: Json = False

    def run(self) -> int:
        mesh, environment = self.load(), None
        if self.environment:
            from ..io import load_image

            environment = load_image(self.environment)[..., :3].contiguous()
        return self._window(mesh, environment) if self.window else self._page(mesh, environment)

    def _page(self, mesh: Mesh, environment: Tensor | None) -> int:
        from ..viewer import Viewer

        screen = sys.platform in ("darwin", "win32") or any(os.environ.get(x) for x in ("DISPLAY", "WAYLAND_DISPLAY"))
        with Viewer(
            host=self.host,
            port=self.port,
            size=self.size,
            up=self.up,
            quiet=self.json,
            open_browser=screen if self.open is None else self.open,
        ) as viewer:
            viewer.show(mesh=mesh, environment=environment)
            self._announce({"url": viewer.url, "triangles": len(mesh.faces)}, "Ctrl-C ends it.")
            try:
                viewer.wait()
            except KeyboardInterrupt:
                return 0  # the usual way to end it
        print("diffrast: error: the viewer ended by itself; the log says why", file=sys.stderr)
        return 1

    def _window(self, mesh: Mesh, environment: Tensor | None) -> int:
        from ..fitting.loop import Stop
        from ..viewer.window import Window

        try:
            window = Window(mesh, up=self.up, environment=environment, size=(self.size, self.size * 3 // 4))
        except RuntimeError as error:  # no library, no display, no OpenGL
            raise OSError(str(error)) from None
        # A KeyboardInterrupt that comes within a callback of the window's library would be swallowed there.
        with Stop() as stop, window:
            self._announce({"window": True, "triangles": len(mesh.faces)}, window.help)
            window.run(until=lambda: stop.requested)
        return 0

    def _announce(self, facts: dict[str, Any], advice: str) -> None:
        print(json.dumps(facts) if self.json else advice, file=sys.stdout if self.json else sys.stderr, flush=True)
