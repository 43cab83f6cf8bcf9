"""Object masks: from a folder of the user's, from alpha, or from a dark or bright background by threshold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu

from ..io.image import srgb_to_linear
from .matte import REACH, refine_rim
from .photo import SUFFIXES, Picture, read_reduced
from .shaded_parts import closed, with_shade, without_holes
from .views import View

FOLDERS = ("masks", "mask")
PART = 0.1  # of the largest component: from this size on another one belongs to the object too
STRAY = 0.025  # of the object's light that a lens may spread over the dark beside it


def mask_beside(folder: Path, picture: Path) -> Path | None:
    """The mask of a picture of the data set: by the same name in a folder `masks` or `mask`, if there is one."""
    return next((path for name in FOLDERS if (path := _mask_in(folder / name, picture))), None)


def add_masks(views: list[View], folder: str | os.PathLike | None = None, left_out: list[str] | None = None) -> str:
    """Give every view its mask and keep only what is around it (:meth:`View.keep`); returns where the masks came from
    ("files", "alpha" or "threshold").

    ``folder`` holds one picture per view with the photograph's name (any of ``SUFFIXES``), bright on the object (or
    with the mask in its alpha). Raises ``ValueError`` that names the file where a picture cannot be read or no mask can
    be had; with ``left_out`` such views are taken out of ``views`` instead, and the sentence goes there.
    """
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(f"mask folder {folder} is not a folder")

    def from_file(view: View) -> None:
        if folder is not None:
            path = _mask_in(Path(folder), view.path)
            if path is None:
                raise ValueError(f"mask folder {folder} has no mask for {view.path.name}")
        else:
            path = view.mask
        picture = view.decode()
        if path is not None:
            alpha = _read_mask(path, view)
        elif picture.alpha is None:
            raise ValueError(f"{view.path} has no mask, though other photographs of the data set have one")
        else:
            alpha = picture.alpha
        _keep(view, picture, alpha)

    if folder is not None or any(v.mask is not None for v in views):
        _each(views, from_file, left_out)
        return "files"
    opaque: list[View] = []

    def from_alpha(view: View) -> None:
        picture = view.decode()
        if picture.alpha is None:
            opaque.append(view)
        else:
            _keep(view, picture, picture.alpha)

    def from_threshold(view: View) -> None:
        picture = view.decode()
        alpha, rgb, doubt = threshold_mask(picture.rgb, view.path)
        _keep(view, Picture(rgb, None, picture.known), alpha, doubt)

    _each(views, from_alpha, left_out)
    if not opaque:
        return "alpha"
    if len(opaque) < len(views) / 2:
        _each(views, lambda v: _refuse_opaque(v) if v in opaque else None, left_out)
        return "alpha"
    _each(views, lambda v: from_threshold(v) if v in opaque else None, left_out)
    return "threshold"


def _each(views: list[View], work: Callable[[View], None], left_out: list[str] | None) -> None:
    for view in list(views):
        try:
            work(view)
        except ValueError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
            views.remove(view)


def _refuse_opaque(view: View) -> None:
    raise ValueError(
        f"{view.path} has an alpha of one everywhere, unlike the others: it shows no outline of the object"
    )


def _keep(view: View, picture: Picture, alpha: torch.Tensor, doubt: torch.Tensor | None = None) -> None:
    """Keep a view whose mask says something: not nothing, and not everything."""
    on = alpha > 0.5
    if not bool(on.any()):
        raise ValueError(f"the mask of {view.path} is empty: the object is nowhere in it")
    if bool(on.all()):
        raise ValueError(f"the mask of {view.path} is all object: it shows no outline")
    if picture.known is not None:
        unknown = ~picture.known
        alpha = alpha.masked_fill(unknown, 0.0)
        doubt = unknown if doubt is None else doubt | unknown
    view.keep(picture.rgb, alpha, doubt)


def _mask_in(folder: Path, picture: Path) -> Path | None:
    """By the picture's name with another suffix, or one more (COLMAP's way); with its own folder before it where names
    repeat."""
    stem = picture.with_suffix("").name
    names = [stem + suffix for suffix in SUFFIXES] + [picture.name + ".png"]
    candidates = [folder / picture.parent.name / n for n in names] + [folder / n for n in names]
    return next((path for path in candidates if path.is_file()), None)


def _read_mask(path: Path, view: View) -> torch.Tensor:
    photo = view.photo
    image = read_reduced(path, photo.factor if photo else 1)
    has_alpha = image.shape[-1] == 4 and bool((image[..., 3] < 1).any())
    mask = image[..., 3] if has_alpha else image[..., :3].mean(dim=-1)
    if tuple(mask.shape) != view.shape:
        (h, w), (ph, pw) = mask.shape, view.shape
        raise ValueError(f"mask {path} is {w}x{h} but its photograph is {pw}x{ph}")
    if photo is not None and photo.lens:
        mask = photo.flatten(mask[..., None], view.camera)[..., 0]
    return mask.contiguous()


def threshold_mask(
    rgb: torch.Tensor, path: Path, smallest: float = 2e-3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An object before a much darker (or brighter) background, in a picture ``[H, W, 3]`` of display values: its mask
    ``[H, W]``, its colours ``[H, W, 3]`` freed of background, and where the mask is in doubt (bool ``[H, W]``).

    Otsu's threshold finds what is surely object; a lower one, at which the histogram between background and object is
    emptiest, adds to it. Then a small closing, the largest components, before a dark background the parts in shade
    (shade.py), no holes below the share ``smallest`` of the object, and the outline to a fraction of a pixel
    (matte.py).
    """
    fault = f"{path} has no alpha and its object does not stand out from its background; give masks with --masks"
    picture = rgb.numpy()
    level = ndimage.gaussian_filter(picture.max(axis=-1).astype(np.float64), 0.7)
    border = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    dark = np.median(border) <= 0.5
    if not dark:
        level = 1 - ndimage.gaussian_filter(picture.min(axis=-1).astype(np.float64), 0.7)
        border = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    if level.max() - level.min() < 0.1:
        raise ValueError(fault)
    high = threshold_otsu(level)
    low = _valley(level, max(float(np.median(border)), 0.02), high)
    labels, _ = ndimage.label(level > low, structure=np.ones((3, 3)))
    sure = np.unique(labels[level > high])
    mask = np.isin(labels, sure[sure > 0])
    mask = ndimage.binary_closing(np.pad(mask, 3, mode="edge"), iterations=2)[3:-3, 3:-3] | mask
    mask = ndimage.binary_opening(np.pad(mask, 3, mode="edge"), iterations=1)[3:-3, 3:-3]
    mask = _parts(mask)
    if not mask.any():
        raise ValueError(fault)
    mask = with_shade(picture, mask, smallest) if dark else without_holes(mask, smallest)
    on_border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    if not 0.002 < mask.mean() < 0.9 or on_border > 0.5:
        raise ValueError(fault)
    doubt = _clefts(picture, mask, smallest)
    alpha, colors = refine_rim(picture, mask, doubt)
    return torch.from_numpy(alpha), torch.from_numpy(colors), torch.from_numpy(doubt)


