"""A posed photograph, and what readers of all layouts check."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..camera.camera import Camera
from .photo import SUFFIXES, Photo, Picture, Window, box_around


class Deferred:
    """A field of a :class:`View`: a tensor, or an object whose ``load()`` makes it anew each time that it is asked
    for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, view: Any, owner: type | None = None) -> Any:
        if view is None:
            return self
        value = view.__dict__[self.name]
        return value.load() if hasattr(value, "load") else value

    def __set__(self, view: Any, value: Any) -> None:
        view.__dict__[self.name] = value


@dataclass(frozen=True)
class Channel:
    """One part of a photograph that is decoded when it is asked for."""

    photo: Photo
    camera: Camera
    part: str

    @property
    def shape(self) -> tuple[int, int]:
        return self.photo.shape

    def load(self) -> torch.Tensor | None:
        return getattr(self.photo.decode(self.camera), self.part)


@dataclass(eq=False)
class View:
    """One photograph. ``rgb`` float32 ``[H, W, 3]``, display (sRGB-coded) values in 0..1, straight alpha;
    ``alpha`` float32 ``[H, W]`` coverage of the object, None until a mask is known; ``doubt`` bool ``[H, W]``: pixels
    outside of the mask that may yet show the object (None: no doubt); ``turn``: quarter turns, counter-clockwise, that
    the stored picture has over its calibration; ``mask``: a file that holds the mask, where the data set brings one;
    ``test``: the data set brings it to judge by.

    The three pictures of a view that was read from a file are made anew each time that they are asked for: take them
    once. They come from the file until :meth:`keep` has reduced them to a window of 8-bit levels."""

    name: str
    path: Path
    rgb: torch.Tensor
    alpha: torch.Tensor | None
    camera: Camera
    doubt: torch.Tensor | None = None
    turn: int = 0
    mask: Path | None = None
    test: bool = False

    @classmethod
    def of(cls, name: str, photo: Photo, full: Camera, mask: Path | None = None, test: bool = False) -> View:
        """The view of a photograph whose file has the camera ``full``."""
        camera = photo.camera(full)
        rgb: Any = Channel(photo, camera, "rgb")
        alpha: Any = Channel(photo, camera, "alpha")
        return cls(name, photo.path, rgb, alpha, camera, mask=mask, test=test)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture, without decoding it."""
        height, width = self.__dict__["rgb"].shape[:2]
        return height, width

    @property
    def photo(self) -> Photo | None:
        """The file, as long as nothing of it is kept."""
        stored = self.__dict__["rgb"]
        return stored.photo if isinstance(stored, Channel) else None

    def decode(self) -> Picture:
        """Colours and alpha at once."""
        photo = self.photo
        return Picture(self.rgb, self.alpha) if photo is None else photo.decode(self.camera)

    def keep(self, rgb: torch.Tensor, alpha: torch.Tensor, doubt: torch.Tensor | None = None) -> None:
        """From now on the view is this: what lies around its object, in 8-bit levels."""
        box = box_around(alpha, doubt)
        kept = {"rgb": rgb, "alpha": alpha, "doubt": doubt}
        self.__dict__.update({k: None if image is None else Window.of(image, box) for k, image in kept.items()})

    def changed(self, **fields: Any) -> View:
        """The same view with other fields; pictures are not decoded for it (``dataclasses.replace`` would)."""
        return View(**{**self.__dict__, **fields})


for _name in ("rgb", "alpha", "doubt"):
    setattr(View, _name, Deferred(_name))


@dataclass(frozen=True)
class Entry:
    """What a layout says of one photograph: its file, its camera for a picture of ``(width, height)`` as the file has,
    the distortion ``lens`` (k1, k2, p1, p2), and its mask's file where the data set names one; ``test``: it is there to
    judge by."""

    picture: Path
    camera: Callable[[int, int], Camera]
    lens: tuple[float, ...] = ()
    mask: Path | None = None
    test: bool = False


def picture_path(folder: Path, name: str, listed_in: Path) -> Path:
    """The path of a picture that a data set names, with or without its extension; it must lie in the folder. Whether it
    is there is found out when it is opened."""
    relative = Path(os.path.normpath(name.replace("\\", "/")))
    path = folder / relative
    if relative.is_absolute() or relative.parts[:1] == ("..",):
        raise ValueError(f"{listed_in} names an image outside the data set's folder: {name}")
    candidates = (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES))
    return next((c for c in candidates if c.is_file()), path)


def finite(values, shape: tuple[int, ...], what: str, path: Path) -> torch.Tensor:
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
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{path}: {what} must be a finite number; got {value!r}")
    return float(value)


def check_rotation(rotation: torch.Tensor, what: str, path: Path) -> torch.Tensor:
    """The rotation that files with few digits mean. Refuses what is none: a mirrored or scaled pose would silently
    reconstruct a wrong object."""
    gram = rotation @ rotation.T
    if (gram - torch.eye(3, dtype=torch.float64)).abs().max() > 1e-2 or torch.linalg.det(rotation) < 0:
        raise ValueError(f"{path}: the rotation part of {what} is not a rotation")
    u, _, vh = torch.linalg.svd(rotation)
    return u @ vh


def same_size(views: list[View], path: Path) -> None:
    for v in views[1:]:
        if v.shape != views[0].shape:
            (ha, wa), (hb, wb) = views[0].shape, v.shape
            raise ValueError(
                f"image sizes disagree: {views[0].path} is {wa}x{ha} and {v.path} is {wb}x{hb} (both listed in {path})"
            )
