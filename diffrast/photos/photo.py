"""Where the pixels of photographs come from: files that are decoded on demand, and 8-bit windows kept of them.

A float32 copy of a photograph of 20 megapixels takes 320 MB with its mask. Used are smaller versions (`factor`, a level
of its pyramid; a JPEG is decoded at that size, the full one is never in memory), and what lies outside of the object's
mask is white in every target, so that only a window of it need be kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from PIL import Image, UnidentifiedImageError

from ..camera.camera import Camera
from ..camera.distortion import undistort_image
from ..io.image import from_pil, from_uint8, to_uint8
from .matte import nearest

SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG", ".webp", ".tif", ".tiff", ".bmp")
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)


class Source(ABC):
    """Where the pixels of a view come from. Nothing is cached: each call makes its tensors anew."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Height and width, without decoding anything."""

    @abstractmethod
    def load(self) -> Pixels:
        """Everything there is."""

    def load_mask(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """`alpha` and `doubt` only, which may be cheaper."""
        pixels = self.load()
        return pixels.alpha, pixels.doubt


@dataclass(frozen=True)
class Pixels(Source):
    """A decoded photograph, row 0 at the bottom.

    Attributes:
        rgb: Display (sRGB-coded) values in 0..1, straight alpha.
        alpha: Coverage of the object in 0..1, None until a mask is known.
        doubt: Pixels outside of the mask that may yet show the object, or that the lens did not see. None: no doubt.
    """

    rgb: Float[torch.Tensor, "H W 3"]
    alpha: Float[torch.Tensor, "H W"] | None = None
    doubt: Bool[torch.Tensor, "H W"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.rgb.shape[0], self.rgb.shape[1]

    def load(self) -> Pixels:
        return self


@dataclass(frozen=True)
class Photo(Source):
    """An image file, used at a fraction of its size and undistorted.

    Attributes:
        path: The file.
        width: Of the file, in pixels.
        height: Of the file, in pixels.
        factor: Each pixel is the mean of factor x factor; what is left over at the right and at the bottom is cut off.
        lens: Distortion (k1, k2, p1, p2) to be undone; empty for none.
        camera: Of the reduced image; needed to undo distortion.
    """

    path: Path
    width: int
    height: int
    factor: int = 1
    lens: tuple[float, ...] = ()
    camera: Camera | None = None

    @classmethod
    def open(cls, path: Path, lens: tuple[float, ...] = ()) -> Photo:
        """Reads the header only.

        Raises:
            ValueError: The file, which is named, is missing or not an image.
        """
        if not path.is_file():
            raise ValueError(f"image {path} does not exist")
        try:
            with Image.open(path) as header:
                return cls(path, header.width, header.height, 1, lens if any(lens) else ())
        except UNREADABLE as error:
            raise ValueError(f"image {path} cannot be read (corrupt or not an image): {error}") from error

    @property
    def shape(self) -> tuple[int, int]:
        return self.height // self.factor, self.width // self.factor

    def reduced(self, factor: int) -> Photo:
        """The same file reduced by `factor`."""
        return replace(self, factor=factor)

    def taken_by(self, full: Camera) -> tuple[Photo, Camera]:
        """The photograph with its camera, and the camera of the reduced image, from that of the file."""
        f = self.factor
        w, h = full.width // f, full.height // f
        camera = full.crop(0, full.height - f * h, f * w, f * h).resized(w, h)
        return replace(self, camera=camera), camera

    def load(self) -> Pixels:
        """Decodes the file.

        Raises:
            ValueError: The file, which is named, cannot be read.
        """
        rgb, alpha = split_alpha(read_reduced(self.path, self.factor))
        if not self.lens or self.camera is None:
            return Pixels(rgb, alpha)
        parts = [rgb, torch.ones_like(rgb[..., :1])] + ([] if alpha is None else [alpha[..., None]])
        flat = self.flatten(torch.cat(parts, dim=-1)).clamp(0, 1)
        rgb, known = flat[..., :3].contiguous(), flat[..., 3] > 0.999
        alpha = None if alpha is None else flat[..., 4].contiguous()
        if bool(known.all()):
            return Pixels(rgb, alpha)
        # A threshold must not find the black beyond the lens's border: it looks like what is beside it.
        return Pixels(torch.from_numpy(nearest(rgb.numpy(), known.numpy())), alpha, ~known)

    def flatten(self, image: Float[torch.Tensor, "H W C"]) -> Float[torch.Tensor, "H W C"]:
        """An image that this lens took, at the reduced size, undistorted."""
        return image if self.camera is None or not self.lens else undistort_image(image, self.camera, self.lens)


def read_reduced(path: Path, factor: int = 1) -> Float[torch.Tensor, "H W C"]:
    """An image file, reduced by a whole factor.

    Returns:
        Display values, `[height // factor, width // factor, C]` with 1, 3 or 4 channels, row 0 at the bottom.

    Raises:
        ValueError: The file, which is named, cannot be read.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            keep = (width // factor, height // factor)
            halves = factor & -factor  # the power of two in it
            file.draft(None, (width // halves, height // halves))  # a JPEG's decoder halves for nothing
            scale = round(width / file.width)  # what it did
            image = file if file.mode in ("L", "RGB", "RGBA") or factor == 1 else file.convert("RGBA")
            left = factor // scale
            if left > 1 or image.size != keep:
                image = image.crop((0, 0, keep[0] * left, keep[1] * left)).reduce(left)
            return from_pil(image, linear=False)
    except UNREADABLE as error:
        raise ValueError(f"image {path} cannot be read (corrupt or not an image): {error}") from error


def split_alpha(
    image: Float[torch.Tensor, "H W C"],
) -> tuple[Float[torch.Tensor, "H W 3"], Float[torch.Tensor, "H W"] | None]:
    """Colour and alpha of an image of 1, 3 or 4 channels; an alpha of one everywhere says nothing and becomes None."""
    alpha = image[..., 3].contiguous() if image.shape[-1] == 4 else None
    if alpha is not None and bool((alpha == 1).all()):
        alpha = None
    rgb = image[..., :3] if image.shape[-1] >= 3 else image.expand(-1, -1, 3)
    return rgb.contiguous(), alpha


@dataclass(frozen=True)
class Window:
    """The part of an image that is kept; the image is zero elsewhere.

    Attributes:
        levels: 8 bits or bool, `[h, w]` or `[h, w, C]`.
        x: Column of the image where it begins.
        y: Row of the image where it begins.
        shape: Of the image, `[H, W]` or `[H, W, C]`.
    """

    levels: np.ndarray
    x: int
    y: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, image: Shaped[torch.Tensor, "H W ..."], box: tuple[int, int, int, int]) -> Window:
        """What of `image` lies in `box`: left, bottom, right, top."""
        x0, y0, x1, y1 = box
        part = image[y0:y1, x0:x1]
        levels = part.numpy().copy() if part.dtype == torch.bool else to_uint8(part, linear=False)
        return cls(levels, x0, y0, tuple(image.shape))

    def load(self) -> Shaped[torch.Tensor, "H W ..."]:
        """The whole image, float32 or bool."""
        h, w = self.levels.shape[:2]
        boolean = self.levels.dtype == bool
        part = torch.from_numpy(self.levels) if boolean else from_uint8(self.levels, linear=False)
        image = part.new_zeros(self.shape)
        image[self.y : self.y + h, self.x : self.x + w] = part
        return image


@dataclass(frozen=True)
class Kept(Source):
    """What lies around the object of a photograph, in 8-bit levels."""

    rgb: Window
    alpha: Window
    doubt: Window | None

    @classmethod
    def of(
        cls,
        rgb: Float[torch.Tensor, "H W 3"],
        alpha: Float[torch.Tensor, "H W"],
        doubt: Bool[torch.Tensor, "H W"] | None = None,
    ) -> Kept:
        """Keeps what is near `alpha` and `doubt` (see `Pixels`)."""
        box = box_around(alpha, doubt)
        return cls(Window.of(rgb, box), Window.of(alpha, box), None if doubt is None else Window.of(doubt, box))

    @property
    def shape(self) -> tuple[int, int]:
        return self.alpha.shape[0], self.alpha.shape[1]

    def load(self) -> Pixels:
        return Pixels(self.rgb.load(), *self.load_mask())

    def load_mask(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.alpha.load(), None if self.doubt is None else self.doubt.load()


@dataclass(frozen=True)
class Masked(Source):
    """Another source with a mask of one's own."""

    source: Source
    alpha: Float[torch.Tensor, "H W"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    def load(self) -> Pixels:
        return replace(self.source.load(), alpha=self.alpha)

    def load_mask(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.alpha, self.source.load_mask()[1]


def box_around(*masks: Shaped[torch.Tensor, "H W"] | None, margin: int = 16) -> tuple[int, int, int, int]:
    """Left, bottom, right, top of the pixels where any of the masks is not zero, widened by `margin` pixels."""
    on = torch.stack([m > 0 for m in masks if m is not None]).any(dim=0)
    rows, cols = (torch.nonzero(on.any(dim=d))[:, 0].tolist() for d in (1, 0))
    if not rows:
        return 0, 0, 0, 0
    h, w = on.shape
    left, bottom = max(cols[0] - margin, 0), max(rows[0] - margin, 0)
    return left, bottom, min(cols[-1] + 1 + margin, w), min(rows[-1] + 1 + margin, h)
