"""The room of backends: where kernels run. Nothing here knows an operator; `ops/` calls what this file offers.

`registry` says what a backend is and finds one by its name or by a tensor's device. `cpu`, `cuda` and `gl` are the
backends; `arguments` and `visibility` are what they are given. `specialize`, `nvrtc`, `sources` and `compute` serve
CUDA, `gl_context`, `gl_draw` and `gl_interop` serve OpenGL, and `memory` recycles the CPU's memory of outputs.
"""

from .arguments import Field
from .registry import HOLDERS, KERNELS_FOR_DEVICE, LOADERS, Backend, Rasterizer, get, kernels_for, kinds, release
from .visibility import Visibility

__all__ = [
    "HOLDERS",
    "KERNELS_FOR_DEVICE",
    "LOADERS",
    "Backend",
    "Field",
    "Rasterizer",
    "Visibility",
    "get",
    "kernels_for",
    "kinds",
    "release",
]
