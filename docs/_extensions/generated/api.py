"""The API reference: a page for each module that offers names, with every one of them, from its docstring."""

import inspect
import typing
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

from .files import contents, write

INDEX = """# API reference

All public names, by the module that offers them. Shapes stand in brackets: `[V, 3]` is a tensor of V rows and three
columns. Image row 0 is the bottom row, colours are linear, and angles are radians unless a name says degrees.

A wrong argument raises `ValueError`, a wrong type `TypeError`; the message names the function, the argument, the rule
and what came.

The everyday names are also offered by `diffrast` itself: {names}. `import diffrast` is quick and does not import torch;
a name is loaded when it is first used.

| module | what it is | names |
|---|---|---|
{rows}

{contents}"""

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


def public(module: ModuleType) -> dict[str, object]:
    """What a module offers: its `__all__`, or the classes and functions of diffrast among its names."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    things = {name: getattr(module, name) for name in dir(module) if name[0] != "_"}
    return {name: x for name, x in things.items() if str(getattr(x, "__module__", "")).startswith("diffrast")}


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


def returned(things: Iterable[object], documented: set[object]) -> list[type]:
    """Classes of diffrast that the signatures of `things` name and that no module offers by name."""
    classes: set[type] = set()
    for signature in (s for thing in things for s in signatures(thing)):
        try:
            hints = typing.get_type_hints(signature)
        except (NameError, TypeError):  # a type that only exists for the type checker
            continue
        classes |= set().union(*map(mentioned, hints.values()))
    return sorted(classes - documented, key=lambda c: (c.__module__, c.__name__))


def directive(name: str, thing: object) -> str:
    if inspect.isclass(thing):
        return f".. autoclass:: {name}\n"
    return f".. autofunction:: {name}\n" if callable(thing) else f".. autodata:: {name}\n   :no-value:\n"


def page(name: str, title: str, things: dict[str, object], more: list[type]) -> str:
    parts = [f".. automodule:: diffrast.{name}\n   :no-members:\n"]
    parts += [directive(f"diffrast.{name}.{n}", thing) for n, thing in sorted(things.items())]
    parts += [directive(f"{c.__module__}.{c.__qualname__}", c) for c in more]
    return f"# {title}: `diffrast.{name}`\n\n```{{eval-rst}}\n" + "\n".join(parts) + "```\n"


def quoted(names: Iterable[str]) -> list[str]:
    return [f"`{name}`" for name in sorted(names)]


def api() -> None:
    offered = {name: public(import_module(f"diffrast.{name}")) for name in FACADES}
    documented: set[object] = {x for things in offered.values() for x in things.values() if inspect.isclass(x)}
    rows = []
    for name, title in FACADES.items():
        more = returned(offered[name].values(), documented)
        documented |= set(more)
        write(f"api/{name}.md", page(name, title, offered[name], more))
        rows.append(f"| [diffrast.{name}]({name}.md) | {title} | {' '.join(quoted(offered[name]))} |")
    names = ", ".join(quoted(public(import_module("diffrast"))))
    write("api/index.md", INDEX.format(names=names, rows="\n".join(rows), contents=contents(list(FACADES))))
