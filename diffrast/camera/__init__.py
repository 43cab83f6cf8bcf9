"""Cameras of all conventions."""

from .camera import Camera, look_at
from .distortion import distort, load_undistorted, undistort, undistort_image
from .lie import se3_exp, se3_log, so3_exp, so3_log
from .overlay import overlay

__all__ = [
    "Camera",
    "distort",
    "load_undistorted",
    "look_at",
    "overlay",
    "se3_exp",
    "se3_log",
    "so3_exp",
    "so3_log",
    "undistort",
    "undistort_image",
]
