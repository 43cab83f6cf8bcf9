"""Photographs with their cameras and masks."""

from .data import read_views
from .views import View

__all__ = ["View", "read_views"]
