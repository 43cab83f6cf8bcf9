"""Photographs with their cameras and masks."""

from .data import Capture, load, read_views
from .masks import add_masks
from .photo import Pixels
from .views import View

__all__ = ["Capture", "Pixels", "View", "add_masks", "load", "read_views"]
