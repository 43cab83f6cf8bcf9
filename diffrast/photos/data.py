"""Reading posed photographs: one reader per layout, one table of layouts.

Image origin, axes and colour coding of each layout end in its reader: what comes out is a `View` with our
conventions (row 0 at the bottom, camera along -z). Every fault of the input is a `ValueError` of one sentence that
names the file. A photograph that cannot be used is left out, and said to be, as long as the rest suffices; calibration
that is wrong is not.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from .layout_colmap import read_colmap
from .layout_idr import read_idr
from .layout_krt import read_krt
from .layout_middlebury import read_middlebury
from .layout_nerf import read_nerf
from .masks import add_masks, mask_beside
from .photo import Photo
from .views import FEWEST, Entry, View, same_size

__all__ = ["LAYOUTS", "Capture", "View", "held_out", "load", "read_views"]

TRAIN, TEST = "transforms_train.json", "transforms_test.json"
# What a data set's folder holds -> the reader of that file. A new layout is a file here and a line.
LAYOUTS: dict[str, Callable[[Path], list[Entry]]] = {
    TRAIN: read_nerf,
    "transforms.json": read_nerf,
    "transforms_*.json": read_nerf,
    "*_par.txt": read_middlebury,
    "sparse/0/images.bin": read_colmap,
    "sparse/0/images.txt": read_colmap,
    "sparse/images.bin": read_colmap,
    "sparse/images.txt": read_colmap,
    "cameras.npz": read_idr,
    "cameras_sphere.npz": read_idr,
    "*.txt": read_krt,
}
RESOLUTION = 1600  # pixels of the longer side that are used unless more are asked for
TOTAL = 150_000_000  # pixels of all views together: with the work on a batch, less than 4 GB
FACTORS = sorted({a << k for a in (1, 3) for k in range(12)})  # that photographs are reduced by


@dataclass
class Capture:
    """A data set as it is used.

    Attributes:
        views: With masks.
        layout: The file that was read.
        factor: What the photographs were reduced by.
        source: Where the masks come from.
        left_out: A sentence for each photograph that cannot be used.
    """

    views: list[View]
    layout: Path
    factor: int = 1
    source: str = ""
    left_out: list[str] = field(default_factory=list)


def load(
    folder: str | os.PathLike, masks: str | os.PathLike | None = None, resolution: int | None = None, test: bool = False
) -> Capture:
    """The views of a data set with their masks, of which only what is used is kept in memory.

    Photographs are reduced by a whole number and cropped to the object. Those that are missing, cannot be read, or show
    nothing or nothing but the object are left out with a sentence in `Capture.left_out`.

    Args:
        folder: The data set.
        masks: A folder of masks, see `add_masks`.
        resolution: At most so many pixels along the longer side. None: 1600, and fewer where the views are so many that
            they would take more than about 4 GB.
        test: Read also the views of `transforms_test.json`, marked so.

    Raises:
        ValueError: Calibration is wrong, or fewer than three, or less than half, of the photographs can be used.
    """
    left_out: list[str] = []
    views, layout, count = _open(Path(folder), left_out, test)
    factor = _factor(views, resolution)
    for i, view in enumerate(views):
        if factor > 1 and isinstance(view.source, Photo):
            views[i] = View.of(view.name, view.source.reduced(factor), view.camera, view.mask, view.test)
    source = add_masks(views, masks, left_out) if _enough(views, count, left_out, layout) else ""
    _enough(views, count, left_out, layout)
    return Capture(views, layout, factor, source, left_out)


def read_views(folder: str | os.PathLike) -> list[View]:
    """The views of a data set, whatever its layout, at full size and without masks of files. Nothing is decoded yet.

    Raises:
        ValueError: A file, which is named, is at fault.
    """
    faults: list[str] = []
    views, layout, count = _open(Path(folder), faults)
    if faults:
        raise ValueError(faults[0])
    _enough(views, count, faults, layout)
    return views


def _open(folder: Path, left_out: list[str], test: bool = False) -> tuple[list[View], Path, int]:
    """The views whose files have an image's header, what was read, and how many are listed."""
    if not folder.is_dir():
        raise ValueError(f"data set {folder} is not a folder")
    for pattern, reader in LAYOUTS.items():
        found = sorted(folder.glob(pattern))
        entries = reader(found[0]) if found else []
        if found and (entries or pattern != "*.txt"):
            entries += _test_entries(folder, found[0]) if test else []
            views = _views(folder, found[0], entries, left_out)
            return views, found[0], len(entries)
    raise ValueError(f"data set {folder} has no known layout: expected one of {', '.join(LAYOUTS)} in it")


def _test_entries(folder: Path, layout: Path) -> list[Entry]:
    if layout.name != TRAIN or not (folder / TEST).is_file():
        raise ValueError(f"holdout test: data set {folder} has no {TEST} beside a {TRAIN}")
    return [replace(entry, test=True) for entry in read_nerf(folder / TEST)]


def _views(folder: Path, layout: Path, entries: list[Entry], left_out: list[str]) -> list[View]:
    twice = [path for path, n in Counter(e.image for e in entries).items() if n > 1]
    if twice:
        raise ValueError(f"{layout} lists {twice[0]} more than once: which of its cameras is right?")
    stems = Counter(e.image.stem for e in entries)
    views = []
    for entry in entries:
        path = entry.image
        name = path.stem
        if stems[name] > 1:  # the same name in several folders
            name = path.relative_to(folder).with_suffix("").as_posix() if path.is_relative_to(folder) else str(path)
        try:
            photo = Photo.open(path, entry.lens)
        except ValueError as error:
            left_out.append(f"{error} (listed in {layout})")
            continue
        camera = entry.camera((photo.width, photo.height))
        views.append(View.of(name, photo, camera, entry.mask or mask_beside(folder, path), entry.test))
    same_size(views, layout)
    return views


def _factor(views: list[View], resolution: int | None) -> int:
    if not views:
        return 1
    height, width = views[0].shape
    side, total = (resolution, math.inf) if resolution else (RESOLUTION, TOTAL / len(views))
    fits = (f for f in FACTORS if max(width, height) <= side * f and width * height <= total * f * f)
    return next(fits, FACTORS[-1])


def _enough(views: list[View], count: int, left_out: list[str], layout: Path) -> bool:
    if count < FEWEST:
        raise ValueError(f"{layout} lists {count} views; a reconstruction needs at least {FEWEST}")
    if len(views) < max(FEWEST, count / 2):
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise ValueError(f"{layout}: only {len(views)} of {count} photographs can be used: {left_out[0]}{more}")
    return True


def kept_out(views: list[View], holdout: int | str) -> list[int]:
    """Indices of the views that are not used but judged by: `holdout` of them spread evenly, or for "test" those that
    the data set brings for it.

    Raises:
        ValueError: Fewer than three views would remain.
    """
    if holdout != "test":
        return held_out(len(views), int(holdout))
    held = [i for i, view in enumerate(views) if view.test]
    left = len(views) - len(held)
    if left < FEWEST:
        raise ValueError(f"holdout test leaves {left} views; a reconstruction needs at least {FEWEST}")
    return held


def held_out(count: int, holdout: int) -> list[int]:
    """Indices of `holdout` of `count` views, spread evenly.

    Raises:
        ValueError: Fewer than three views would remain.
    """
    if not 0 <= holdout <= count - FEWEST:
        raise ValueError(f"holdout must lie between 0 and {count - FEWEST} for {count} views; got {holdout}")
    return [int((i + 0.5) * count / holdout) for i in range(holdout)]
