"""A screen in memory (Xvfb), and what is on it."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffrast.io.image import from_uint8

SIZE = (320, 240)


@dataclass
class Screen:
    """A display, and the file in which its server keeps the pixels (XWD: a header of big-endian numbers, colours,
    rows)."""

    name: str
    file: Path

    def picture(self) -> torch.Tensor:
        data = self.file.read_bytes()
        head = struct.unpack(">25I", data[:100])
        (length, height, stride, colours) = (head[i] for i in (0, 5, 12, 19))
        rows = np.frombuffer(data, np.uint8, stride * height, length + 12 * colours)
        return from_uint8(rows.reshape(height, stride // 4, 4)[:, : SIZE[0], 2::-1].copy(), linear=False)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DISPLAY": self.name, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
