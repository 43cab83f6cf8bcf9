"""The viewer: a page in the browser that shows what diffrast draws, live, also while an optimization runs."""

from .photographs import Photograph
from .viewer import Viewer

__all__ = ["Photograph", "Viewer"]
