"""`diffrast warmup`: the GPU's kernels, compiled ahead of time."""

from __future__ import annotations

import argparse
import re

from .command import Command, json_option, progress, quiet_option, say


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--arch", action="append", metavar="SM", help="such as sm_90 (default: those of the devices here)"
    )
    quiet_option(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..backends import specialize
    from ..checks.machine import architectures, usual_kernels

    wrong = [arch for arch in args.arch or () if not re.fullmatch(r"sm_\d{2,3}a?", arch)]
    if wrong:
        raise ValueError(f"--arch must be like sm_90; got {wrong[0]}")
    kernels = usual_kernels()
    try:
        targets = args.arch or architectures()
        for kernel, arch in progress([(k, a) for a in targets for k in kernels], "kernels", args.quiet):
            specialize.cubin(kernel, arch)  # each is kept as it is done: Ctrl-C loses none
    except RuntimeError as error:  # no device, no compiler
        raise OSError(str(error)) from error
    facts = {"kernels": len(kernels), "architectures": targets, "folder": str(specialize.cache_folder())}
    sentence = "\n".join(f"{len(kernels)} kernels for {arch} are in {facts['folder']}" for arch in targets)
    say(args, facts, sentence)
    return 0


COMMAND = Command("compile the GPU's kernels ahead of time", options, run, "diffrast warmup --arch sm_90")
