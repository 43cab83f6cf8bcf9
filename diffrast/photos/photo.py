"""Picture files that are decoded when they are asked for, and what is kept of them: 8 bits a channel, around the
object.

A float32 copy of a photograph of 20 megapixels takes 320 MB with its mask. Used are smaller versions (``factor``, a
level of its pyramid; a JPEG is decoded at that size, the full one is never in memory), and what lies outside of the
object's mask is white in every target, so that only a window of it need be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from ..camera.camera import Camera
from ..camera.distortion import undistort_image
from ..io.image import from_pil, from_uint8, to_uint8
from .matte import nearest

SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".tif", ".tiff", ".bmp")
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)


@dataclass(frozen=True)
class Picture:
    """A decoded photograph: ``rgb`` float32 ``[H, W, 3]`` in display values, row 0 at the bottom; ``alpha`` ``[H, W]``
    or None;
    ``known`` bool ``[H, W]``, what the lens saw, or None for everything."""

    rgb: torch.Tensor
    alpha: torch.Tensor | None
    known: torch.Tensor | None = None


@dataclass(frozen=True)
class Photo:
    """A file of ``width`` x ``height`` pixels that is used reduced by ``factor``, each pixel the mean of factor x
    factor (what is left over at the right and at the bottom is cut off), and undistorted where ``lens``, (k1, k2, p1,
    p2), is not
    empty."""

    path: Path
    width: int
    height: int
    factor: int = 1
    lens: tuple[float, ...] = ()

    @classmethod
    def open(cls, path: Path, lens: tuple[float, ...] = ()) -> Photo:
        """Reads the header only. Raises ``ValueError`` that names a file which is missing or no picture."""
        if not path.is_file():
            raise ValueError(f"image {path} does not exist")
        try:
            with Image.open(path) as header:
                return cls(path, header.width, header.height, 1, lens if any(lens) else ())
        except UNREADABLE as error:
            raise ValueError(f"image {path} cannot be read (corrupt or not a picture): {error}") from error

    @property
    def shape(self) -> tuple[int, int]:
        return self.height // self.factor, self.width // self.factor

    def reduced(self, factor: int) -> Photo:
        return replace(self, factor=factor)

    def camera(self, full: Camera) -> Camera:
        """The camera of the reduced picture, from that of the file."""
        f = self.factor
        w, h = full.width // f, full.height // f
        return full.crop(0, full.height - f * h, f * w, f * h).resized(w, h)

    def decode(self, camera: Camera | None = None) -> Picture:
        """``camera``, that of the reduced picture, is needed to undistort. Raises ``ValueError`` that names the
        file."""
        rgb, alpha = split_alpha(read_reduced(self.path, self.factor))
        if not self.lens or camera is None:
            return Picture(rgb, alpha)
        parts = [rgb, torch.ones_like(rgb[..., :1])] + ([] if alpha is None else [alpha[..., None]])
        flat = self.flatten(torch.cat(parts, dim=-1), camera).clamp(0, 1)
        rgb, known = flat[..., :3].contiguous(), flat[..., 3] > 0.999
        alpha = None if alpha is None else flat[..., 4].contiguous()
        if bool(known.all()):
            return Picture(rgb, alpha)
        # A threshold must not find the black beyond the lens's border: it looks like what is beside it.
        return Picture(torch.from_numpy(nearest(rgb.numpy(), known.numpy())), alpha, known)

    def flatten(self, image: torch.Tensor, camera: Camera) -> torch.Tensor:
        """A picture ``[H, W, C]`` that this lens took, undistorted; ``camera`` is that of the reduced file."""
        return undistort_image(image, camera, self.lens)


def read_reduced(path: Path, factor: int = 1) -> torch.Tensor:
    """A picture file as ``[H // factor, W // factor, C]``, display values, row 0 at the bottom, C = 1, 3 or 4."""
    try:
        with Image.open(path) as file:
            width, height = file.size
            keep = (width // factor, height // factor)
            halves = factor & -factor  # the power of two in it
            file.draft(None, (width // halves, height // halves))  # a JPEG's decoder halves for nothing
            scale = round(width / file.width)  # what it did
            picture = file if file.mode in ("L", "RGB", "RGBA") or factor == 1 else file.convert("RGBA")
            left = factor // scale
            if left > 1 or picture.size != keep:
                picture = picture.crop((0, 0, keep[0] * left, keep[1] * left)).reduce(left)
            return from_pil(picture, linear=False)
    except UNREADABLE as error:
        raise ValueError(f"image {path} cannot be read (corrupt or not a picture): {error}") from error


def split_alpha(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Picture ``[H, W, 1|3|4]`` to colour ``[H, W, 3]`` and alpha ``[H, W]``; an alpha of one everywhere says
    nothing."""
    alpha = image[..., 3].contiguous() if image.shape[-1] == 4 else None
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    rgb = image[..., :3] if image.shape[-1] >= 3 else image.expand(-1, -1, 3)
    return rgb.contiguous(), alpha


@dataclass(frozen=True)
class Window:
    """A picture ``shape`` ``[H, W]`` or ``[H, W, C]`` of which ``levels``, 8 bits or bool, are kept from pixel ``(x,
    y)`` on; it is zero elsewhere."""

    levels: np.ndarray
    x: int
    y: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, image: torch.Tensor, box: tuple[int, int, int, int]) -> Window:
        """What of ``image`` lies in ``box``: left, bottom, right, top."""
        x0, y0, x1, y1 = box
        part = image[y0:y1, x0:x1]
        levels = part.numpy().copy() if part.dtype == torch.bool else to_uint8(part, linear=False)
        return cls(levels, x0, y0, tuple(image.shape))

    def load(self) -> torch.Tensor:
        """The whole picture, float32 or bool, made anew."""
        h, w = self.levels.shape[:2]
        if self.levels.dtype == bool:
            part = torch.from_numpy(self.levels)
        else:
            part = from_uint8(self.levels, linear=False)
        image = part.new_zeros(self.shape)
        image[self.y : self.y + h, self.x : self.x + w] = part
        return image


def box_around(*masks: torch.Tensor | None, margin: int = 16) -> tuple[int, int, int, int]:
    """Left, bottom, right, top of the pixels where any of the masks ``[H, W]`` is not zero, widened by ``margin``."""
    used = [m > 0 for m in masks if m is not None]
    on = torch.stack(used).any(dim=0)
    rows, cols = (torch.nonzero(on.any(dim=d))[:, 0].tolist() for d in (1, 0))
    if not rows:
        return 0, 0, 0, 0
    h, w = on.shape
    return (
        max(cols[0] - margin, 0),
        max(rows[0] - margin, 0),
        min(cols[-1] + 1 + margin, w),
        min(rows[-1] + 1 + margin, h),
    )
