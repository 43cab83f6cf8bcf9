"""Pages made from what they describe, into docs/generated/: the gallery of recipes, the API, the help of the commands,
the notebook, and the files of the project's root."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "generated"
IMAGE = re.compile(r"!\[([^]]*)\]\(\.\./([^)]+)\)")


def write(name: str, text: str) -> None:
    """Writes a page, unless it is there already: Sphinx then leaves it alone."""
    path = PAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# --- Recipes ----------------------------------------------------------------------------------------------------------


def results(notes: str, name: str) -> str:
    """What recipes/README.md says of the recipe `name` (with or without its number): text and images."""
    found = re.search(rf"^\*\*(?:\d\d_)?{name}(?:\.py)?\*\* (.*?)(?=^\*\*\w+\*\* |^#|\Z)", notes, re.MULTILINE | re.DOTALL)
    return IMAGE.sub(r"![\1](/../\2)", found[1].strip()) if found else ""


def gallery() -> None:
    notes = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    cards, pages = [], []
    for path in sorted((ROOT / "recipes").glob("*.py")):
        if path.stem == "common":
            continue
        name = re.sub(r"^\d\d_", "", path.stem)
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or name
        title, _, text = docstring.partition("\n\n")
        title = " ".join(title.split()).rstrip(".")
        image = f"assets/readme/{name}.png" if (ROOT / "assets" / "readme" / f"{name}.png").is_file() else ""
        said = results(notes, name)
        if image and image not in said:
            said = f"![{title}](/../{image})\n\n{said}"
        if said:
            said = f"## What comes out\n\n{said}\n\n"
        page = f"# {path.stem}\n\n**{title}.**\n\n{text}\n\n{said}## The program\n\n`recipes/{path.name}`\n\n"
        write(f"recipes/{path.stem}.md", f"{page}```{{literalinclude}} /../recipes/{path.name}\n:language: python\n```\n")
        shown = f"```{{image}} /../{image}\n:alt: {title}\n```\n\n" if image else ""
        cards.append(f"::::{{grid-item-card}} {path.stem}\n:link: {path.stem}\n:link-type: doc\n\n{shown}{title}.\n::::\n")
        pages.append(path.stem)
    grid = ":::::{grid} 1 1 2 2\n:gutter: 3\n\n" + "\n".join(cards) + ":::::\n"
    toc = "```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"
    write("recipes/index.md", f"# Recipes\n\n{INTRODUCTION}\n\n{grid}\n{toc}")


INTRODUCTION = """Complete programs, one file each, in the order in which to read them: each is meant to be read from top to
bottom and copied from. All but the first take `--steps`, `--out`, `--smoke` (small, with a check) and `--device`;
seeds are fixed, so that a run repeats. They need no data but what they make themselves, and no GPU."""


# --- API reference ----------------------------------------------------------------------------------------------------

FACADES = {
    "torch": "The primitives",
    "mesh": "Meshes",
    "io": "Files",
    "camera": "Cameras",
    "optimize": "Optimization",
    "photos": "Photographs",
    "scene": "Deferred shading",
    "checks": "What is wrong",
    "gradcheck": "Gradients against the truth",
    "viewer": "Viewer",
    "fitting": "Fitting",
    "reconstruct": "Photographs to a mesh",
    "compat": "Existing programs",
}


def public(module: object) -> list[object]:
    return [getattr(module, name) for name in getattr(module, "__all__", [])]


def mentioned(annotation: object) -> set[type]:
    """The classes of diffrast in an annotation."""
    found = {annotation} if inspect.isclass(annotation) and annotation.__module__.startswith("diffrast.") else set()
    return found.union(*map(mentioned, typing.get_args(annotation)))


def signatures(thing: object) -> list[object]:
    """A function, or the public methods of a class and the class itself, whose fields have types."""
    if not inspect.isclass(thing):
        return [thing] if callable(thing) else []
    members = [getattr(m, "fget", None) or getattr(m, "__func__", m) for n, m in vars(thing).items() if n[0] != "_"]
    return [thing, *(member for member in members if inspect.isfunction(member))]


def returned(module: object, documented: set[object]) -> list[type]:
    """Classes of diffrast that signatures of `module` name and that no module offers by name."""
    classes: set[type] = set()
    for signature in (s for thing in public(module) for s in signatures(thing)):
        try:
            hints = typing.get_type_hints(signature)
        except (NameError, TypeError):  # a type that only exists for the type checker
            continue
        classes |= set().union(*map(mentioned, hints.values()))
    return sorted(classes - documented, key=lambda c: (c.__module__, c.__name__))


def api() -> None:
    modules = {name: import_module(f"diffrast.{name}") for name in FACADES}
    documented: set[object] = {c for module in modules.values() for c in public(module) if inspect.isclass(c)}
    rows = []
    for name, title in FACADES.items():
        more = returned(modules[name], documented)
        documented |= set(more)
        directives = [f".. automodule:: diffrast.{name}\n   :imported-members:\n"]
        directives += [f".. autoclass:: {c.__module__}.{c.__qualname__}\n" for c in more]
        text = "```{eval-rst}\n" + "\n".join(directives) + "```\n"
        write(f"api/{name}.md", f"# {title}: `diffrast.{name}`\n\n{text}")
        rows.append(f"| [diffrast.{name}]({name}.md) | {title} | {' '.join(f'`{n}`' for n in public_names(modules[name]))} |")
    names = ", ".join(f"`{name}`" for name in sorted(import_module("diffrast")._ROOMS))
    toc = "```{toctree}\n:hidden:\n\n" + "\n".join(FACADES) + "\n```\n"
    table = "| import | what it is | names |\n|---|---|---|\n" + "\n".join(rows)
    write("api/index.md", f"# API reference\n\n{ABOUT_API.format(names=names)}\n\n{table}\n\n{toc}")


def public_names(module: object) -> list[str]:
    return list(getattr(module, "__all__", []))


ABOUT_API = """All public names, by the module that offers them. Shapes stand in brackets: `[V, 3]` is a tensor of V rows
and three columns. Image row 0 is the bottom row, colours are linear, and angles are radians unless a name says degrees.

