"""Tone mapping: radiance of any brightness to the range 0..1 of picture files. sRGB is applied where the file is
written."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def reinhard(image: Float[Tensor, "*shape 3"], white: float = 4.0, exposure: float = 1.0) -> Float[Tensor, "*shape 3"]:
    """Linear RGB `[..., 3]` of any brightness, times `exposure`, to linear 0..1; a luminance of `white` becomes
    1.

    The colour is kept, the luminance L becomes `L (1 + L / white^2) / (1 + L)` (Reinhard et al. 2002, "Photographic
    Tone Reproduction for Digital Images", eq. 4). Saturated bright colours can exceed 1. Differentiable.
    """
    if not white > 0 or not exposure > 0:
        raise ValueError(f"reinhard(): white and exposure must be positive; got {white} and {exposure}")
    image = image * exposure
    luminance = (image * image.new_tensor([0.2126, 0.7152, 0.0722])).sum(-1, keepdim=True)
    return image * ((1 + luminance / white**2) / (1 + luminance))
