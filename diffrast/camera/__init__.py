"""Cameras of all conventions."""

from ..mesh.rotation import quaternion_to_rotation
from .camera import Camera, look_at, look_at_pose
from .conventions import inverse_rigid, rigid
from .distortion import distort, load_undistorted, undistort, undistort_image
from .lie import se3_exp, se3_log, so3_exp, so3_log
from .overlay import overlay

__all__ = [
    "Camera",
    "distort",
    "inverse_rigid",
    "load_undistorted",
    "look_at",
    "look_at_pose",
    "overlay",
    "quaternion_to_rotation",
    "rigid",
    "se3_exp",
    "se3_log",
    "so3_exp",
    "so3_log",
    "undistort",
    "undistort_image",
]
