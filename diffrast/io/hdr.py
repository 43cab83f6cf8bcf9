"""Images of unbounded light: Radiance HDR (a codec of our own, in float32) and OpenEXR (by its package).

Rows here are in the file's order, the top row first; `diffrast.io.image` turns them over. Values are linear light.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

RLE_WIDTHS = range(8, 32768)  # what the run-length code of Radiance can hold


def check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Refuse an image with more pixels than allowed by a `ValueError` that begins with `name`."""
    if width * height > max_pixels:
        raise ValueError(
            f"{name} has {width}x{height} pixels, more than max_pixels={max_pixels}; raise max_pixels if that is meant"
        )


# --- Radiance (Ward 1991, "Real Pixels", Graphics Gems II; the file format's manual page "Radiance file formats") -----


def to_rgbe(image: Float[np.ndarray, "*shape 3"]) -> UInt8[np.ndarray, "*shape 4"]:
    """Linear light `[..., 3]` to mantissas with a common exponent, uint8 `[..., 4]`; negative light and NaN become 0.

    The largest component keeps 8 bits: an error of at most 1/256 of it in each.
    """
    light = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=1e38, neginf=0.0).clip(0, 1e38)
    largest = light.max(axis=-1)
    _, exponent = np.frexp(largest)
    visible = largest > 1e-38
    scale = np.where(visible, np.ldexp(256.0, -np.where(visible, exponent, 0)), 0.0)
    mantissa = np.minimum(light * scale[..., None], 255.0)
    code = np.where(visible, exponent + 128, 0)
    return np.concatenate([mantissa, code[..., None]], axis=-1).astype(np.uint8)


def from_rgbe(code: UInt8[np.ndarray, "*shape 4"]) -> Float[np.ndarray, "*shape 3"]:
    """The inverse: uint8 `[..., 4]` to float32 `[..., 3]`, the middle of what each mantissa stands for."""
    exponent = code[..., 3].astype(np.int32)
    scale = np.where(exponent > 0, np.ldexp(1.0, exponent - 136), 0.0)
    return ((code[..., :3] + 0.5) * scale[..., None]).astype(np.float32)


def encode_radiance(image: Float[np.ndarray, "H W 3"]) -> bytes:
    """The bytes of a `.hdr` file of `[H, W, 3]`, top row first."""
    height, width = image.shape[:2]
    code = to_rgbe(image)
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    if width not in RLE_WIDTHS:
        return head + code.tobytes()
    mark = bytes((2, 2, width >> 8, width & 255))
    lines = (mark + b"".join(_pack(row[:, c]) for c in range(4)) for row in code)
    return head + b"".join(lines)


def _pack(values: np.ndarray) -> bytes:
    """One component of a row: runs of equal bytes as (128 + length, byte), everything else as (length, bytes)."""
    out, at, n = bytearray(), 0, len(values)
    starts = np.flatnonzero(np.diff(values, prepend=values[0] ^ 255))
    lengths = np.diff(starts, append=n)
    for start, length in [(s, k) for s, k in zip(starts.tolist(), lengths.tolist(), strict=True) if k > 3] + [(n, 0)]:
        for first in range(at, start, 128):
            literal = values[first : min(first + 128, start)]
            out += bytes((len(literal),)) + literal.tobytes()
        for first in range(0, length, 127):
            out += bytes((128 + min(127, length - first), int(values[start])))
        at = start + length
    return bytes(out)


