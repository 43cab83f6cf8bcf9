"""Files: images, films and meshes, each written whole or not at all."""

from .atomic import atomic_path, write_bytes, write_text
from .image import decode, encode, from_uint8, linear_to_srgb, load_image, save_image, srgb_to_linear, to_uint8
from .mesh_files import load_mesh, save_mesh
from .video import load_video, save_video

__all__ = [
    "atomic_path",
    "decode",
    "encode",
    "from_uint8",
    "linear_to_srgb",
    "load_image",
    "load_mesh",
    "load_video",
    "save_image",
    "save_mesh",
    "save_video",
    "srgb_to_linear",
    "to_uint8",
    "write_bytes",
    "write_text",
]
