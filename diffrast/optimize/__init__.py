"""What descends: parametrizations, regularizers and optimizers."""

from .adam_uniform import AdamUniform
from .camera_parameters import CameraParameters
from .largesteps import SOLVERS, LargeSteps
from .least_squares import least_squares
from .mesh_parameters import MeshParameters
from .regularizers import Regularizers

__all__ = [
    "SOLVERS",
    "AdamUniform",
    "CameraParameters",
    "LargeSteps",
    "MeshParameters",
    "Regularizers",
    "least_squares",
]
