"""Scenes on top of the operations: pictures, cameras, meshes and their optimization."""

from .camera import Camera, look_at
from .camera_parameters import CameraParameters
from .image import linear_to_srgb, load_image, save_image, srgb_to_linear
from .mesh import Mesh, load_mesh, save_mesh

__all__ = [
    "Camera",
    "CameraParameters",
    "Mesh",
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "look_at",
    "save_image",
    "save_mesh",
    "srgb_to_linear",
]
