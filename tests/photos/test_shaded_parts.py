"""Parts of an object in shade before a dark background (reconstruct/shade.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffrast.photos.masks import threshold_mask
from diffrast.photos.shaded_parts import closed, distance_to_palette, without_holes

LIT, SHADED = np.array([0.8, 0.65, 0.4]), np.array([0.17, 0.11, 0.04])


def photograph(cloth: float = 0.22, smear: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box of stone on lit gray cloth before the black, one of its sides in shade, darker than the cloth: the picture,
    and where the box is, and its shaded side."""
    rng = np.random.default_rng(0)
    box, side = np.zeros((240, 200), bool), np.zeros((240, 200), bool)
    box[40:200, 60:130] = True
    side[40:200, 110:130] = True
    picture = np.zeros((240, 200, 3))
    picture[160:] = cloth * rng.uniform(0.3, 1.0, (1, 200, 1)) * np.array([1.0, 0.9, 0.92])
    picture[box] = LIT
    picture[side] = SHADED
    picture = ndimage.gaussian_filter(picture, (smear, smear, 0)) + rng.uniform(0, 0.02, picture.shape)
    return picture.astype(np.float32), box, side


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("cloth", [0.0, 0.1, 0.22])
@pytest.mark.parametrize("smear", [0.3, 1.0, 1.5])
def test_a_side_in_shade_belongs_to_the_object(cloth, smear):
    picture, box, side = photograph(cloth, smear)
    if cloth > SHADED.max():
        assert (
            picture[160:, :50].max() > picture[side][:, 0].mean()
        )  # no threshold on brightness has the one without the other
    alpha, _, doubt = threshold_mask(torch.from_numpy(picture), Path("box.png"))
    assert iou(alpha.numpy() > 0.5, box) > 0.985
    assert not doubt.numpy()[ndimage.binary_erosion(box, iterations=4)].any()


def test_what_has_the_backgrounds_colour_does_not():
    """A side that is gray like the cloth, and as dark, cannot be told from it."""
    picture, box, side = photograph()
    picture[side] = picture[180, :40].mean()
    alpha, _, _ = threshold_mask(torch.from_numpy(picture), Path("box.png"))
    assert iou(alpha.numpy() > 0.5, box & ~side) > 0.97


def test_a_fringe_of_cloth_that_the_object_lights_does_not():
    """Stone throws its light on the cloth before it, whose colour there is found nowhere else on the cloth."""
    picture, box, _ = photograph()
    fringe = ndimage.binary_dilation(box, iterations=6) & ~ndimage.binary_dilation(box, iterations=1)
    fringe[:200] = False
    picture[fringe] = [0.26, 0.17, 0.08]
    alpha, _, _ = threshold_mask(torch.from_numpy(picture), Path("box.png"))
    assert iou(alpha.numpy() > 0.5, box) > 0.985


def test_distance_to_palette():
    rgb = np.zeros((20, 20, 3))
    rgb[:, 10:] = 0.25
    known = np.zeros((20, 20), bool)
    known[:, :8] = True
    distance = distance_to_palette(rgb, known)
    assert (distance[:, :10] == 0).all()
    np.testing.assert_allclose(distance[:, 10:], 24 * np.sqrt(3))  # half of 48 cells in each channel
    assert (distance_to_palette(rgb, np.zeros((20, 20), bool)) == 0).all()


def test_closing_fills_what_a_disk_cannot_enter():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:25] = mask[10:50, 35:50] = True
    assert closed(mask, 6)[30, 30]  # ten pixels wide
    assert not closed(mask, 4)[30, 30]
    assert not closed(mask, 6)[3, 30]


def test_small_holes_are_filled():
    mask = np.ones((50, 50), bool)
    mask[10:12, 10:12] = mask[20:30, 20:30] = False
    filled = without_holes(mask, 0.01)
    assert filled[10:12, 10:12].all()
    assert not filled[20:30, 20:30].any()
