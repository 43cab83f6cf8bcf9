"""`python -m diffrast.gradcheck`: the gradients of our antialias modes against a supersampled truth."""

import argparse
import json
from pathlib import Path

from . import report
from .adapters import OURS, Primitives
from .gradients import SAMPLES, gradients
from .pictures import SHOWN, pictures
from .problems import PROBLEMS, problems
from .scenes import SCENES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m diffrast.gradcheck", description="Gradients against the truth.")
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), metavar="NAME", help=", ".join(SCENES))
    parser.add_argument("--modes", nargs="+", choices=list(OURS), help="which of ours (default: all)")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="parameter vectors per scene")
    parser.add_argument("--guard", type=int, default=0, help="pixels drawn beyond the border and cut off")
    parser.add_argument("--json", type=Path, help="write the rows here; those of other scenes stay")
    parser.add_argument("--markdown", type=Path, help="write the table here, of all rows of the JSON")
    parser.add_argument("--components", action="store_true", help="print bias and ratio per component too")
    parser.add_argument(
        "--pictures",
        type=Path,
        help="instead: write pictures of derivatives beside the truth; with --scenes, by each of their parameters",
    )
    parser.add_argument(
        "--problems",
        nargs="*",
        choices=list(PROBLEMS),
        metavar="NAME",
        help="instead: solve optimization problems: " + ", ".join(PROBLEMS),
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each problem")
    args = parser.parse_args(arguments)
    if args.pictures:
        chosen = [SCENES[name](1) for name in args.scenes or ()]
        shown = [(s.name, label, min(s.size, 32)) for s in chosen for label in s.labels]
        pictures(args.pictures, shown or SHOWN)
        return 0
    columns = report.COLUMNS if args.problems is None else report.PROBLEM_COLUMNS
    print(report.header(columns=columns))
    rows = []
    if args.json and args.json.exists():
        rows = json.loads(args.json.read_text(encoding="utf-8"))

    def show(row):
        same = [all(r[k] == row[k] for k in ("scene", "problem", "adapter") if k in row) for r in rows]
        if any(same):
            rows[same.index(True)] = row
        else:
            rows.append(row)
        print(report.line(row, columns=columns), flush=True)
        if args.components and "bias" in row:
            print("    ", report.components(row))
        # Written as they come: the large scenes take minutes.
        for path, text in ((args.json, json.dumps(rows, indent=1) + "\n"), (args.markdown, report.markdown(rows))):
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")

    ours = {mode: Primitives(mode=mode, guard=args.guard) for mode in args.modes or OURS}
    if args.problems is None:
        gradients(args.scenes, ours, args.samples, show)
    else:
        problems(args.problems or None, ours, args.seeds, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
