"""What files import, read from their text: also under `TYPE_CHECKING`, inside of functions and by `import_module`."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "diffrast"


@dataclass(frozen=True)
class Import:
    """One name that a file imports: `from target import name`, or `import target` where the name is empty."""

    target: str
    name: str
    line: int
    late: bool  # inside of a function


def module_of(path: Path) -> str:
    """`diffrast/mesh/mesh.py` is `diffrast.mesh.mesh`, and a folder's `__init__.py` is the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def _absolute(module: str | None, level: int, path: Path) -> str:
    """The full name of the module in `from ..module import`, written in the file at `path`."""
    if level == 0:
        return module or ""
    folder = path.relative_to(ROOT).parent.parts
    return ".".join([*folder[: len(folder) - level + 1], *([module] if module else [])])


def imports(path: Path) -> Iterator[Import]:
    """Everything that the file imports, in any place."""

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            target = _absolute(node.module, node.level, path)
            yield from (Import(target, alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for name in [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]:
                stem = name.lstrip(".")
                yield Import(_absolute(stem, len(name) - len(stem), path), "", node.lineno, late)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, late)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def resolved(found: Import) -> str:
    """The module of the package that an import needs: `from .mesh import batch` needs a file, if there is one."""
    submodule = f"{found.target}.{found.name}"
    return submodule if submodule in MODULES else found.target


def exported(module: str) -> set[str]:
    """A façade's `__all__`."""
    for node in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()
