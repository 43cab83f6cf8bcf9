"""Images at the file's edge: the vertical flip, sRGB and 8-bit live here and nowhere else.

In memory an image is float32 `[H, W, C]`, row 0 at the bottom. In a file row 0 is at the top and colours are 8-bit
sRGB. `linear=True` converts colours between sRGB and linear light; `linear=False` keeps the display values divided by
255, which is what image metrics (PSNR) are defined on. Alpha is never converted.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from . import hdr
from .atomic import atomic_path, write_bytes

MAX_PIXELS = 1 << 28  # 16384 x 16384: what an image may have unless the caller allows more
_LOCK = threading.Lock()


def srgb_to_linear(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Display values in [0, 1] to linear light, any shape (IEC 61966-2-1). Differentiable."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light to display values, any shape (IEC 61966-2-1); negative light maps below 0. Differentiable."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def load_image(
    path: str | os.PathLike[str],
    *,
    linear: bool = True,
    dtype: torch.dtype = torch.float32,
    max_pixels: int = MAX_PIXELS,
) -> Float[Tensor, "H W C"]:
    """Read an image as `[H, W, C]`, row 0 at the bottom, C = 1, 3 or 4 as in the file.

    Palettes and gray with alpha become RGBA, 16-bit gray is divided by 65535. `.hdr` and `.exr` hold linear light of
    any size in float32.

    Raises:
        ValueError: the file, which is named, is missing, no image, cut short, or has more than `max_pixels` pixels.
        ImportError: an `.exr` without the OpenEXR package.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"image {path} does not exist")
    if path.suffix.lower() in (".hdr", ".exr"):
        if path.suffix.lower() == ".exr":
            light = hdr.decode_exr(path, max_pixels)
        else:
            light = hdr.decode_radiance(path.read_bytes(), f"image {path}", max_pixels)
        image = torch.from_numpy(light[::-1].copy()).to(dtype)
        return image if linear else _colors(linear_to_srgb, image)
    return decode(path.read_bytes(), f"image {path}", linear=linear, dtype=dtype, max_pixels=max_pixels)


def decode(
    data: bytes, name: str, *, linear: bool = True, dtype: torch.dtype = torch.float32, max_pixels: int = MAX_PIXELS
) -> Float[Tensor, "H W C"]:
    """The bytes of an image file as `load_image` gives them; `name` begins the errors."""
    try:
        with _open(data) as picture:
            hdr.check_size(name, picture.width, picture.height, max_pixels)
            try:
                picture.load()
            except ValueError as error:
                raise OSError(str(error)) from error
            return from_pil(picture, linear=linear, dtype=dtype)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} cannot be read (corrupt or not a picture): {error}") from error


def _open(data: bytes) -> Image.Image:
    """Open without Pillow's own limit, which is global to the process; ours is checked before a pixel is decoded."""
    with _LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


# Modes whose numbers are not (gray, rgb, rgba) levels, and the mode that shows the same image in levels.
_CONVERT = {"1": "L", **dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV"), "RGB")}
_CONVERT |= dict.fromkeys(("P", "PA", "LA", "La", "RGBa"), "RGBA")


def from_pil(
    picture: Image.Image, *, linear: bool = True, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "H W C"]:
    """A PIL image as `[H, W, C]`, row 0 at the bottom, C = 1, 3 or 4."""
    array = np.asarray(picture.convert(_CONVERT[picture.mode]) if picture.mode in _CONVERT else picture)
    array = array[::-1].reshape(*array.shape[:2], -1)
    scale = 255.0 if array.dtype == np.uint8 else 65535.0
    image = torch.from_numpy(array.astype(np.float64) / scale).to(dtype)
    return _colors(srgb_to_linear, image) if linear else image


def from_uint8(levels: UInt8[np.ndarray, "H W *C"], *, linear: bool = True) -> Float[Tensor, "H W *C"]:
    """A file's `uint8` `[H, W, C]`, row 0 at the top, to float32, row 0 at the bottom: the inverse of `to_uint8`."""
    image = torch.from_numpy(levels[::-1].astype(np.float32) / 255)
    return _colors(srgb_to_linear, image) if linear else image


def _colors(change: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Change the colours of `[H, W, C]` and leave alpha."""
    return torch.cat([change(image[..., :3]), image[..., 3:]], dim=-1)


def to_uint8(image: Float[Tensor, "H W *C"], *, linear: bool = True) -> UInt8[np.ndarray, "H W *C"]:
    """`[H, W, C]` (or `[H, W]`), row 0 at the bottom, to a file's `uint8`, row 0 at the top; values are clipped."""
    image = image.detach().cpu().to(torch.float32)
    if linear and image.ndim == 3:
        image = _colors(linear_to_srgb, image)
    # NaN has no 8-bit value: show it as black instead of as whatever the processor's conversion yields.
    levels = (image.nan_to_num(0.0).clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return np.ascontiguousarray(levels.flip(0).numpy())


def encode(image: Float[Tensor, "H W *C"], fmt: str, *, linear: bool = True, **options: Any) -> bytes:
    """The bytes of a file in Pillow's format `fmt` of `[H, W, C]` or `[H, W]`, row 0 at the bottom; `options` of that
    format, such as `quality`."""
    levels, buffer = to_uint8(image, linear=linear), io.BytesIO()
    levels = levels[..., 0] if levels.ndim == 3 and levels.shape[-1] == 1 else levels
    Image.fromarray(levels).save(buffer, format=fmt, **options)
    return buffer.getvalue()


def save_image(path: str | os.PathLike[str], image: Float[Tensor, "H W *C"], *, linear: bool = True) -> None:
    """Write `[H, W, C]` or `[H, W]`, row 0 at the bottom, in the format of the suffix, whole or not at all.

    `.hdr` and `.exr` keep light above 1; with `linear=False` display values are converted to light for them.
    """
    path = Path(path)
    if path.suffix.lower() in (".hdr", ".exr"):
        light = image.detach().cpu().float()
        light = light[..., None] if light.ndim == 2 else light
        light = light if linear else _colors(srgb_to_linear, light)
        rows = np.ascontiguousarray(light.flip(0).numpy())
        if path.suffix.lower() == ".exr":
            with atomic_path(path) as temporary:
                hdr.write_exr(temporary, rows)
        else:
            rgb = rows[..., :3] if rows.shape[2] >= 3 else rows.repeat(3, axis=2)
            write_bytes(path, hdr.encode_radiance(rgb))
        return
    fmt = Image.registered_extensions().get(Path(path).suffix.lower())
    if fmt is None:
        raise ValueError(f"save_image(): no picture format is known for the suffix of {path}")
    write_bytes(path, encode(image, fmt, linear=linear))
