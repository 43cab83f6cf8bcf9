"""Input views: photographs with their cameras, what the page is told of them, and their thumbnails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..io.image import from_uint8, to_uint8

SIDE = 96  # pixels of a thumbnail's longer side
MAX_SHEET = 4096  # pixels of the picture that holds all of them


@dataclass(frozen=True)
class Photograph:
    """An input view: its camera and what it should show, display values `[H, W, 3]` or `[H, W, 4]` with coverage."""

    camera: Camera
    image: Tensor
    name: str = ""


@dataclass(frozen=True, eq=False)
class InputView:
    """A photograph as the viewer keeps it: `load()` makes its picture, display values `[H, W, 3|4]` with `shape` (H,
    W), anew each time that it is asked for, so that a large data set takes no more memory than it has already."""

    name: str
    camera: Camera
    shape: tuple[int, int]
    load: Callable[[], Tensor]

    def described(self) -> dict[str, Any]:
        """For the page: camera-to-world `[3, 4]`, the slopes of the view's right and upper sides, the thumbnail's
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

    def load() -> Tensor:
        pixels = view.load()
        rgb, alpha = pixels.rgb, pixels.alpha
        return checked_image(rgb if alpha is None else torch.cat([rgb, alpha[..., None]], dim=-1))

    return InputView(view.name, view.camera, view.shape, load)


def contact_sheet(views: Sequence[InputView]) -> Iterator[Tensor | None]:
    """All thumbnails in one picture `[H, W, 3]`, row by row from the top left, each at the top left of a square of
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


# --- Images in a window of another shape ---------------------------------------------------------------------------


def inside(width: int, height: int, room_width: int, room_height: int) -> tuple[int, int]:
    """The largest size of the same shape that fits into the room."""
    scale = min(room_width / width, room_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def letterbox(image: Tensor, width: int, height: int, around: Sequence[float]) -> Tensor:
    """`[H, W, 1|3|4]` scaled to fit into `[height, width, 3]`; alpha shows what is around."""
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


def checked_image(image: Tensor) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(f"Viewer: image must be a tensor; got {type(image).__name__}")
    image = image.detach()
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"Viewer: image must be [H, W, C] with C = 1, 3 or 4; got {list(image.shape)}")
    return image.to(torch.float32, copy=True).nan_to_num(0.0).clamp(0, 1)
