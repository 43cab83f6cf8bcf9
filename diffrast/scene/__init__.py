"""Scenes on top of the operations: pictures, cameras, meshes and their optimization."""

from .camera import Camera, look_at
from .camera_parameters import CameraParameters
from .environment import EnvironmentLight
from .gltf_material import MaterialData
from .image import linear_to_srgb, load_image, save_image, srgb_to_linear
from .largesteps import LargeSteps
from .light import AmbientLight, DirectionalLight, PointLight, SphericalHarmonicsLight, SpotLight
from .material import BlinnPhong, Lambert, Material, MetallicRoughness, SphericalHarmonicsColor, Unlit
from .mesh import Mesh
from .mesh_files import load_mesh, save_mesh
from .mesh_parameters import MeshParameters
from .optim import AdamUniform
from .passes import clip_matrices, to_clip
from .primitives import cube, icosphere, plane, sphere, torus
from .regularizers import Regularizers
from .remesh import remesh
from .renderer import Rendering, Scene, render
from .shadow import Shadow
from .tonemap import reinhard
from .unwrap import unwrap
from .video import load_video, save_video

__all__ = [
    "AdamUniform",
    "AmbientLight",
    "BlinnPhong",
    "Camera",
    "CameraParameters",
    "DirectionalLight",
    "EnvironmentLight",
    "Lambert",
    "LargeSteps",
    "Material",
    "MaterialData",
    "Mesh",
    "MeshParameters",
    "MetallicRoughness",
    "PointLight",
    "Regularizers",
    "Rendering",
    "Scene",
    "Shadow",
    "SphericalHarmonicsColor",
    "SphericalHarmonicsLight",
    "SpotLight",
    "Unlit",
    "clip_matrices",
    "cube",
    "icosphere",
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "load_video",
    "look_at",
    "plane",
    "reinhard",
    "remesh",
    "render",
    "save_image",
    "save_mesh",
    "save_video",
    "sphere",
    "srgb_to_linear",
    "to_clip",
    "torus",
    "unwrap",
]
