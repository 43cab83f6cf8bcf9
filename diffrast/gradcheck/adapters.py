"""What is measured: a renderer behind three functions.

To measure another renderer, write a class with these three functions and pass an object of it to
`gradients(adapters={...})`. It gets the scene once, then parameters; how it differentiates is its own affair. A module
of primitives with the field's usual names needs no class: `Primitives(module, context)`.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

import diffrast.torch as dr

from ..ops.antialias import MODES
from .case import Case


class Adapter(Protocol):
    """A differentiable renderer at one sample per pixel."""

    def prepare(self, scene: Case) -> None:
        """Called once per scene, before the others."""
        ...

    def render(self, theta: Tensor) -> Tensor:
        """The image `[H, W, 3]` for parameters theta `[P]`, linear, row 0 at the bottom."""
        ...

    def gradient(self, theta: Tensor, cotangent: Tensor) -> Tensor:
        """The vector-Jacobian product `[P]`: the derivative of `(render(theta) * cotangent).sum()`."""
        ...


class Primitives:
    """Rasterize, interpolate, shade, antialias, by the primitives of a module with the field's usual names.

    guard: pixels that are drawn beyond the border on each side and cut off, so that lines that leave the image have
    both ends.
    antialias: further arguments for the module's `antialias`.
    """

    def __init__(
        self,
        module: Any = dr,
        context: Any = None,
        guard: int = 0,
        device: str | torch.device = "cpu",
        **antialias: Any,
    ):
        self.module, self.context, self.guard, self.options = module, context, guard, antialias
        self.device = torch.device(device)

    def prepare(self, scene: Case) -> None:
        self.scene = scene
        if self.context is None:
            self.context = self.module.RasterizeContext()
        self.tri = scene.tri.to(self.device)
        self.attributes = scene.attributes.float().to(self.device)
        self.background = torch.tensor(scene.background, device=self.device)

    def _image(self, theta: Tensor) -> Tensor:
        scene, drawn = self.scene, self.scene.size + 2 * self.guard
        zoom = torch.tensor([scene.size / drawn] * 2 + [1.0, 1.0])
        pos = (scene.geometry(theta).float()[None] * zoom).to(self.device)
        rast, _ = self.module.rasterize(self.context, pos, self.tri, (drawn, drawn))
        attributes, _ = self.module.interpolate(self.attributes, rast, self.tri)
        color = torch.where(rast[..., 3:] > 0, scene.shade(attributes, theta.float().to(self.device)), self.background)
        image = self.module.antialias(color.contiguous(), rast, pos, self.tri, **self.options)[0]
        return image[self.guard : drawn - self.guard, self.guard : drawn - self.guard]

    def render(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            return self._image(theta)

    def gradient(self, theta: Tensor, cotangent: Tensor) -> Tensor:
        leaf = theta.detach().clone().requires_grad_()
        image = self._image(leaf)
        return torch.autograd.grad((image * cotangent.to(image)).sum(), leaf)[0]


# Ours, by the name in the tables.
OURS: dict[str, Adapter] = {mode: Primitives(mode=mode) for mode in MODES}
