"""Files: images, films and meshes."""

from .image import linear_to_srgb, load_image, save_image, srgb_to_linear
from .mesh_files import load_mesh, save_mesh
from .video import load_video, save_video

__all__ = [
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "load_video",
    "save_image",
    "save_mesh",
    "save_video",
    "srgb_to_linear",
]
