"""The tests' own layout: folders that mirror the package, fixtures in conftest files, helpers in one place."""

import ast
from pathlib import Path

import pytest
from helpers.imports import ROOMS, imports

TESTS = Path(__file__).resolve().parent
FILES = sorted(path for path in TESTS.rglob("*.py") if path != Path(__file__))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_file_of_tests(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450
    parts = [part for found in imports(path) for part in found.target.split(".")]
    assert not [part for part in parts if part.startswith("test_") or part == "conftest"], "helpers are in helpers/"
    decorators = [d for node in ast.walk(ast.parse(text)) for d in getattr(node, "decorator_list", [])]
    fixtures = [d.lineno for d in decorators if ast.unparse(d).startswith("pytest.fixture")]
    assert path.name == "conftest.py" or not fixtures, f"a fixture in line {fixtures}"


def test_folders_mirror_the_package() -> None:
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders - {"helpers", "reference"} <= set(ROOMS)
    assert {path.parent.name for path in TESTS.rglob("test_*.py")} <= {TESTS.name, *ROOMS}
