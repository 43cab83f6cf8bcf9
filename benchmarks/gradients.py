"""Gradients of both antialias modes against a supersampled truth, and what they are good for.

Writes `gradients`, `problems` and `antialias_cost`, `.json` and `.md`, to `benchmarks/results/`, and the picture of
docs/GRADIENTS.md.

python benchmarks/gradients.py                        # all, most of an hour on one core
python benchmarks/gradients.py --scenes NAME ...      # these scenes; the rows of others stay (--samples 12)
python benchmarks/gradients.py --problems NAME ...    # these optimization problems, likewise (--seeds 3)
"""

import sys
from pathlib import Path

import antialias_cost

from diffrast.gradcheck.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


def run(what: str, *arguments: str) -> None:
    files = [ROOT / "benchmarks" / "results" / f"{what}.{kind}" for kind in ("json", "md")]
    main(["--json", str(files[0]), "--markdown", str(files[1]), *arguments])


if __name__ == "__main__":
    given = sys.argv[1:]
    if "--problems" not in given:
        run("gradients", "--components", *given)
    if "--scenes" not in given:
        run("problems", *(given if "--problems" in given else ["--problems"]))
    if not given:
        antialias_cost.main()
        main(["--pictures", str(ROOT / "docs" / "images" / "gradients.png")])
