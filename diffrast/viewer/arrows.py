"""Arrows over a picture: where a step against the gradient moves the surface."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw

from ..io.image import from_pil
from .model import Surface

PITCH = 22  # pixels from arrow to arrow
REACH = 2 * PITCH  # of the longest, as seen from the side
INK = (0.92, 0.37, 0.04)


def arrows(s: Surface) -> tuple[torch.Tensor, torch.Tensor]:
    """Tails and tips ``[M, 2]`` on screen, x to the right and y upwards, one for each cell of a grid whose middle shows
    surface."""
    width = s.image.shape[2]
    row, column = s.pixels // width, s.pixels % width
    at = ((row % PITCH == PITCH // 2) & (column % PITCH == PITCH // 2)).nonzero()[:, 0]
    tail = s.place[at]
    step = -s.vertex_gradient[at] / (s.model.gradient_scale or 1.0)
    step = step / step.norm(dim=-1, keepdim=True).clamp_min(1.0)
    screen, depth = s.camera.project(tail)
    pixel = depth[:, None] / s.camera.K[1, 1]  # its size in the world, there
    return screen, s.camera.project(tail + REACH * pixel.to(step) * step)[0]


def with_arrows(picture: torch.Tensor, s: Surface) -> torch.Tensor:
    """Display values ``[H, W, 3]`` with the arrows over them."""
    height, width = picture.shape[:2]
    tail, tip = (x.double().cpu() for x in arrows(s))
    along = tip - tail
    head = 0.3 * along
    side = 0.5 * torch.stack([-head[:, 1], head[:, 0]], dim=1)
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for ends in torch.stack([tail, tip, tip - head + side, tip - head - side], dim=1)[along.norm(dim=1) > 2]:
        a, b, c, d = ((x, height - y) for x, y in ends.tolist())  # a file's first row is the top one
        pen.line([a, b], 255, 2)
        pen.polygon([b, c, d], 255)
    return torch.lerp(picture, picture.new_tensor(INK), from_pil(image, linear=False).to(picture))
