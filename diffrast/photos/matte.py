"""The rim of a mask, to a fraction of a pixel: how much of each pixel there is object, and the object's own colour.

A lens smears a bright object over a dark background by a pixel or more, so a threshold draws its outline too far out,
further in bright photographs than in dark ones, and the pixels there are mixed with background. Beside the outline a
pixel is taken for a mixture `I = a F + (1 - a) B` of the nearest pixel's colour well inside and the nearest one's
well outside; the least squares `a` says where half of it is object (Porter and Duff 1984, section 2).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

REACH = 3  # pixels to either side of the outline that may be mixed
SHARPNESS = 2.0  # alpha rises over this fraction of the smear's width: the object's edge is sharp, its image is not


def refine_rim(
    rgb: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], doubt: Bool[np.ndarray, "H W"]
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W 3"]]:
    """Coverage and colours, in display values, of a binary mask's object.

    Only pixels within `REACH` of the outline change, and none beside a part of the outline that is in `doubt`.
    """
    padded = np.pad(mask, REACH + 1, mode="edge")
    inward = ndimage.distance_transform_edt(padded)[REACH + 1 : -REACH - 1, REACH + 1 : -REACH - 1]
    outward = ndimage.distance_transform_edt(~padded)[REACH + 1 : -REACH - 1, REACH + 1 : -REACH - 1]
    inside, outside = inward > REACH, outward > REACH
    rim = ~inside & ~outside & ~ndimage.binary_dilation(doubt, iterations=REACH)
    if not inside.any() or not outside.any():
        return mask.astype(np.float32), rgb
    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (0.7, 0.7, 0))
    object_color, background = nearest(smooth, inside), nearest(smooth, outside)
    contrast = object_color - background
    share = ((rgb - background) * contrast).sum(-1) / np.maximum((contrast**2).sum(-1), 1e-6)
    told_apart = np.linalg.norm(contrast, axis=-1) > 0.08
    rim &= told_apart
    alpha = np.where(rim, np.clip(0.5 + SHARPNESS * (share - 0.5), 0, 1), mask).astype(np.float32)
    mixed = rim & (share < 0.9)
    # Nothing is known of the object's colour in a pixel that it hardly covers but that of its neighbours inside.
    return alpha, np.where(mixed[..., None], object_color, rgb).astype(np.float32)


def nearest(image: Float[np.ndarray, "H W C"], known: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W C"]:
    """Each pixel of the image replaced by the nearest one that is `known`."""
    rows, cols = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[rows, cols]
