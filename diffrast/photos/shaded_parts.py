"""The object's parts in shade, which a threshold between bright object and dark background leaves out.

They may be darker than the lit background, but their colours are not among the background's: a histogram of what lies
far from the object knows those. What is left to tell apart is the object's light, which the lens smears over its rim
and which falls on the background beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage

from ..io.image import srgb_to_linear
from .matte import REACH

CELLS = 48  # of the histogram along the square root of each channel's display value, where noise is even
APART = 3.0  # cells from the nearest colour of the background
COMMON = 2e-5  # the least share of the background's pixels that makes a colour one of its own
FAR = 0.25  # of the object's size from its lit part there is background only
FAINT = 0.01  # of the object's light: less may be a reflection within the lens
HAZE = 0.08  # the same between parts of the object, whose light comes from two sides
GLOW = 3.0  # times as bright as the background around, at most, is a narrow fringe of it that the object's light tints


def with_shade(
    rgb: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], smallest: float
) -> Bool[np.ndarray, "H W"]:
    """A mask of the lit object in an image (display values) before a dark background, grown over the parts in shade
    that touch it; holes below the share `smallest` of the object are filled.

    Where no background lies far from the object, nothing is known of its colours, and only holes are filled.
    """
    reach = max(2, round(0.025 * max(mask.shape)))
    smooth = ndimage.gaussian_filter(rgb.astype(np.float64), (0.7, 0.7, 0))
    gaps = ndimage.binary_dilation(closed(mask, reach) & ~mask, iterations=reach)
    distance = distance_to_palette(smooth, ndimage.distance_transform_edt(~mask) > FAR * np.sqrt(mask.sum()))
    light = srgb_to_linear(torch.from_numpy(smooth.max(axis=-1))).numpy()
    foreign = (distance > APART) & (light > np.where(gaps, HAZE, FAINT) * np.median(light[mask]))
    around = local_mean(light, ~mask & ~gaps & ~foreign, reach)
    wide = ~closed(~foreign | mask, reach // 2)
    foreign &= gaps | wide | (light > GLOW * around)
    # Where an edge is smeared, the true one lies where half of the light beside it is left.
    level = np.where(foreign, smooth.max(axis=-1), 0)
    smeared = level < 0.5 * ndimage.maximum_filter(level, size=2 * REACH + 1)
    grown = mask | ndimage.binary_opening(foreign & ~smeared & ~mask)
    grown |= closed(grown, REACH) & foreign  # between lit and shaded parts nothing is smeared over a rim
    labels, _ = ndimage.label(grown)
    touching = np.unique(labels[mask])
    grown = mask | ndimage.binary_opening(np.isin(labels, touching[touching > 0]))
    return without_holes(grown, smallest)


def distance_to_palette(rgb: Float[np.ndarray, "H W 3"], known: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """How far, in cells of the histogram, the colour of each pixel is from the nearest that is common where `known`;
    0 everywhere, where less than a hundred pixels are known."""
    if known.sum() < 100:
        return np.zeros(known.shape)
    cell = np.minimum(np.sqrt(np.clip(rgb, 0, 1)) * CELLS, CELLS - 1).astype(np.intp)
    count = np.zeros((CELLS,) * 3, dtype=np.int64)
    np.add.at(count, tuple(cell[known].T), 1)
    common = count >= max(2, COMMON * known.sum())
    if not common.any():
        return np.zeros(known.shape)
    return ndimage.distance_transform_edt(~common)[tuple(np.moveaxis(cell, -1, 0))]


def local_mean(
    image: Float[np.ndarray, "H W"], known: Bool[np.ndarray, "H W"], sigma: float
) -> Float[np.ndarray, "H W"]:
    """The mean of the image over what is `known` around each pixel, by a Gaussian; 0 where nothing is."""
    weight = ndimage.gaussian_filter(known.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(np.where(known, image, 0.0), sigma)
    return np.where(weight > 1e-3, total / np.maximum(weight, 1e-3), 0.0)


def closed(mask: Bool[np.ndarray, "H W"], reach: int) -> Bool[np.ndarray, "H W"]:
    """The mask with what a disk of radius `reach` pixels cannot enter: by distances, which cost the same for any
    radius."""
    pad = reach + 1
    wide = ndimage.distance_transform_edt(~np.pad(mask, pad)) <= reach
    return (ndimage.distance_transform_edt(np.pad(wide, 1)) > reach)[1 + pad : -1 - pad, 1 + pad : -1 - pad]


def without_holes(mask: Bool[np.ndarray, "H W"], smallest: float) -> Bool[np.ndarray, "H W"]:
    """The mask with its holes filled that are smaller than the share `smallest` of it: real openings are larger."""
    holes, count = ndimage.label(~mask)
    sizes = ndimage.sum_labels(~mask, holes, np.arange(count + 1))
    return mask | ((sizes < smallest * mask.sum())[holes] & ~mask)
