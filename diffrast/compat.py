"""Lets existing programs run unchanged: `import nvdiffrast.torch as dr` then gives what `diffrast.torch` has.

Opt-in, for the running process only; nothing is ever installed under that name. Call it before the program's own
imports:

    import diffrast.compat
    diffrast.compat.install()

One thing differs: `antialias` then is the published rule unless told otherwise, `mode="silhouette"`, so that a program
gives the pictures that its author saw. Change its import to `diffrast.torch`, or pass `mode="area"`, for the better
gradients.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

import diffrast.torch

NAME = "nvdiffrast"


class _Primitives(ModuleType):
    """What stands in `sys.modules` for the submodule `torch`: all of `diffrast.torch`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(diffrast.torch, name)

    def __dir__(self) -> list[str]:
        return dir(diffrast.torch)

    @staticmethod
    def antialias(*args: Any, mode: str = "silhouette", **kwargs: Any) -> torch.Tensor:
        """`diffrast.torch.antialias` with another default: the published rule."""
        return diffrast.torch.antialias(*args, mode=mode, **kwargs)


class _Alias(ModuleType):
    """What stands in `sys.modules` for the package; its only content is the submodule `torch`."""

    def __init__(self) -> None:
        super().__init__(NAME, f"An alias of diffrast, made by {__name__}.install().")
        self.__spec__ = ModuleSpec(NAME, loader=None, is_package=True)
        self.__path__: list[str] = []
        self.__version__ = diffrast.__version__
        self.torch = _Primitives(f"{NAME}.torch", diffrast.torch.__doc__)


def install() -> None:
    """Makes `nvdiffrast.torch` mean `diffrast.torch` in this process (and see above). Calling it again changes nothing.

    If a package of that name is installed on the system it is hidden, not touched, until `uninstall()`.

    Raises:
        RuntimeError: a package of that name is imported already, so that two would be in use at once.
    """
    present = sys.modules.get(NAME)
    if isinstance(present, _Alias):
        return
    if present is not None:
        origin = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(
            f"diffrast.compat.install(): {NAME} is already imported (from {origin}); "
            f"call install() before anything imports {NAME}"
        )
    alias = _Alias()
    sys.modules[NAME] = alias
    sys.modules[f"{NAME}.torch"] = alias.torch


def uninstall() -> None:
    """Takes the alias back: later imports look for the package again. What has been imported by then stays usable."""
    if isinstance(sys.modules.get(NAME), _Alias):
        del sys.modules[NAME]
        sys.modules.pop(f"{NAME}.torch", None)
