"""A benchmark of differentiable renderers' gradients: scenes, a supersampled truth with its noise floor, metrics.

`diffrast gradcheck` prints a table; `diffrast.gradcheck.gradients(adapters={"mine": MyAdapter()})` measures
another renderer. Not imported by `import diffrast`.
"""

from .adapters import OURS, Adapter, Primitives
from .case import Case
from .gradients import gradients
from .pictures import pictures
from .problems import PROBLEMS, cube_from, problems
from .scenes import SCENES
from .truth import Truth, truth_of

__all__ = [
    "OURS",
    "PROBLEMS",
    "SCENES",
    "Adapter",
    "Case",
    "Primitives",
    "Truth",
    "cube_from",
    "gradients",
    "pictures",
    "problems",
    "truth_of",
]
