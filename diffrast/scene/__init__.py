"""Scenes on top of the operations: pictures, cameras, meshes and their optimization."""

from .camera import Camera, look_at
from .camera_parameters import CameraParameters
from .gltf_material import MaterialData
from .image import linear_to_srgb, load_image, save_image, srgb_to_linear
from .mesh import Mesh
from .mesh_files import load_mesh, save_mesh
from .mesh_parameters import MeshParameters
from .primitives import cube, icosphere, plane, sphere, torus
from .unwrap import unwrap

__all__ = [
    "Camera",
    "CameraParameters",
    "MaterialData",
    "Mesh",
    "MeshParameters",
    "cube",
    "icosphere",
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "look_at",
    "plane",
    "save_image",
    "save_mesh",
    "sphere",
    "srgb_to_linear",
    "torus",
    "unwrap",
]
