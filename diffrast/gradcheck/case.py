"""A scene of the benchmark, and what scenes are made of.

A scene is a mesh in clip space and a colour for what is seen, both functions of a few parameters `theta` that torch
differentiates. What is between them, the image, is the renderer's. Lengths in world units, angles in radians; focal
length relative, principal point in half image sides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.lie import hat

POSE = ("rx", "ry", "rz", "tx", "ty", "tz")


def plain(attributes: Tensor, _: Tensor) -> Tensor:
    """The attributes are the colours."""
    return attributes


@dataclass(frozen=True)
class Case:
    """Everything that a renderer needs, and the parameters at which its gradient is looked at.

    labels: of the parameters.
    attributes: `[V, A]`, interpolated over the triangles.
    geometry: theta `[P]` -> clip-space positions `[V, 4]`.
    starts: the parameters, `[N, P]`; targets: those of the picture that the loss compares with, `[N, P]`.
    shade: (attributes at pixels `[..., A]`, theta) -> linear colours `[..., 3]`.
    size: pixels along a side.
    steps: of the central differences; None: as far as moves the picture by a quarter of a pixel at most.
    """

    name: str
    group: str
    labels: tuple[str, ...]
    tri: Tensor
    attributes: Tensor
    geometry: Callable[[Tensor], Tensor]
    starts: Tensor
    targets: Tensor
    shade: Callable[[Tensor, Tensor], Tensor] = plain
    size: int = 64
    background: tuple[float, float, float] = (0.1, 0.15, 0.25)
    steps: Tensor | None = None


def project(points: Tensor, distance: float, focal: float, near: float = 0.2) -> Tensor:
    """Clip-space positions of points seen along -z from (0, 0, distance); focal length in half image sides."""
    x, y, z = points.unbind(-1)
    w = distance - z
    far = 4 * distance
    return torch.stack([focal * x, focal * y, ((far + near) * w - 2 * far * near) / (far - near), w], -1)


def rotation(axis_angle: Tensor) -> Tensor:
    """Rotation matrix `[3, 3]` of an axis times an angle."""
    return torch.linalg.matrix_exp(hat(axis_angle))


def moved(points: Tensor, theta: Tensor) -> Tensor:
    """Points after the rotation theta[:3] and the translation theta[3:6]."""
    return points @ rotation(theta[:3]).T + theta[3:6]


def samples(seed: int, count: int, start: list[float], difference: list[float]) -> tuple[Tensor, Tensor]:
    """Starts and targets, normally distributed with these standard deviations. More of them begin with the same
    ones."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([start, difference], dtype=torch.float64)
    drawn = torch.randn((count, 2, len(start)), generator=generator, dtype=torch.float64) * scales
    return drawn[:, 0], drawn.sum(1)


def smooth_colors(vertices: Tensor) -> Tensor:
    return 0.55 + 0.4 * torch.sin(2 * vertices + torch.tensor([0.3, 1.7, 4.1], dtype=vertices.dtype))
