"""`diffrast gradcheck`: gradients of pictures against a supersampled truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

from .command import Command, between, json_option, stopped


def options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "scenes",
        nargs="*",
        metavar="SCENE",
        help="such as rotation, or cube for all whose name begins with it; a wrong name lists them (default: all, some "
        "minutes)",
    )
    add("--mode", action="append", choices=("silhouette", "area"), help="of antialias (default: both)")
    add("--samples", type=int, default=3, metavar="N", help="random parameters per scene (default: 3)")
    add("--fail-under", type=float, metavar="C", help="exit code 1 if a median cosine is smaller")
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from ..gradcheck import OURS, SCENES, gradients, report

    between("--samples", args.samples, 1, 1000)
    if args.fail_under is not None:
        between("--fail-under", args.fail_under, -1, 1)
    scenes = [name for given in args.scenes for name in ([given] if given in SCENES else _beginning(SCENES, given))]
    rows: list[dict] = []

    def show(row: dict) -> None:
        rows.append(row)
        if not args.json:
            print(report.header() + "\n" if len(rows) == 1 else "", report.line(row), sep="", flush=True)

    code = 0
    try:
        gradients(scenes or None, {mode: OURS[mode] for mode in args.mode or OURS}, args.samples, show)
    except KeyboardInterrupt:
        code = stopped("these are the rows that were done")
    if args.json:
        print(json.dumps({"rows": rows}))
    low = [row for row in rows if args.fail_under is not None and not row["cosine"] >= args.fail_under]
    for row in low:
        print(
            f"diffrast: {row['scene']}, {row['adapter']}: cosine {row['cosine']:.4f} is below {args.fail_under:g}",
            file=sys.stderr,
        )
    return code or (1 if low else 0)


def _beginning(names: Iterable[str], word: str) -> list[str]:
    """The names that begin with a word; the word itself if there is none, for the error that lists them."""
    return [name for name in names if name.startswith(f"{word} ")] or [word]


COMMAND = Command(
    "compare gradients of pictures with the truth", options, run, "diffrast gradcheck rotation --samples 3"
)
