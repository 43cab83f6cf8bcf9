"""The shapes in signatures, checked: every function of the package whose annotations are jaxtyping's.

A call that returned must have got, and must have given, what its signature says. A call that was refused has said so
itself, in its own words, which other tests read; so arguments are looked at after the call, not before.
"""

import ast
import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import torch
from beartype.door import is_bearable
from jaxtyping import jaxtyped

SHAPED = re.compile(r"\b(Shaped|Num|Inexact|Real|Complex|Float|Integer|U?Int|Bool)\d*\[")


HINTS: dict[str, Callable[[], dict[str, Any]]] = {}  # of every function that is checked, its shapes


def checked(function: Callable) -> Callable:
    """The same function, which raises AssertionError where it returned though a shape or a dtype was not as said."""
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        """The annotations with shapes, evaluated at the first call, when all names are there."""
        notes = {name: note for name, note in function.__annotations__.items() if SHAPED.search(str(note))}
        return {n: eval(note, function.__globals__) if isinstance(note, str) else note for n, note in notes.items()}

    HINTS[f"{function.__module__}.{function.__qualname__}"] = hints

    # jaxtyping reads sizes such as "{height} {width}" from the arguments by name: hence the signature.
    first = inspect.Parameter("_result", inspect.Parameter.POSITIONAL_ONLY)

    def verify(_result: Any, *args: Any, **kwargs: Any) -> None:
        given = {**signature.bind(*args, **kwargs).arguments, "return": _result}
        for name, hint in hints().items():
            for value in _each(given, name):
                if not is_bearable(value, hint):
                    kind = f"{getattr(value, 'dtype', type(value).__name__)} {list(getattr(value, 'shape', ()))}"
                    raise AssertionError(f"{function.__qualname__}(): {name} is {kind}, not {hint}")

    vars(verify)["__signature__"] = signature.replace(parameters=[first, *signature.parameters.values()])
    verify = jaxtyped(typechecker=None)(verify)  # a letter stands for one size in all of them

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not torch.compiler.is_compiling():
            verify(result, *args, **kwargs)
        return result

    def _each(given: dict[str, Any], name: str) -> list[Any]:
        """The values to which an annotation applies: none where a default stands, several behind a star."""
        kind = signature.parameters[name].kind if name in signature.parameters else None
        if name not in given or kind is inspect.Parameter.VAR_POSITIONAL:
            return list(given.get(name, ()))
        return list(given[name].values()) if kind is inspect.Parameter.VAR_KEYWORD else [given[name]]

    return call


class _Loader(SourceFileLoader):
    """Wraps the functions with shapes in their signatures, next to the function, under all other decorators."""

    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_data(self.path)
        if b"jaxtyping" not in source:
            return super().get_code(fullname)
        tree = ast.parse(source, self.path)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                notes = [a.annotation for a in ast.walk(node.args) if isinstance(a, ast.arg)] + [node.returns]
                if any(note is not None and SHAPED.search(ast.unparse(note)) for note in notes):
                    name = ast.Name("__checked__", ast.Load())
                    node.decorator_list.append(ast.copy_location(name, node))
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__checked__"] = checked
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of the package, to be loaded with their shapes checked."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname.split(".")[0] == "diffrast" else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def install() -> None:
    """From now on, in this process. Nothing of the package may be loaded yet."""
    assert not [name for name in sys.modules if name.split(".")[0] == "diffrast"]
    sys.meta_path.insert(0, _Finder())
