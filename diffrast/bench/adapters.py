"""What is measured: a renderer behind three functions.

To measure another renderer, write a class with these three functions and pass an object of it to `gradients(adapters={...})`. It
gets the scene once, then parameters; how it differentiates is its own affair. A module of primitives with the field's usual names
needs no class: `Primitives(module, context)`.
"""

from typing import Any, Protocol

import torch

import diffrast.torch as dr

from ..ops.antialias import MODES
from .scene import Scene


class Adapter(Protocol):
    """A differentiable renderer at one sample per pixel."""

    def prepare(self, scene: Scene) -> None:
        """Called once per scene, before the others."""
        ...

    def render(self, theta: torch.Tensor) -> torch.Tensor:
        """The image `[H, W, 3]` for parameters theta `[P]`, linear, row 0 at the bottom."""
        ...

    def gradient(self, theta: torch.Tensor, cotangent: torch.Tensor) -> torch.Tensor:
        """The vector-Jacobian product `[P]`: the derivative of `(render(theta) * cotangent).sum()`."""
        ...


class Primitives:
    """Rasterize, interpolate, shade, antialias, by the primitives of a module with the field's usual names."""

    def __init__(self, module: Any = dr, context: Any = None, **antialias: Any):
        self.module, self.context, self.options = module, context, antialias
        self.device = torch.device("cpu")

    def prepare(self, scene: Scene) -> None:
        self.scene = scene
        if self.context is None:
            self.context = self.module.RasterizeContext()
        self.tri = scene.tri.to(self.device)
        self.attributes = scene.attributes.float().to(self.device)
        self.background = torch.tensor(scene.background, device=self.device)

    def _image(self, theta: torch.Tensor) -> torch.Tensor:
        scene, size = self.scene, (self.scene.size, self.scene.size)
        pos = scene.geometry(theta).float()[None].to(self.device)
        rast, _ = self.module.rasterize(self.context, pos, self.tri, size)
        attributes, _ = self.module.interpolate(self.attributes, rast, self.tri)
        color = torch.where(rast[..., 3:] > 0, scene.shade(attributes, theta.float()), self.background)
        return self.module.antialias(color.contiguous(), rast, pos, self.tri, **self.options)[0]

    def render(self, theta: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self._image(theta)

    def gradient(self, theta: torch.Tensor, cotangent: torch.Tensor) -> torch.Tensor:
        leaf = theta.detach().clone().requires_grad_()
        image = self._image(leaf)
        return torch.autograd.grad((image * cotangent.to(image)).sum(), leaf)[0]


# Ours, by the name in the tables.
OURS: dict[str, Adapter] = {mode: Primitives(mode=mode) for mode in MODES}
