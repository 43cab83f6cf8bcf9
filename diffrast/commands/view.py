"""`diffrast view`: a mesh in the browser, or in a window."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from .command import Command, json_option, load, mesh_options, up_option


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    mesh_options(parser)
    add("--window", action="store_true", help="a window on this machine's screen instead, drawn by the OpenGL backend")
    add(
        "--environment",
        metavar="FILE",
        help="what lights the channel Surroundings: a .hdr, .exr or other picture, longitude by latitude",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=int, metavar="N", help="port to listen on (default: 8484 or the next free one; 0: any)")
    add("--open", action=argparse.BooleanOptionalAction, help="open the browser (default: where there is a screen)")
    add("--size", type=int, default=1024, metavar="N", help="pixels along the longer side at most (default: 1024)")
    up_option(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    mesh = load(args)
    environment = _environment(args.environment)
    if args.window:
        return _window(args, mesh, environment)
    from ..viewer import Viewer

    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(x) for x in ("DISPLAY", "WAYLAND_DISPLAY"))
    with Viewer(
        host=args.host,
        port=args.port,
        size=args.size,
        up=args.up,
        quiet=args.json,
        open_browser=screen if args.open is None else args.open,
    ) as viewer:
        viewer.show(mesh=mesh, environment=environment)
        if args.json:
            print(json.dumps({"url": viewer.url, "triangles": len(mesh.faces)}), flush=True)
        else:
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
        try:
            viewer.wait()
        except KeyboardInterrupt:
            return 0  # the usual way to end it
    print("diffrast: error: the viewer ended by itself; the log says why", file=sys.stderr)
    return 1


def _environment(path: str | None) -> Any:
    if path is None:
        return None
    from ..io import load_image

    return load_image(path)[..., :3].contiguous()


def _window(args: argparse.Namespace, mesh: Any, environment: Any) -> int:
    from ..fitting.loop import Stop
    from ..viewer.window import Window

    try:
        window = Window(mesh, up=args.up, environment=environment, size=(args.size, args.size * 3 // 4))
    except RuntimeError as error:  # no library, no display, no OpenGL
        raise OSError(str(error)) from None
    # A KeyboardInterrupt that comes within a callback of the window's library would be swallowed there.
    with Stop() as stop, window:
        facts = {"window": True, "triangles": len(mesh.faces)}
        print(json.dumps(facts) if args.json else window.help, file=sys.stdout if args.json else sys.stderr, flush=True)
        window.run(until=lambda: stop.requested)
    return 0


COMMAND = Command("turn a mesh around in the browser or a window", options, run, "diffrast view scene.glb")
