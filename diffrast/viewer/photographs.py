"""Input views: photographs with their cameras, what the page is told of them, and their thumbnails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from ..scene.camera import Camera
from .letterbox import checked_image, inside, letterbox

SIDE = 96  # pixels of a thumbnail's longer side
MAX_SHEET = 4096  # pixels of the picture that holds all of them


@dataclass(frozen=True)
class Photograph:
    """An input view: its camera and what it should show, display values ``[H, W, 3]`` or ``[H, W, 4]`` with coverage."""

    camera: Camera
    image: torch.Tensor
    name: str = ""

    @cached_property
    def thumbnail(self) -> torch.Tensor:
        """``[h, w, 3]``, at most `SIDE` pixels."""
        width, height = inside(self.image.shape[1], self.image.shape[0], SIDE, SIDE)
        return letterbox(self.image, width, height, (1.0, 1.0, 1.0)).cpu()

    def described(self) -> dict[str, Any]:
        """For the page: camera-to-world ``[3, 4]``, the slopes of the view's right and upper sides, the thumbnail's size."""
        pose, K = torch.linalg.inv(self.camera.world_to_camera), self.camera.K
        slopes = (self.camera.width / 2 / float(K[0, 0]), self.camera.height / 2 / float(K[1, 1]))
        return {
            "name": self.name,
            "pose": [[round(x, 5) for x in row] for row in pose[:3].tolist()],
            "slopes": [round(x, 5) for x in slopes],
            "thumbnail": inside(self.image.shape[1], self.image.shape[0], SIDE, SIDE),
        }


def photograph(view: Any) -> Photograph:
    """A photograph of our own, or a view of a data set: ``rgb`` ``[H, W, 3]`` and perhaps ``alpha`` ``[H, W]``."""
    if not isinstance(view, Photograph):
        image = view.rgb if view.alpha is None else torch.cat([view.rgb, view.alpha[..., None]], dim=-1)
        view = Photograph(view.camera, image, view.name)
    return replace(view, image=checked_image(view.image))


def contact_sheet(views: Sequence[Photograph]) -> Iterator[torch.Tensor | None]:
    """All thumbnails in one picture ``[H, W, 3]``, row by row from the top left, each at the top left of a square of `SIDE` pixels.
    Yields None after each, then the picture; what does not fit on it is left out."""
    columns = min(math.ceil(math.sqrt(len(views))), MAX_SHEET // SIDE)
    rows = min(math.ceil(len(views) / columns), MAX_SHEET // SIDE)
    sheet = torch.ones(rows * SIDE, columns * SIDE, 3)
    for i, view in enumerate(views[: rows * columns]):
        height, width = view.thumbnail.shape[:2]
        top, left = (rows - i // columns) * SIDE, (i % columns) * SIDE  # row 0 is at the bottom
        sheet[top - height : top, left : left + width] = view.thumbnail
        yield None
    yield sheet
