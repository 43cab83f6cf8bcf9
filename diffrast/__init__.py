"""diffrast: differentiable rasterization for PyTorch, on CPU, OpenGL and CUDA.

`import diffrast.torch as dr` gives the primitives; `diffrast.scene` the meshes, cameras and images on top of them.
`diffrast.Viewer` shows them in the browser. Importing diffrast starts no graphics context, touches no GPU, and leaves torch
unimported.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .viewer import Viewer as Viewer


def __getattr__(name: str) -> object:
    if name == "Viewer":
        from .viewer import Viewer

        return Viewer
    raise AttributeError(f"module 'diffrast' has no attribute {name!r}")
