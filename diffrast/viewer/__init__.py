"""The viewer: a page in the browser that shows what diffrast draws, live, also while an optimization runs."""

from .viewer import Viewer

__all__ = ["Viewer"]
