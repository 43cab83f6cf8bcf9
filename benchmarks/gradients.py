"""The gradients of both antialias modes against a supersampled truth: `benchmarks/results/gradients.json` and `.md`.

python benchmarks/gradients.py [--samples 8] [--scenes NAME ...]
"""

import sys
from pathlib import Path

from diffrast.bench.__main__ import main

RESULTS = Path(__file__).resolve().parent / "results"

if __name__ == "__main__":
    files = ["--json", str(RESULTS / "gradients.json"), "--markdown", str(RESULTS / "gradients.md")]
    raise SystemExit(main([*files, "--components", *sys.argv[1:]]))
