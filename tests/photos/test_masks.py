"""Masks by threshold, of photographs that bring none (reconstruct/masks.py)."""

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from diffrast.photos.masks import threshold_mask


def test_parts_that_do_not_touch_belong_to_the_object_and_what_stands_around_does_not():
    y, x = np.mgrid[0:200, 0:300]
    large, small = np.hypot(x - 90, y - 100) < 45, np.hypot(x - 200, y - 100) < 30
    stand, crumb = x > 280, np.hypot(x - 250, y - 170) < 5
    picture = np.random.default_rng(0).uniform(0, 0.03, (200, 300, 1)) * np.ones(3)
    picture[large | small | stand | crumb] = [0.7, 0.6, 0.5]
    alpha, _, _ = threshold_mask(torch.from_numpy(picture.astype(np.float32)), Path("two.png"))
    np.testing.assert_array_equal(alpha.numpy() > 0.5, large | small)


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
