"""`diffrast view`: a mesh in the browser."""

from __future__ import annotations

import argparse
import json
import os
import sys

from .command import Command, json_option, load, mesh_options, up_option


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    mesh_options(parser)
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add(
        "--port", type=int, metavar="N", help="port to listen on (default: 8484 or the next free one; 0: any)"
    )
    add(
        "--open",
        action=argparse.BooleanOptionalAction,
        help="open the browser (default: where there is a screen)",
    )
    add(
        "--size",
        type=int,
        default=1024,
        metavar="N",
        help="pixels along the longer side at most (default: 1024)",
    )
    up_option(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..viewer import Viewer

    mesh = load(args)
    screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(x) for x in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    with Viewer(host=args.host, port=args.port, size=args.size, up=args.up, quiet=args.json,
                open_browser=screen if args.open is None else args.open) as viewer:  # fmt: skip
        viewer.show(mesh=mesh)
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


COMMAND = Command("turn a mesh around in the browser", options, run, "diffrast view scene.glb")
