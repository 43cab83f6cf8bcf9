"""A posed photograph, and what readers of all layouts check."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float

from ..camera.camera import Camera
from .photo import SUFFIXES, Masked, Photo, Pixels, Source

FEWEST = 3  # views that a reconstruction needs


@dataclass(eq=False)
class View:
    """One posed photograph. Its pixels are decoded by `load()` each time that it is called: call it once.

    Attributes:
        name: Unique in the data set.
        path: The photograph's file.
        camera: Of the image that `load` gives.
        source: Where the pixels come from: the file, until a mask is known, then a window of 8-bit levels; or `Pixels`.
        turn: Quarter turns, counter-clockwise, that the stored image has over its calibration.
        mask: A file that holds the mask, where the data set brings one.
        test: The data set brings it to judge by.
    """

    name: str
    path: Path
    camera: Camera
    source: Source
    turn: int = 0
    mask: Path | None = None
    test: bool = False

    @classmethod
    def of(cls, name: str, photo: Photo, full: Camera, mask: Path | None = None, test: bool = False) -> View:
        """The view of a photograph whose file has the camera `full`."""
        source, camera = photo.taken_by(full)
        return cls(name, photo.path, camera, source, mask=mask, test=test)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image, without decoding it."""
        return self.source.shape

    def load(self) -> Pixels:
        """Colours, coverage and doubt.

        Raises:
            ValueError: The file, which is named, cannot be read.
        """
        return self.source.load()

    def load_mask(self) -> Float[torch.Tensor, "*shape"]:
        """The object's coverage, without its colours.

        Raises:
            ValueError: No mask is known, or the file cannot be read.
        """
        alpha, _ = self.source.load_mask()
        if alpha is None:
            raise ValueError(f"{self.path} has no mask")
        return alpha

    def with_mask(self, alpha: Float[torch.Tensor, "H W"]) -> View:
        """The same view with another mask."""
        return replace(self, source=Masked(self.source, alpha))

    def load_doubt(self) -> Bool[torch.Tensor, "H W"] | None:
        """Pixels outside of the mask that may yet show the object; None: no doubt."""
        return self.source.load_mask()[1]


@dataclass(frozen=True)
class Entry:
    """What a layout says of one photograph.

    Attributes:
        image: Its file.
        camera: Makes its camera for the (width, height) that the file has.
        lens: Distortion (k1, k2, p1, p2).
        mask: The mask's file, where the data set names one.
        test: It is there to judge by.
    """

    image: Path
    camera: Callable[[tuple[int, int]], Camera]
    lens: tuple[float, ...] = ()
    mask: Path | None = None
    test: bool = False


def image_path(folder: Path, name: str, listed_in: Path) -> Path:
    """The path of an image that a data set names, with or without its extension; it must lie in the folder. Whether it
    is there is found out when it is opened."""
    relative = Path(os.path.normpath(name.replace("\\", "/")))
    path = folder / relative
    if relative.is_absolute() or relative.parts[:1] == ("..",):
        raise ValueError(f"{listed_in} names an image outside the data set's folder: {name}")
    candidates = (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES))
    return next((c for c in candidates if c.is_file()), path)


def finite(values: Any, shape: tuple[int, ...], what: str, path: Path) -> Float[torch.Tensor, "*shape"]:
    """Numbers of a file as float64 of this shape (a `[4, 4]` where `[3, 4]` is asked for passes), all finite."""
    try:
        t = torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        t = torch.empty(0)
    if tuple(t.shape) not in (shape, (4, 4) if shape == (3, 4) else shape):
        raise ValueError(f"{path}: {what} must hold {'x'.join(map(str, shape))} numbers")
    if not torch.isfinite(t).all():
        raise ValueError(f"{path}: {what} holds a number that is not finite")
    return t


def number(value: Any, what: str, path: Path) -> float:
    """A finite number of a file."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{path}: {what} must be a finite number; got {value!r}")
    return float(value)


def check_rotation(rotation: Float[torch.Tensor, "3 3"], what: str, path: Path) -> Float[torch.Tensor, "*shape"]:
    """The rotation that files with few digits mean. Refuses what is none: a mirrored or scaled pose would silently
    reconstruct a wrong object."""
    gram = rotation @ rotation.T
    if (gram - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or torch.linalg.det(rotation) < 0:
        raise ValueError(f"{path}: the rotation part of {what} is not a rotation")
    u, _, vh = torch.linalg.svd(rotation)
    return u @ vh


def same_size(views: list[View], path: Path) -> None:
    """Refuses photographs of different sizes."""
    for v in views[1:]:
        if v.shape != views[0].shape:
            (ha, wa), (hb, wb) = views[0].shape, v.shape
            raise ValueError(
                f"image sizes disagree: {views[0].path} is {wa}x{ha} and {v.path} is {wb}x{hb} (both listed in {path})"
            )
