"""Reading posed photographs: one reader per layout, one table of layouts.

Image origin, axes and colour coding of each layout end in its reader: what comes out is :class:`View` with our conventions
(row 0 at the bottom, camera along -z). Every fault of the input is a ``ValueError`` of one sentence that names the
file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .layout_colmap import read_colmap
from .layout_idr import read_idr
from .layout_middlebury import read_middlebury
from .layout_nerf import read_nerf
from .views import View

__all__ = ["LAYOUTS", "View", "held_out", "read_views"]

# What a data set's folder holds -> the reader of that file. A new layout is a file here and a line.
LAYOUTS: dict[str, Callable[[Path], list[View]]] = {
    "transforms_train.json": read_nerf,
    "transforms.json": read_nerf,
    "*_par.txt": read_middlebury,
    "sparse/0/images.bin": read_colmap,
    "sparse/0/images.txt": read_colmap,
    "sparse/images.bin": read_colmap,
    "sparse/images.txt": read_colmap,
    "cameras.npz": read_idr,
}
MASK_FOLDERS = ("masks", "mask")
MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_views(folder: str | os.PathLike) -> list[View]:
    """The views of a data set, whatever its layout. Raises ``ValueError`` that names the file at fault."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"data set {folder} is not a folder")
    for pattern, reader in LAYOUTS.items():
        found = sorted(folder.glob(pattern))
        if found:
            views = reader(found[0])
            _add_mask_files(folder, views)
            if len(views) < 3:
                raise ValueError(f"{found[0]} lists {len(views)} views; a reconstruction needs at least 3")
            return views
    raise ValueError(f"data set {folder} has no known layout: expected one of {', '.join(LAYOUTS)} in it")


def _add_mask_files(folder: Path, views: list[View]) -> None:
    """Where pictures have no alpha: masks of the same name, in a folder `masks` or `mask` of the data set."""
    for view in views:
        if view.alpha is not None or view.mask is not None:
            continue
        names = [view.path.stem + suffix for suffix in MASK_SUFFIXES] + [view.path.name + ".png"]
        candidates = (folder / masks / name for masks in MASK_FOLDERS for name in names)
        view.mask = next((path for path in candidates if path.is_file()), None)


def held_out(count: int, holdout: int) -> list[int]:
    """Indices of ``holdout`` of ``count`` views, spread evenly. At least three views must remain."""
    if not 0 <= holdout <= count - 3:
        raise ValueError(f"--holdout must lie between 0 and {count - 3} for {count} views; got {holdout}")
    return [int((i + 0.5) * count / holdout) for i in range(holdout)]
