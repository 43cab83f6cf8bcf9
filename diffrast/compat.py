"""Lets existing programs run unchanged: `import nvdiffrast.torch as dr` then gives `diffrast.torch`.

Opt-in, for the running process only; nothing is ever installed under that name. Call it before the program's own imports:

    import diffrast.compat
    diffrast.compat.install()
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import diffrast.torch

NAME = "nvdiffrast"


class _Alias(ModuleType):
    """What stands in `sys.modules` for the package; its only content is the submodule `torch`."""

    def __init__(self) -> None:
        super().__init__(NAME, f"An alias of diffrast, made by {__name__}.install().")
        self.__spec__ = ModuleSpec(NAME, loader=None, is_package=True)
        self.__path__: list[str] = []
        self.__version__ = diffrast.__version__
        self.torch = diffrast.torch


def install() -> None:
    """Makes `nvdiffrast.torch` mean `diffrast.torch` in this process. Calling it again changes nothing.

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
