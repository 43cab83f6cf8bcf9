"""The command ``diffrast``: one table of subcommands, each in a file of `diffrast/commands`.

Exit codes: 0 done; 1 a file could not be written, memory ran out or no backend works; 2 the input or the options cannot
be used; 130 stopped with Ctrl-C (what there was has been written).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from . import __version__
from .commands import (
    bench,
    completion,
    doctor,
    export,
    gradcheck,
    make_dataset,
    pose,
    reconstruct,
    render,
    texture,
    view,
    warmup,
)

COMMANDS = {
    "render": render.COMMAND,
    "view": view.COMMAND,
    "reconstruct": reconstruct.COMMAND,
    "texture": texture.COMMAND,
    "pose": pose.COMMAND,
    "export": export.COMMAND,
    "make-dataset": make_dataset.COMMAND,
    "bench": bench.COMMAND,
    "gradcheck": gradcheck.COMMAND,
    "doctor": doctor.COMMAND,
    "warmup": warmup.COMMAND,
    "completion": completion.COMMAND,
}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. Needs no torch."""
    whole = argparse.ArgumentParser(
        prog="diffrast",
        description="Differentiable rasterization for PyTorch.",
        epilog="diffrast COMMAND --help lists a command's options and gives an example",
    )
    whole.add_argument("--version", action="version", version=f"diffrast {__version__}")
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"example: {command.example}",
        )
        command.add_options(sub)
        sub.set_defaults(run=command.run, refuse=sub.error)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's) and return its exit code."""
    args, unknown = parser().parse_known_args(argv)
    if unknown:  # said by the subcommand, with its usage
        args.refuse(f"unrecognized arguments: {' '.join(unknown)}")
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
    message = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else error
    print(f"diffrast: error: {message}", file=sys.stderr)
    return code
