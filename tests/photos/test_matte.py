"""The rim of a mask, to a fraction of a pixel (reconstruct/matte.py)."""

import numpy as np
from scipy import ndimage

from diffrast.photos.matte import refine_rim


def test_the_rim_of_a_smeared_disk_is_placed_where_it_was():
    """A disk of known radius, smeared as by a lens: a low threshold draws it too large, the matte within half a
    pixel."""
    y, x = np.mgrid[0:120, 0:160] + 0.5
    inside = np.clip(40.25 - np.hypot(x - 80, y - 60) + 0.5, 0, 1)
    photograph = ndimage.gaussian_filter(inside, 1.5)[..., None] * np.array([0.9, 0.7, 0.5]) + 0.02
    mask = photograph.max(-1) > 0.15
    alpha, colors = refine_rim(photograph, mask, np.zeros_like(mask))
    assert np.sqrt(mask.sum() / np.pi) > 41.1
    assert abs(np.sqrt(alpha.sum() / np.pi) - 40.25) < 0.5
    assert photograph[mask][:, 0].min() < 0.2  # the rim is mostly background
    assert colors[alpha > 0.5][:, 0].min() > 0.65


def test_beside_doubt_the_rim_stays():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    rgb = ndimage.gaussian_filter(mask.astype(float), 1.5)[..., None].repeat(3, -1)
    alpha, colors = refine_rim(rgb, mask, ~mask)
    np.testing.assert_array_equal(alpha, mask)
    np.testing.assert_array_equal(colors, rgb.astype(np.float32))