A wrong argument raises `ValueError`, a wrong type `TypeError`; the message names the function, the argument, the rule
and what came.

The everyday names are also offered by `diffrast` itself: {names}. `import diffrast` is quick and does not import torch;
a name is loaded when it is first used."""


# --- Command line -----------------------------------------------------------------------------------------------------


def command_help() -> None:
    """A page with the help of each command that the guide's list of commands names."""
    guide = (ROOT / "docs" / "guides" / "command_line.md").read_text(encoding="utf-8")
    names = list(dict.fromkeys(re.findall(r"^diffrast ([a-z-]+)", guide, re.MULTILINE)))
    environment = {**os.environ, "COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb"}
    parts = ["# Options of all commands\n\nWhat `diffrast COMMAND --help` prints.\n"]
    for name in names:
        command = [sys.executable, "-m", "diffrast", name, "--help"]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        parts.append(f"## diffrast {name}\n\n```text\n{said.strip()}\n```\n")
    write("commands.md", "\n".join(parts))


# --- Notebook ---------------------------------------------------------------------------------------------------------


def notebook() -> None:
    cells = json.loads((ROOT / "docs" / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"]).strip()
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    write("first_steps.md", "\n\n".join(parts) + "\n")


# --- Files of the project's root --------------------------------------------------------------------------------------

DEVELOPMENT = {"ARCHITECTURE.md": "map", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
LINK = re.compile(r"\[([^]]+)\]\(([^):#]+)(#[^)]*)?\)")


def development() -> None:
    """The same text, with links that lead from the site: to its pages, or to nothing where it has none."""

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if target in DEVELOPMENT:
            return f"[{text}](/generated/development/{DEVELOPMENT[target]}.md{anchor})"
        return f"[{text}](/{target.removeprefix('docs/')}{anchor})" if target.startswith("docs/") else text

    for name, page in DEVELOPMENT.items():
        write(f"development/{page}.md", LINK.sub(link, (ROOT / name).read_text(encoding="utf-8")))


def generate(app: Sphinx) -> None:
    gallery()
    api()
    command_help()
    notebook()
    development()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
