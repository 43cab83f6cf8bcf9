"""Photographs with their cameras and masks."""

from .calibration import Calibration
from .data import Capture, load, read_views
from .masks import add_masks
from .photo import Pixels
from .views import View

__all__ = ["Calibration", "Capture", "Pixels", "View", "add_masks", "load", "read_views"]
