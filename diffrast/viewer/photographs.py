"""Input views: photographs with their cameras, what the page is told of them, and their thumbnails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..camera.camera import Camera
from ..io.image import from_uint8, to_uint8
from .letterbox import checked_image, inside, letterbox

SIDE = 96  # pixels of a thumbnail's longer side
MAX_SHEET = 4096  # pixels of the picture that holds all of them


@dataclass(frozen=True)
class Photograph:
    """An input view: its camera and what it should show, display values ``[H, W, 3]`` or ``[H, W, 4]`` with
    coverage."""

    camera: Camera
    image: torch.Tensor
    name: str = ""


@dataclass(frozen=True, eq=False)
class InputView:
    """A photograph as the viewer keeps it: ``load()`` makes its picture, display values ``[H, W, 3|4]`` with ``shape``
    (H, W), anew each time that it is asked for, so that a large data set takes no more memory than it has already."""

    name: str
    camera: Camera
    shape: tuple[int, int]
    load: Callable[[], torch.Tensor]

    def described(self) -> dict[str, Any]:
        """For the page: camera-to-world ``[3, 4]``, the slopes of the view's right and upper sides, the thumbnail's
        size."""
        pose, K = torch.linalg.inv(self.camera.world_to_camera), self.camera.K
        slopes = (self.camera.width / 2 / float(K[0, 0]), self.camera.height / 2 / float(K[1, 1]))
        height, width = self.shape
        return {
            "name": self.name,
            "pose": [[round(x, 5) for x in row] for row in pose[:3].tolist()],
            "slopes": [round(x, 5) for x in slopes],
            "thumbnail": inside(width, height, SIDE, SIDE),
        }


def input_view(view: Any) -> InputView:
    """Of a `Photograph`, whose 8-bit levels are kept, or of a view of a data set, which keeps its own: `load()` gives
    `rgb` `[H, W, 3]` and perhaps `alpha` `[H, W]` of the `shape`."""
    if isinstance(view, Photograph):
        levels = to_uint8(checked_image(view.image), linear=False)
        return InputView(
            view.name, view.camera, (levels.shape[0], levels.shape[1]), lambda: from_uint8(levels, linear=False)
        )
    if not hasattr(view, "camera"):  # its pictures are not asked for yet
        raise TypeError(f"Viewer: views must be Photographs or views of a data set; got {type(view).__name__}")

    def load() -> torch.Tensor:
        pixels = view.load()
        rgb, alpha = pixels.rgb, pixels.alpha
        return checked_image(rgb if alpha is None else torch.cat([rgb, alpha[..., None]], dim=-1))

    return InputView(view.name, view.camera, view.shape, load)


def contact_sheet(views: Sequence[InputView]) -> Iterator[torch.Tensor | None]:
    """All thumbnails in one picture ``[H, W, 3]``, row by row from the top left, each at the top left of a square of
    `SIDE` pixels. Yields None after each, then the picture; what does not fit on it is left out."""
    columns = min(math.ceil(math.sqrt(len(views))), MAX_SHEET // SIDE)
    rows = min(math.ceil(len(views) / columns), MAX_SHEET // SIDE)
    sheet = torch.ones(rows * SIDE, columns * SIDE, 3)
    for i, view in enumerate(views[: rows * columns]):
        width, height = inside(view.shape[1], view.shape[0], SIDE, SIDE)
        top, left = (rows - i // columns) * SIDE, (i % columns) * SIDE  # row 0 is at the bottom
        sheet[top - height : top, left : left + width] = letterbox(view.load(), width, height, (1.0, 1.0, 1.0))
        yield None
    yield sheet
