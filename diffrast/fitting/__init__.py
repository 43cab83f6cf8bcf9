"""One descent for every job: shape, texture, material and pose from photographs."""

from .appearance import Textured, at_texels, unwrap
from .coverage import count_views
from .descent import Descent, fit
from .distributed import Group
from .geometry import Shape
from .loop import Batches, Progress, Run, Stop, cosine, descend, optimize
from .material import Material, fit_material, start_material
from .metrics import chamfer, compare, evaluate
from .pose import find_pose
from .targets import Targets, make_targets, over_white

__all__ = [
    "Batches",
    "Descent",
    "Group",
    "Material",
    "Progress",
    "Run",
    "Shape",
    "Stop",
    "Targets",
    "Textured",
    "at_texels",
    "chamfer",
    "compare",
    "cosine",
    "count_views",
    "descend",
    "evaluate",
    "find_pose",
    "fit",
    "fit_material",
    "make_targets",
    "optimize",
    "over_white",
    "start_material",
    "unwrap",
]
