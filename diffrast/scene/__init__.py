"""Scenes on top of the operations: pictures, cameras, meshes and their optimization."""

from .camera import Camera, look_at
from .camera_parameters import CameraParameters
from .gltf_material import MaterialData
from .image import linear_to_srgb, load_image, save_image, srgb_to_linear
from .largesteps import LargeSteps
from .mesh import Mesh
from .mesh_files import load_mesh, save_mesh
from .mesh_parameters import MeshParameters
from .optim import AdamUniform
from .primitives import cube, icosphere, plane, sphere, torus
from .regularizers import Regularizers
from .remesh import remesh
from .unwrap import unwrap
from .video import load_video, save_video

__all__ = [
    "AdamUniform",
    "Camera",
    "CameraParameters",
    "LargeSteps",
    "MaterialData",
    "Mesh",
    "MeshParameters",
    "Regularizers",
    "cube",
    "icosphere",
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "load_video",
    "look_at",
    "plane",
    "remesh",
    "save_image",
    "save_mesh",
    "save_video",
    "sphere",
    "srgb_to_linear",
    "torus",
    "unwrap",
]
