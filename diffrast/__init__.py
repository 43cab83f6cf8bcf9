"""diffrast: differentiable rasterization for PyTorch, on CPU, OpenGL and CUDA.

`import diffrast.torch as dr` gives the primitives; the names below are the everyday ones on top of them.
Importing diffrast starts no graphics context, touches no GPU and leaves torch unimported: each name is loaded when it
is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .camera import Camera as Camera
    from .checks import diagnose as diagnose
    from .checks import lens as lens
    from .checks import lint as lint
    from .io import load_mesh as load_mesh
    from .io import save_mesh as save_mesh
    from .mesh import Mesh as Mesh
    from .optimize import least_squares as least_squares
    from .scene import Scene as Scene
    from .scene import render as render
    from .viewer import Viewer as Viewer

__version__ = "0.2.0"

# Name -> the room that offers it.
_ROOMS = {
    "Camera": "camera",
    "Mesh": "mesh",
    "Scene": "scene",
    "Viewer": "viewer",
    "diagnose": "checks",
    "least_squares": "optimize",
    "lens": "checks",
    "lint": "checks",
    "load_mesh": "io",
    "render": "scene",
    "save_mesh": "io",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
