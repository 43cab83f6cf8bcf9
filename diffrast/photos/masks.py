"""Object masks: from a folder of the user's, from alpha, or from a dark or bright background by threshold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.filters import threshold_otsu

from ..io.image import srgb_to_linear
from .matte import REACH, refine_rim
from .photo import SUFFIXES, Kept, Photo, read_reduced
from .shaded_parts import closed, with_shade, without_holes
from .views import View

FOLDERS = ("masks", "mask")
PART = 0.1  # of the largest component: from this size on another one belongs to the object too
STRAY = 0.025  # of the object's light that a lens may spread over the dark beside it


def mask_beside(folder: Path, photograph: Path) -> Path | None:
    """The mask of a photograph of the data set: by the same name in a folder `masks` or `mask`, if there is one."""
    return next((path for name in FOLDERS if (path := _mask_in(folder / name, photograph))), None)


def add_masks(views: list[View], folder: str | os.PathLike | None = None, left_out: list[str] | None = None) -> str:
    """Gives every view its mask and keeps only what is around it.

    Args:
        views: Changed in place: their source becomes a window of 8-bit levels.
        folder: Holds one image per view with the photograph's name (any of `SUFFIXES`), bright on the object, or with
            the mask in its alpha. None: files that the data set brings, alpha, or a threshold.
        left_out: Where given, views that no mask can be had for are taken out of `views`, with a sentence here.

    Returns:
        Where the masks came from: "files", "alpha" or "threshold".

    Raises:
        ValueError: An image, which is named, cannot be read, or no mask can be had, and `left_out` is None.
    """
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(f"mask folder {folder} is not a folder")
    opaque: list[View] = []

    def from_file(view: View) -> None:
        path = view.mask if folder is None else _mask_in(Path(folder), view.path)
        if path is None and folder is not None:
            raise ValueError(f"mask folder {folder} has no mask for {view.path.name}")
        pixels = view.load()
        alpha = pixels.alpha if path is None else _read_mask(path, view)
        if alpha is None:
            raise ValueError(f"{view.path} has no mask, though other photographs of the data set have one")
        _keep(view, pixels.rgb, alpha, pixels.doubt)

    def from_alpha(view: View) -> None:
        pixels = view.load()
        if pixels.alpha is None:
            opaque.append(view)
        else:
            _keep(view, pixels.rgb, pixels.alpha, pixels.doubt)

    def refuse(view: View) -> None:
        raise ValueError(
            f"{view.path} has an alpha of one everywhere, unlike the others: it shows no outline of the object"
        )

    def from_threshold(view: View) -> None:
        pixels = view.load()
        alpha, rgb, doubt = threshold_mask(pixels.rgb, view.path)
        _keep(view, rgb, alpha, doubt if pixels.doubt is None else doubt | pixels.doubt)

    def each(some: list[View], give_mask: Callable[[View], None]) -> None:
        for view in list(some):
            try:
                give_mask(view)
            except ValueError as error:
                if left_out is None:
                    raise
                left_out.append(str(error))
                views.remove(view)

    if folder is not None or any(v.mask is not None for v in views):
        each(views, from_file)
        return "files"
    each(views, from_alpha)
    few = len(opaque) < len(views) / 2
    each(opaque, refuse if few else from_threshold)
    return "alpha" if few else "threshold"


def _keep(view: View, rgb: torch.Tensor, alpha: torch.Tensor, doubt: torch.Tensor | None) -> None:
    """Keeps a view whose mask says something: not nothing, and not everything."""
    on = alpha > 0.5
    if not bool(on.any()):
        raise ValueError(f"the mask of {view.path} is empty: the object is nowhere in it")
    if bool(on.all()):
        raise ValueError(f"the mask of {view.path} is all object: it shows no outline")
    view.source = Kept.of(rgb, alpha if doubt is None else alpha.masked_fill(doubt, 0.0), doubt)


def _mask_in(folder: Path, photograph: Path) -> Path | None:
    """By the photograph's name with another suffix, or one more (COLMAP's way); with its own folder before it where
    names repeat."""
    stem = photograph.with_suffix("").name
    names = [stem + suffix for suffix in SUFFIXES] + [photograph.name + ".png"]
    candidates = [folder / photograph.parent.name / n for n in names] + [folder / n for n in names]
    return next((path for path in candidates if path.is_file()), None)


def _read_mask(path: Path, view: View) -> torch.Tensor:
    photo = view.source if isinstance(view.source, Photo) else None
    image = read_reduced(path, photo.factor if photo else 1)
    has_alpha = image.shape[-1] == 4 and bool((image[..., 3] < 1).any())
    mask = image[..., 3] if has_alpha else image[..., :3].mean(dim=-1)
    if tuple(mask.shape) != view.shape:
        (h, w), (ph, pw) = mask.shape, view.shape
        raise ValueError(f"mask {path} is {w}x{h} but its photograph is {pw}x{ph}")
    return (photo.flatten(mask[..., None])[..., 0] if photo else mask).contiguous()


def threshold_mask(
    rgb: Float[torch.Tensor, "H W 3"], path: Path, smallest: float = 2e-3
) -> tuple[Float[torch.Tensor, "H W"], Float[torch.Tensor, "H W 3"], Bool[torch.Tensor, "H W"]]:
    """The mask of an object before a much darker (or brighter) background.

    Otsu's threshold finds what is surely object; a lower one, at which the histogram between background and object is
    emptiest, adds to it. Then a small closing, the largest components, before a dark background the parts in shade
    (shaded_parts.py), no small holes, and the outline to a fraction of a pixel (matte.py).

    Args:
        rgb: The photograph, display values.
        path: Its file, for errors.
        smallest: Holes below this share of the object are filled.

    Returns:
        The mask, the photograph with its rim freed of background, and where the mask is in doubt.

    Raises:
        ValueError: Nothing stands out from the background.
    """
    fault = f"{path} has no alpha and its object does not stand out from its background; it needs a mask"
    image = rgb.numpy()
    level = ndimage.gaussian_filter(image.max(axis=-1).astype(np.float64), 0.7)
    border = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    dark = np.median(border) <= 0.5
    if not dark:
        level = 1 - ndimage.gaussian_filter(image.min(axis=-1).astype(np.float64), 0.7)
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
    mask = with_shade(image, mask, smallest) if dark else without_holes(mask, smallest)
    on_border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    if not 0.002 < mask.mean() < 0.9 or on_border > 0.5:
        raise ValueError(fault)
    doubt = _clefts(image, mask, smallest)
    alpha, colors = refine_rim(image, mask, doubt)
    return torch.from_numpy(alpha), torch.from_numpy(colors), torch.from_numpy(doubt)


def _parts(mask: np.ndarray) -> np.ndarray:
    """The mask's largest component, and those not much smaller within the image: an object may have several parts,
    while what stands around it is small or cut off by the image's border."""
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
    unless it is smaller than the share `smallest` of the object; right beside background it is the lens that smears
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
