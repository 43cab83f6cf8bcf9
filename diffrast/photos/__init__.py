"""Photographs with their cameras and masks."""

from .calibration import Calibration
from .data import read_views
from .views import View

__all__ = ["Calibration", "View", "read_views"]
