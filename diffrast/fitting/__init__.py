"""One descent for every job: shape, texture, material and pose from photographs."""

from .appearance import Textured, at_texels
from .descent import Descent, fit
from .geometry import Shape
from .loop import Batches, descend, optimize
from .metrics import chamfer, evaluate
from .pose import find_pose
from .targets import over_white

__all__ = [
    "Batches",
    "Descent",
    "Shape",
    "Textured",
    "at_texels",
    "chamfer",
    "descend",
    "evaluate",
    "find_pose",
    "fit",
    "optimize",
    "over_white",
]
