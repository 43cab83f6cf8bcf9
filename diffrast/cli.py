"""The command `diffrast`: tyro makes the options of a command from the fields of its dataclass.

Exit codes: 0 done; 1 a file could not be written, memory ran out or no backend works; 2 the input or the options cannot
be used; 130 stopped with Ctrl-C (what there was has been written).
"""

from __future__ import annotations

import difflib
import io
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NoReturn

import tyro
from tyro.conf import DisallowNone, PositionalMetavarFromFieldName

from . import __version__
from .commands import COMMANDS, Completion, Reconstruct
from .reconstruct.options import check_values


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's) and return its exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        check_values(options)
        if isinstance(options, Completion):
            print(options.script(COMMANDS), end="")
            return 0
        return options.run()
    except ValueError as error:
        return _fail(2, error)
    except (OSError, MemoryError) as error:
        return _fail(1, error)
    except KeyboardInterrupt:
        print("diffrast: interrupted", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> Any:
    """The options of the command that the first word names. Exits for help, and with code 2 for what is no command."""
    name, *words = argv or [""]
    if name in ("-h", "--help", "--version"):
        print(f"diffrast {__version__}" if name == "--version" else overview())
        raise SystemExit(0)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        fault = f"there is no command {name!r}" + (f"; is {near[0]!r} meant?" if near else "")
        _refuse("diffrast", "usage: diffrast COMMAND [OPTIONS]", fault if name else "which command?")
    options, said = _read(name, words)
    if isinstance(options, Reconstruct) and (defaults := options.defaults()):
        options, said = _read(name, words, defaults)
    if said.startswith("usage:"):
        print(_plain(said))
        raise SystemExit(0)
    if said:
        usage = _read(name, ["--help"])[1].partition("\n")[0]
        fault = " ".join(re.split(r"\n *-{9,} *\n", said)[:2][-1].split())  # below the title, above the advice
        _refuse(f"diffrast {name}", usage, fault.partition(". Got errors")[0].rstrip("."))
    return options


def overview() -> str:
    """What the commands do, a line each."""
    lines = [f"  {name:<14}{(kind.__doc__ or '').partition('.')[0]}" for name, kind in COMMANDS.items()]
    head = "usage: diffrast COMMAND [OPTIONS]\n\nDifferentiable rasterization for PyTorch.\n\ncommands:"
    return "\n".join([head, *lines, "", "diffrast COMMAND --help lists a command's options and gives an example"])


def _read(name: str, words: Sequence[str], default: Any = tyro.MISSING_NONPROP) -> tuple[Any, str]:
    """The options of a command, or what tyro prints instead of giving any: help or what is wrong."""
    said, markers = io.StringIO(), (DisallowNone, PositionalMetavarFromFieldName)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            return tyro.cli(COMMANDS[name], prog=f"diffrast {name}", args=words, default=default, config=markers), ""
    except SystemExit:
        return None, said.getvalue()


def _plain(text: str) -> str:
    """Help without rules below its titles and without defaults that say nothing."""
    text = re.sub(r"\s+\(default:\s+(None|False|True)?\)", "", re.sub(r" +$", "", text, flags=re.MULTILINE))
    return re.sub(r"^ (.+)\n -+$", r"\1:", text, flags=re.MULTILINE).rstrip()


def _refuse(program: str, usage: str, fault: str) -> NoReturn:
    print(f"{usage}\n{program}: error: {fault} (see {program} --help)", file=sys.stderr)
    raise SystemExit(2)


def _fail(code: int, error: BaseException) -> int:
    # OSErrors that we raise carry a sentence; their own format would put "[Errno 28]" before it.
    message = error.strerror if isinstance(error, OSError) and error.strerror and not error.filename else error
    print(f"diffrast: error: {message}", file=sys.stderr)
    return code
