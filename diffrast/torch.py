"""The primitives: `import diffrast.torch as dr`.

Names, argument order, defaults and output layout are those of the interface that the field's code already uses, so that
a project switches by changing one import line. What diffrast adds is keyword-only.
"""

from .backends.memory import keep_freed_memory
from .ops.antialias import antialias
from .ops.context import RasterizeContext, RasterizeCudaContext, RasterizeGLContext, get_log_level, set_log_level
from .ops.gbuffer import gbuffer
from .ops.interpolate import interpolate
from .ops.rasterize import DepthPeeler, rasterize, triangle_id
from .ops.texture import texture
from .ops.texture_mip import texture_construct_mip
from .ops.topology import antialias_construct_topology_hash

__all__ = [
    "DepthPeeler",
    "RasterizeContext",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "antialias",
    "antialias_construct_topology_hash",
    "gbuffer",
    "get_log_level",
    "interpolate",
    "keep_freed_memory",
    "rasterize",
    "set_log_level",
    "texture",
    "texture_construct_mip",
    "triangle_id",
]
