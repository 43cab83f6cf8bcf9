"""Object masks: from a folder of the user's, from alpha, or from a dark or bright background by threshold."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu

from ..scene.image import load_image
from .data import MASK_SUFFIXES, View
from .matte import refine_rim


def add_masks(views: list[View], folder: str | os.PathLike | None = None) -> str:
    """Give every view its ``alpha``; returns where the masks came from ("files", "alpha" or "threshold").

    ``folder`` holds one picture per view with the photograph's name (any of ``MASK_SUFFIXES``), bright on the object (or
    with the mask in its alpha). Raises ``ValueError`` that names the file where no mask can be had.
    """
    if folder is not None:
        for view in views:
            view.alpha = _read_mask(_mask_in(Path(folder), view), view)
        source = "files"
    elif any(v.mask is not None for v in views):
        for view in views:
            if view.alpha is None:
                if view.mask is None:
                    raise ValueError(
                        f"{view.path} has no mask, though other photographs of the data set have one"
                    )
                view.alpha = _read_mask(view.mask, view)
        source = "files"
    elif all(v.alpha is not None for v in views):
        source = "alpha"
    else:
        for view in views:
            if view.alpha is None:
                view.alpha, view.rgb, view.doubt = threshold_mask(view)
        source = "threshold"
    for view in views:
        assert view.alpha is not None
        if not bool((view.alpha > 0.5).any()):
            raise ValueError(f"the mask of {view.path} is empty: the object is nowhere in it")
    return source


def _mask_in(folder: Path, view: View) -> Path:
    if not folder.is_dir():
        raise ValueError(f"mask folder {folder} is not a folder")
    for suffix in MASK_SUFFIXES:
        path = folder / (view.path.stem + suffix)
        if path.is_file():
            return path
    raise ValueError(f"mask folder {folder} has no mask for {view.path.name}")


def _read_mask(path: Path, view: View) -> torch.Tensor:
    image = load_image(path, linear=False)
    has_alpha = image.shape[-1] == 4 and bool((image[..., 3] < 1).any())
    mask = image[..., 3] if has_alpha else image[..., :3].mean(dim=-1)
    if mask.shape != view.rgb.shape[:2]:
        raise ValueError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]} but its photograph is "
            f"{view.camera.width}x{view.camera.height}"
        )
    return mask.contiguous()


def threshold_mask(view: View, smallest: float = 2e-3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An object before a much darker (or brighter) background: its mask ``[H, W]``, its colours ``[H, W, 3]`` freed of
    background, and where the mask is in doubt (bool ``[H, W]``).

    Otsu's threshold finds what is surely object; a lower one, at which the histogram between background and object is
    emptiest, adds its shaded parts where they touch. Then a small closing, the largest component, holes below the share
    ``smallest`` of the object (real openings are larger), and the outline to a fraction of a pixel (matte.py).
    """
    fault = f"{view.path} has no alpha and its object does not stand out from its background; give masks with --masks"
    level = ndimage.gaussian_filter(view.rgb.numpy().max(axis=-1).astype(np.float64), 0.7)
    border = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    if np.median(border) > 0.5:
        level = 1 - ndimage.gaussian_filter(view.rgb.numpy().min(axis=-1).astype(np.float64), 0.7)
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
    labels, count = ndimage.label(mask)
    if count == 0:
        raise ValueError(fault)
    mask = labels == 1 + np.argmax(ndimage.sum_labels(mask, labels, np.arange(1, count + 1)))
    holes, count = ndimage.label(~mask)
    if count:
        sizes = ndimage.sum_labels(~mask, holes, np.arange(count + 1))
        mask |= (sizes < smallest * mask.sum())[holes] & ~mask
    on_border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    if not 0.002 < mask.mean() < 0.9 or on_border > 0.5:
        raise ValueError(fault)
    doubt = _clefts(view.rgb.numpy(), mask)
    alpha, colors = refine_rim(view.rgb.numpy(), mask, doubt)
    return torch.from_numpy(alpha), torch.from_numpy(colors), torch.from_numpy(doubt)


def _clefts(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels between parts of the mask that may be background or the object's deep shadow.

    The background's colour is a Gaussian (of square roots, where noise is even), which is long along brightness and
    thin across: a shadow on the object keeps its tint and lies outside. Where the gap is so narrow that stray light
    and shadow fill it, its colour tells nothing.
    """
    reach = max(2, round(0.025 * max(mask.shape)))
    closed, narrow = _closed(mask, reach) & ~mask, _closed(mask, max(1, reach * 2 // 5)) & ~mask
    far = ~ndimage.binary_dilation(closed | mask, iterations=reach)
    if far.sum() < 100:
        return closed
    root = np.sqrt(ndimage.gaussian_filter(rgb.astype(np.float64), (0.7, 0.7, 0)))
    spread = np.cov(root[far].T) + 1e-4 * np.eye(3)
    difference = root - root[far].mean(axis=0)
    distance = np.sqrt(np.einsum("hwi,ij,hwj->hw", difference, np.linalg.inv(spread), difference))
    return narrow | (closed & (distance > 2))


def _closed(mask: np.ndarray, reach: int) -> np.ndarray:
    """The mask with what a disk of radius ``reach`` pixels cannot enter."""
    disk = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    pad = reach + 1
    return ndimage.binary_closing(np.pad(mask, pad), disk)[pad:-pad, pad:-pad]


def _valley(level: np.ndarray, background: float, otsu: float) -> float:
    """The emptiest brightness between the background's and Otsu's threshold."""
    counts, edges = np.histogram(level, bins=128, range=(0.0, 1.0))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 2)
    centers = 0.5 * (edges[1:] + edges[:-1])
    between = (centers > background + 0.5 * (otsu - background)) & (centers <= otsu)
    return float(centers[between][np.argmin(smooth[between])]) if between.any() else otsu
