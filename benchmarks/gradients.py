"""Gradients of both antialias modes against a supersampled truth, and what they are good for.

Writes `gradients`, `problems` and `antialias_cost`, `.json` and `.md`, to `benchmarks/results/`, and the picture of
docs/GRADIENTS.md.

python benchmarks/gradients.py                        # all, most of an hour on one core
python benchmarks/gradients.py NAME ...               # these scenes; the rows of others stay (--samples 12)
python benchmarks/gradients.py --problems NAME ...    # these optimization problems, likewise (--seeds 3)
"""

import sys
from pathlib import Path

import antialias_cost

from diffrast.cli import main

ROOT = Path(__file__).resolve().parents[1]


def run(what: str, *arguments: str) -> None:
    main(["gradcheck", "--out", str(ROOT / "benchmarks" / "results" / f"{what}.json"), "--samples", "12", *arguments])


if __name__ == "__main__":
    given = sys.argv[1:]
    if "--problems" not in given:
        run("gradients", "--components", *given)
    if not given or "--problems" in given:
        run("problems", *(given or ["--problems"]))
    if not given:
        antialias_cost.main()
        main(["gradcheck", "--images", str(ROOT / "docs" / "images" / "gradients.png")])
