"""diffrast: differentiable rasterization for PyTorch, on CPU, OpenGL and CUDA.

`import diffrast.torch as dr` gives the primitives; `diffrast.scene` the meshes, cameras and images on top of them.
`diffrast.diagnose(...)` says why a picture is blank or odd, `diffrast.lint(loss)` where gradients get lost,
`diffrast.lens(loss)` shows them by pixel and by vertex and compares them with differences. `diffrast.least_squares`
solves for a few parameters.
`diffrast.Viewer` shows meshes in the browser. Importing diffrast starts no graphics context, touches no GPU and leaves
torch unimported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .diagnosis import diagnose as diagnose
    from .lensing import lens as lens
    from .linting import lint as lint
    from .solver import least_squares as least_squares
    from .viewer import Viewer as Viewer

__version__ = "0.1.0"

# What loads torch, found when they are first asked for.
_LATER = {
    "diagnose": ".diagnosis",
    "lens": ".lensing",
    "least_squares": ".solver",
    "lint": ".linting",
    "Viewer": ".viewer",
}


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)
