"""The rim of a mask, to a fraction of a pixel (reconstruct/matte.py)."""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from diffrast.reconstruct.masks import threshold_mask
from diffrast.reconstruct.matte import refine_rim


def test_the_rim_of_a_smeared_disk_is_placed_where_it_was():
    """A disk of known radius, smeared as by a lens: a low threshold draws it too large, the matte within half a pixel."""
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


def posts(gap_light: float) -> tuple[np.ndarray, np.ndarray]:
    """Two bright posts 10 pixels apart under a lintel, before black cloth with some gray; between them a yellowish
    glimmer of ``gap_light`` times the object's display value. Returns the picture and the gap's middle."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 0.04, (200, 240, 1)) * np.ones(3)
    color = np.array([0.8, 0.6, 0.4])
    gap = np.zeros((200, 240), bool)
    gap[60:150, 114:124] = True
    picture[60:170, 80:160] = color
    picture[gap] = gap_light * color * np.array([1.0, 0.5, 0.1])
    return picture.astype(np.float32), ndimage.binary_erosion(gap, iterations=2)


def test_a_gap_as_dark_as_stray_light_is_background():
    picture, gap = posts(0.08)
    alpha, _, doubt = threshold_mask(torch.from_numpy(picture), Path("posts.png"))
    assert not alpha.numpy()[gap].any()
    assert not doubt.numpy()[gap].any()


def test_a_gap_that_may_be_shadow_is_in_doubt():
    picture, gap = posts(0.27)
    alpha, _, doubt = threshold_mask(torch.from_numpy(picture), Path("posts.png"))
    assert not alpha.numpy()[gap].any()
    assert doubt.numpy()[gap].mean() > 0.8


def test_nooks_of_the_outline_are_not_in_doubt():
    """A lens smears what is a few pixels wide: beside open background there is no doubt of shadow."""
    picture, _ = posts(0.0)
    picture[100:103, 76:80] = picture[100, 90]  # a small bump, which makes two nooks
    _, _, doubt = threshold_mask(torch.from_numpy(picture), Path("posts.png"))
    assert not doubt.numpy()[:, :84].any()
