"""Points drawn over an image: the proof, for people to look at, that a camera and a photograph agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .camera import Camera


def overlay(
    camera: Camera,
    points: Float[Tensor, "N 3"],
    image: Float[Tensor, "H W C"],
    *,
    color: Sequence[float] = (1.0, 0.05, 0.05),
    radius: float = 2.5,
) -> Float[Tensor, "H W C"]:
    """World points `[N, 3]` as filled discs of `radius` pixels over an image `[H, W, 3|4]`, row 0 at the bottom.

    Points behind the camera or outside the image are left out. Returns a new image; for looking at, not differentiable.

    Raises:
        ValueError: the image's size is not the camera's.
    """
    if tuple(image.shape[:2]) != camera.resolution:
        raise ValueError(
            f"overlay(): image must have the camera's size {camera.width}x{camera.height}; "
            f"got {image.shape[1]}x{image.shape[0]}"
        )
    pixel, depth = camera.project(points.detach().double())
    pixel = pixel[(depth > 0) | camera.parallel].detach().to(image.device)
    reach = int(radius + 1)
    step = torch.arange(-reach, reach + 1, device=image.device)
    window = torch.stack(torch.meshgrid(step, step, indexing="xy"), dim=-1).view(-1, 2)
    at = pixel.floor().long()[:, None] + window  # [N, S, 2] pixels near each point
    cover = (radius + 0.5 - (at + 0.5 - pixel[:, None]).norm(dim=-1)).clamp(0, 1).to(image)
    x, y = at.unbind(-1)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    drawn = image.new_zeros(camera.height * camera.width)
    drawn.scatter_reduce_(0, (y * camera.width + x)[inside], cover[inside], "amax")
    drawn = drawn.view(camera.height, camera.width, 1)
    top = image.new_ones(image.shape[-1])
    top[:3] = image.new_tensor(list(color))
    return image * (1 - drawn) + top * drawn
