"""The command ``diffrast``: one table of subcommands.

Exit codes: 0 done; 1 a file could not be written, memory ran out or no backend works; 2 the input or the options cannot be used;
130 stopped with Ctrl-C (what there was has been written).
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from . import __version__
from .commands import bench, export, make_dataset, render, view
from .commands.command import Command


def _reconstruct_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", help="folder in NeRF-synthetic (transforms_train.json) or Middlebury (*_par.txt) layout")
    add("--out", required=True, help="folder for mesh.glb, turntable.mp4, report.html and metrics.json")
    add("--overwrite", action="store_true", help="replace another run in --out")
    add(
        "--resume",
        action="store_true",
        help="go on with a run in --out that was stopped or killed; same options",
    )
    add(
        "--checkpoint",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="save the state this often (default: 30)",
    )
    add("--masks", metavar="DIR", help="one mask per photograph, by the same name; bright is the object")
    add("--holdout", type=int, default=0, metavar="N", help="keep N views out and judge the result by them")
    add("--time-limit", type=float, metavar="SECONDS", help="finish, outputs included, in about this time")
    add("--steps", type=int, metavar="N", help="optimization steps of all stages together (default: 1200)")
    add("--faces", type=int, metavar="N", help="triangles of the mesh (default: by the photographs' size)")
    add(
        "--texture",
        type=int,
        metavar="N",
        help="texels along the texture's side (default: by the photographs' size)",
    )
    add(
        "--frames",
        type=int,
        default=60,
        metavar="N",
        help="frames of the turntable film (default: 60; 0: no film)",
    )
    add("--seed", type=int, default=0, help="seed of the order in which views are used (default: 0)")
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--quiet", action="store_true", help="no progress bar")
    add("--view", action="store_true", help="show the mesh in the browser while it takes shape")
    add(
        "--port",
        type=int,
        metavar="N",
        help="with --view: port to listen on (default: 8484 or the next free one)",
    )


def _watched(args: argparse.Namespace) -> AbstractContextManager[Any]:
    if not args.view:
        return nullcontext()
    from .viewer import Viewer

    return Viewer(port=args.port)


def _reconstruct(args: argparse.Namespace) -> int:
    from .backends.memory import keep_freed_memory
    from .reconstruct.pipeline import Options, reconstruct

    keep_freed_memory()
    options = Options(
        holdout=args.holdout, steps=args.steps, time_limit=args.time_limit, seed=args.seed, masks=args.masks,
        device=args.device, overwrite=args.overwrite, resume=args.resume,
        checkpoint=args.checkpoint, faces=args.faces, texture=args.texture,
        frames=args.frames, progress=not args.quiet,
    )  # fmt: skip
    with _watched(args) as viewer:
        metrics = reconstruct(args.dataset, args.out, options, viewer=viewer)
    for title, group in (("held-out views", metrics["held_out"]), ("views used", metrics["used"])):
        if group["count"]:
            print(
                f"{title:<15}{group['count']:>4}   PSNR {group['psnr']:.2f} dB   on the object "
                f"{group['psnr_object']:.2f} dB   mask IoU {group['mask_iou']:.4f}"
            )
    print(f"wrote {Path(args.out, 'report.html')} in {metrics['seconds']['total']:.0f} s")
    if metrics["interrupted"]:
        print("stopped early: this is the state at Ctrl-C; --resume goes on from it", file=sys.stderr)
        return 130
    return 0


def _no_options(_: argparse.ArgumentParser) -> None:
    pass


def _doctor(_: argparse.Namespace) -> int:
    from .doctor import examine, screen

    states = examine()
    print(screen(states))
    return 0 if any(state.works for state in states) else 1


def _warmup_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--arch", action="append", metavar="SM", help="such as sm_90 (default: those of the devices here)"
    )


def _warmup(args: argparse.Namespace) -> int:
    from .backends import specialize
    from .doctor import architectures, usual_kernels

    wrong = [arch for arch in args.arch or () if not re.fullmatch(r"sm_\d{2,3}a?", arch)]
    if wrong:
        raise ValueError(f"--arch must be like sm_90; got {wrong[0]}")
    kernels = usual_kernels()
    try:
        for arch in args.arch or architectures():
            for kernel in kernels:
                specialize.cubin(kernel, arch)
            print(f"{len(kernels)} kernels for {arch} are in {specialize.cache_folder()}")
    except RuntimeError as error:  # no device, no compiler
        return _fail(1, error)
    return 0


COMMANDS = {
    "render": render.COMMAND,
    "view": view.COMMAND,
    "reconstruct": Command("posed photographs to a textured mesh", _reconstruct_options, _reconstruct,
                           "diffrast reconstruct assets/demo --out out/demo"),
    "export": export.COMMAND,
    "make-dataset": make_dataset.COMMAND,
    "bench": bench.COMMAND,
    "doctor": Command("say which backends work here, and what would mend the others", _no_options, _doctor,
                      "diffrast doctor"),
    "warmup": Command("compile the GPU's kernels ahead of time", _warmup_options, _warmup,
                      "diffrast warmup --arch sm_90"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's) and return its exit code."""
    parser = argparse.ArgumentParser(prog="diffrast", description="Differentiable rasterization for PyTorch.")
    parser.add_argument("--version", action="version", version=f"diffrast {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(
            name, help=command.help, description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"example: {command.example}",
        )  # fmt: skip
        command.add_options(sub)
        sub.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return args.run(args)
    except ValueError as error:
        return _fail(2, error)
    except (OSError, MemoryError) as error:
        return _fail(1, error)
    except KeyboardInterrupt:
        print("diffrast: interrupted", file=sys.stderr)
        return 130


def _fail(code: int, error: BaseException) -> int:
    # OSErrors that we raise carry a sentence; their own format would put "[Errno 28]" before it.
    message = (
        error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else error
    )
    print(f"diffrast: error: {message}", file=sys.stderr)
    return code
