"""``python -m diffrast.bench``: the gradients of our antialias modes against a supersampled truth."""

import argparse
import json
from pathlib import Path

from . import report
from .adapters import OURS
from .gradients import gradients
from .scenes import SCENES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m diffrast.bench", description="Gradients against the truth."
    )
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), metavar="NAME", help=", ".join(SCENES))
    parser.add_argument("--modes", nargs="+", choices=list(OURS), help="which of ours (default: all)")
    parser.add_argument("--samples", type=int, default=8, help="parameter vectors per scene")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--components", action="store_true", help="print bias and ratio per component too")
    args = parser.parse_args(arguments)
    print(report.header())

    rows = []

    def show(row):
        rows.append(row)
        print(report.line(row), flush=True)
        if args.components:
            print("    ", report.components(row))
        # Written as they come: the large scenes take minutes.
        for path, text in (
            (args.json, json.dumps(rows, indent=1) + "\n"),
            (args.markdown, report.markdown(rows)),
        ):
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")

    gradients(args.scenes, {mode: OURS[mode] for mode in args.modes or OURS}, args.samples, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
