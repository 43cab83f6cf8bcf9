"""Recipes as modules: their file names begin with a number, so `import` cannot name them."""

import runpy
import sys
from pathlib import Path
from unittest import mock

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def recipe(name: str) -> dict:
    """The names that `recipes/NAME.py` defines; it finds `common` beside it, as it does when it is run."""
    with mock.patch.object(sys, "path", [str(RECIPES), *sys.path]):
        return runpy.run_path(str(RECIPES / f"{name}.py"))