def decode_radiance(data: bytes, name: str, max_pixels: int) -> Float[np.ndarray, "H W 3"]:
    """The image float32 `[H, W, 3]`, top row first, of a `.hdr` file. Raises `ValueError` that begins with `name`."""
    if not data.startswith((b"#?RADIANCE", b"#?RGBE", b"#?AUTOPANO")):
        raise ValueError(f"{name} cannot be read: it is not a Radiance HDR file")
    head, gap, body = data.partition(b"\n\n")
    size = re.match(rb"([-+])Y (\d+) ([-+])X (\d+)\n", body)
    if not gap or size is None:
        raise ValueError(f"{name} cannot be read: a line like '-Y height +X width' is missing after the header")
    fields = dict(line.split(b"=", 1) for line in head.split(b"\n") if b"=" in line and line[:1] != b"#")
    kind = fields.get(b"FORMAT", b"32-bit_rle_rgbe").strip()
    if kind != b"32-bit_rle_rgbe":
        raise ValueError(
            f"{name} cannot be read: expected FORMAT=32-bit_rle_rgbe but got {kind.decode(errors='replace')}"
        )
    height, width = int(size[2]), int(size[4])
    check_size(name, width, height, max_pixels)
    code = _rows(body[size.end() :], height, width, name)
    code = code[:: -1 if size[1] == b"+" else 1, :: -1 if size[3] == b"-" else 1]
    exposure = float(np.prod([float(e) for e in re.findall(rb"^EXPOSURE=\s*(\S+)", head, re.MULTILINE)]))
    return from_rgbe(code) / np.float32(exposure)


def _rows(data: bytes, height: int, width: int, name: str) -> np.ndarray:
    short = ValueError(f"{name} cannot be read: it is cut short, or its runs do not fit its width")
    raw = np.frombuffer(data, dtype=np.uint8)
    coded = width in RLE_WIDTHS and raw[:4].tolist() == [2, 2, width >> 8, width & 255]
    if not coded:
        if len(raw) < height * width * 4:
            raise short
        return raw[: height * width * 4].reshape(height, width, 4)
    out = np.empty((height, 4, width), dtype=np.uint8)
    at = 0
    for y in range(height):
        if raw[at : at + 4].tolist() != [2, 2, width >> 8, width & 255]:
            raise short
        at += 4
        for c in range(4):
            x = 0
            while x < width:
                if at + 1 >= len(raw):
                    raise short
                count = int(raw[at])
                run = count > 128
                count -= 128 * run
                values = raw[at + 1 : at + 2] if run else raw[at + 1 : at + 1 + count]
                if count == 0 or x + count > width or len(values) < (1 if run else count):
                    raise short
                out[y, c, x : x + count] = values
                at += 1 + len(values)
                x += count
    return out.transpose(0, 2, 1)


# --- OpenEXR ----------------------------------------------------------------------------------------------------------


def _openexr() -> Any:
    try:
        return import_module("OpenEXR")
    except ImportError as error:
        raise ImportError('EXR files need the OpenEXR package: pip install "OpenEXR>=3.3"') from error


def decode_exr(path: Path, max_pixels: int) -> Float[np.ndarray, "H W C"]:
    """The image float32 `[H, W, 1|3|4]`, top row first, of the channels R, G, B, A or Y of the first part of an `.exr`
    file.

    Raises `ValueError` that names the file, `ImportError` with the command that installs what is missing.
    """
    exr, channels = _openexr(), dict[str, np.ndarray]()
    try:
        head = exr.File(str(path), header_only=True).header()
        low, high = head["dataWindow"]
        width, height = (int(b) - int(a) + 1 for a, b in zip(low, high, strict=True))
        if width * height <= max_pixels:
            with exr.File(str(path), separate_channels=True) as file:
                channels = {k: np.array(v.pixels, dtype=np.float32) for k, v in file.channels().items()}
    except Exception as error:  # the package raises whatever its C++ does
        raise ValueError(f"image {path} cannot be read (corrupt or not a picture): {error}") from error
    check_size(f"image {path}", width, height, max_pixels)
    for names in (("R", "G", "B", "A"), ("R", "G", "B"), ("Y",)):
        if all(n in channels for n in names):
            return np.stack([channels[n] for n in names], axis=-1)
    raise ValueError(f"image {path} has no channels R, G, B or Y; it has {', '.join(sorted(channels))}")


def write_exr(path: Path, image: Float[np.ndarray, "H W C"]) -> None:
    """Write float32 `[H, W, 1|3|4]`, top row first, ZIP-compressed."""
    exr = _openexr()
    names = {1: "Y", 3: "RGB", 4: "RGBA"}[image.shape[2]]
    channels = {n: np.ascontiguousarray(image[..., i], dtype=np.float32) for i, n in enumerate(names)}
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, channels) as file:
        file.write(str(path))
