"""Films: frames to a file and back, with the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .atomic import atomic_path
from .image import from_uint8, to_uint8

CODECS = {".mp4": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}


def save_video(
    path: str | os.PathLike[str],
    frames: Iterable[Float[Tensor, "H W 3"]],
    *,
    fps: float = 30,
    quality: float = 7,
    linear: bool = True,
) -> int:
    """Write frames `[H, W, 3]`, row 0 at the bottom, as `.mp4`, `.mkv` (H.264) or `.webm` (VP9); returns their number.

    Frames may come from a generator: one at a time is held. Odd sizes are made even by repeating the last row or
    column. `quality` goes from 0 to 10; `linear` as for `save_image`. The file appears whole or not at all.
    """
    import imageio_ffmpeg

    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise ValueError(f"save_video(): expected a path that ends in {', '.join(CODECS)} but got {path}")
    count, size, sink = 0, (0, 0), None
    with atomic_path(path) as temporary:
        try:
            for frame in frames:
                if frame.ndim != 3 or frame.shape[2] != 3:
                    raise ValueError(f"save_video(): frame {count} must be [H, W, 3]; got {list(frame.shape)}")
                levels = to_uint8(frame, linear=linear)
                levels = np.pad(levels, ((0, levels.shape[0] % 2), (0, levels.shape[1] % 2), (0, 0)), mode="edge")
                if sink is None:
                    size = levels.shape[:2]
                    sink = imageio_ffmpeg.write_frames(
                        str(temporary),
                        (size[1], size[0]),
                        fps=fps,
                        codec=CODECS[path.suffix.lower()],
                        quality=quality,
                        macro_block_size=2,
                        ffmpeg_log_level="error",
                    )
                    sink.send(None)
                if levels.shape[:2] != size:
                    raise ValueError(
                        f"save_video(): all frames must have one size; frame 0 is {size[1]}x{size[0]} and frame "
                        f"{count} is {levels.shape[1]}x{levels.shape[0]}"
                    )
                sink.send(np.ascontiguousarray(levels))
                count += 1
        finally:
            if sink is not None:
                sink.close()
        if not count:
            raise ValueError("save_video(): frames must not be empty")
    return count


def load_video(path: str | os.PathLike[str], *, linear: bool = True) -> Float[Tensor, "N H W 3"]:
    """All frames float32 `[N, H, W, 3]`, row 0 at the bottom.

    Raises:
        ValueError: the file, which is named, cannot be read.
    """
    import imageio_ffmpeg

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"video {path} does not exist")
    try:
        source = imageio_ffmpeg.read_frames(str(path))
        width, height = next(source)["size"]
        frames = [np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3) for data in source]
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"video {path} cannot be read: {str(error).strip().splitlines()[-1:]}") from error
    if not frames:
        raise ValueError(f"video {path} holds no frame")
    return torch.stack([from_uint8(frame, linear=linear) for frame in frames])