def _parts(mask: np.ndarray) -> np.ndarray:
    """The mask's largest component, and those not much smaller within the picture: an object may have several parts,
    while what stands around it is small or cut off by the picture's border."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    whole = np.ones(count + 1, dtype=bool)
    whole[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False
    keep = whole & (sizes >= PART * sizes.max())
    keep[np.argmax(sizes)] = True
    keep[0] = False
    return keep[labels]


def _clefts(rgb: np.ndarray, mask: np.ndarray, smallest: float) -> np.ndarray:
    """Pixels between parts of the mask that may be background or the object's deep shadow.

    The background's colour is a Gaussian (of square roots, where noise is even), which is long along brightness and
    thin across: a shadow on the object keeps its tint and lies outside. Where the gap is so narrow that stray light
    and shadow fill it, its colour tells nothing. Elsewhere what sends no more light than a lens strays is background,
    unless it is smaller than the share ``smallest`` of the object; right beside background it is the lens that smears
    the outline.
    """
    reach = max(2, round(0.025 * max(mask.shape)))
    gaps, narrow = closed(mask, reach) & ~mask, closed(mask, max(1, reach * 2 // 5)) & ~mask
    far = ~ndimage.binary_dilation(gaps | mask, iterations=reach)
    if far.sum() < 100:
        return gaps
    root = np.sqrt(ndimage.gaussian_filter(rgb.astype(np.float64), (0.7, 0.7, 0)))
    spread = np.cov(root[far].T) + 1e-4 * np.eye(3)
    difference = root - root[far].mean(axis=0)
    distance = np.sqrt(np.einsum("hwi,ij,hwj->hw", difference, np.linalg.inv(spread), difference))
    light = ndimage.gaussian_filter(srgb_to_linear(torch.from_numpy(rgb.max(axis=-1))).numpy(), 0.7)
    stray = STRAY * np.median(light[mask])
    lit = (light > stray) | (np.median(light[far]) > stray)  # before a bright background the dark is no background
    background = ndimage.binary_opening(~mask & ~narrow & ~(gaps & lit & (distance > 2)), iterations=2)
    labels, count = ndimage.label(background)
    sizes = ndimage.sum_labels(background, labels, np.arange(count + 1))
    background &= (sizes >= smallest * mask.sum())[labels]
    return gaps & ~ndimage.binary_dilation(background, iterations=REACH)


def _valley(level: np.ndarray, background: float, otsu: float) -> float:
    """The emptiest brightness between the background's and Otsu's threshold."""
    counts, edges = np.histogram(level, bins=128, range=(0.0, 1.0))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 2)
    centers = 0.5 * (edges[1:] + edges[:-1])
    between = (centers > background + 0.5 * (otsu - background)) & (centers <= otsu)
    return float(centers[between][np.argmin(smooth[between])]) if between.any() else otsu
