"""The order of the rooms (ARCHITECTURE.md), held by reading every import: down only, no circle, façades for users."""

import ast
import sys
from pathlib import Path

import pytest
from helpers.imports import MODULES, PACKAGE, ROOMS, ROOT, Import, exported, imports, module_of, resolved

# From the ground up; those on one floor do not know each other.
FLOORS = [
    {"backends"},
    {"ops"},
    {"torch"},
    {"compat", "mesh"},
    {"io"},
    {"camera"},
    {"optimize", "photos"},
    {"scene"},
    {"checks", "gradcheck", "viewer"},
    {"fitting"},
    {"reconstruct"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
MOST_FILES = 18  # in a room, `__init__.py` among them
# Libraries that are slow to load, or that some installations lack, may be imported where they are needed.
LATE = {
    *("cholespy", "cuda", "cupy", "imageio", "imageio_ffmpeg", "jinja2", "moderngl", "moderngl_window", "numpy"),
    *("OpenEXR", "PIL", "scipy", "skimage", "torch", "tqdm", "trimesh", "tyro", "viser", "xatlas", "yaml"),
    "resource",  # of the standard library, on some systems
}


def room(module: str) -> str:
    """The room of a module, or the module itself where it lies beside the rooms; empty for `diffrast`."""
    return module.split(".")[1] if "." in module else ""


def own(path: Path) -> list[tuple[Import, str]]:
    """The imports of the package's own modules. What `diffrast` itself offers is loaded when it is asked for."""
    found = [] if path == PACKAGE / "__init__.py" else list(imports(path))
    return [(i, resolved(i)) for i in found if i.target.split(".")[0] == "diffrast"]


def where(path: Path, found: Import) -> str:
    return f"{path.relative_to(ROOT)}:{found.line}: {resolved(found)}"


def test_every_room_has_its_floor() -> None:
    assert {room(module) for module in MODULES} - {""} == set(FLOOR)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_is_small_and_flat(name: str) -> None:
    files = sorted(path.name for path in (PACKAGE / name).rglob("*.py"))
    assert len(files) <= MOST_FILES, f"{name} has {len(files)} files: {', '.join(files)}"
    assert not list((PACKAGE / name).glob("*/*.py"))


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_imports_point_down(name: str) -> None:
    wrong = [
        where(path, found)
        for module, path in MODULES.items()
        if room(module) == name
        for found, target in own(path)
        if room(target) not in ("", name) and FLOOR[room(target)] >= FLOOR[name]
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_circle() -> None:
    graph = {module: {target for _, target in own(path)} - {"diffrast"} for module, path in MODULES.items()}

    def needed(module: str) -> set[str]:
        """All modules behind its imports."""
        found, waiting = set(), [module]
        while waiting:
            new = graph[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    circular = sorted(module for module in graph if module in needed(module))
    assert not circular, f"these need themselves: {', '.join(circular)}"


def test_the_package_itself_loads_nothing() -> None:
    inside = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    loaded = {node.module for node in inside.body if isinstance(node, ast.ImportFrom)}
    assert loaded <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_imports_inside_of_functions_spare_a_slow_or_optional_library(name: str) -> None:
    """The commands alone load the package late, so that `--help` answers without torch."""
    wrong = [
        where(path, found)
        for module, path in MODULES.items()
        if room(module) == name
        for found in imports(path)
        if found.late and (found.target.split(".")[0] not in LATE | ({"diffrast"} if name == "commands" else set()))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_recipes_import_facades_only(path: Path) -> None:
    facades = {"diffrast", "diffrast.torch", *(f"diffrast.{name}" for name in ROOMS)}
    wrong = [
        where(path, found)
        for found in imports(path)
        if found.target.split(".")[0] == "diffrast"
        and (found.target not in facades or (found.name and found.name not in exported(found.target)))
    ]
    assert not wrong, "\n".join(wrong)


def test_what_the_walls_are_made_of() -> None:
    """The reader of imports sees the kinds that could dodge it."""
    assert module_of(PACKAGE / "mesh" / "__init__.py") == "diffrast.mesh"
    late = [i for i in imports(PACKAGE / "backends" / "gl_context.py") if i.late]
    assert "moderngl" in {i.target for i in late}
    assert "diffrast.checks" in {resolved(i) for i in imports(PACKAGE / "__init__.py")}
