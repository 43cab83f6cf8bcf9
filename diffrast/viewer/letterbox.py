"""Pictures in a window of another shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def inside(width: int, height: int, room_width: int, room_height: int) -> tuple[int, int]:
    """The largest size of the same shape that fits into the room."""
    scale = min(room_width / width, room_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def letterbox(image: torch.Tensor, width: int, height: int, around: Sequence[float]) -> torch.Tensor:
    """``[H, W, 1|3|4]`` scaled to fit into ``[height, width, 3]``; alpha shows what is around."""
    background = image.new_tensor(around)
    color = image[..., :3].expand(-1, -1, 3)
    if image.shape[-1] == 4:
        color = torch.lerp(background.expand_as(color), color, image[..., 3:])
    w, h = inside(image.shape[1], image.shape[0], width, height)
    if (h, w) != tuple(color.shape[:2]):
        nchw, shrink = color.permute(2, 0, 1)[None], h < color.shape[0]
        color = torch.nn.functional.interpolate(nchw, (h, w), mode="bilinear", antialias=shrink)[0].permute(1, 2, 0)
    picture = background.expand(height, width, 3).clone()
    y, x = (height - h) // 2, (width - w) // 2
    picture[y : y + h, x : x + w] = color
    return picture


def checked_image(image: torch.Tensor) -> torch.Tensor:
    if not isinstance(image, torch.Tensor):
        raise TypeError(f"Viewer: image must be a tensor; got {type(image).__name__}")
    image = image.detach()
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"Viewer: image must be [H, W, C] with C = 1, 3 or 4; got {list(image.shape)}")
    return image.to(torch.float32, copy=True).nan_to_num(0.0).clamp(0, 1)
