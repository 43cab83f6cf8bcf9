"""What is wrong, in words: with a picture, a graph, a gradient, a machine."""

from .gradient import lens
from .graph import lint
from .picture import diagnose

__all__ = ["diagnose", "lens", "lint"]
