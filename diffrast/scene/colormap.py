"""Numbers as colors: signed values, and errors."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def signed_colors(
    values: Float[Tensor, "*shape"], scale: float | None = None, power: float = 1.0
) -> Float[Tensor, "*shape 3"]:
    """Signed values as display colors: white is zero, red positive, blue negative.

    Args:
        values: of any shape.
        scale: the absolute value that gets the full color; None: the 99.5th percentile of those that are not zero.
        power: of the share of the scale; below 1 small values show more.
    """
    values = values.detach()
    size = values.abs()
    if scale is None:
        present = size[size > 0].double()
        scale = float(present.sort().values[int(0.995 * (len(present) - 1))]) if len(present) else 1.0
    shade = (values / scale if scale else values).clamp(-1, 1)
    if power != 1:
        shade = shade.sign() * shade.abs() ** power
    shade = shade[..., None]
    red, blue = values.new_tensor([0.75, 0.05, 0.1]), values.new_tensor([0.1, 0.2, 0.75])
    return 1 - shade.clamp(min=0) * (1 - red) - (-shade).clamp(min=0) * (1 - blue)


def heat(image: Float[Tensor, "*shape 3"], target: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """The mean absolute difference of two images as display colors: black at 0, red, yellow, white from 0.5."""
    error = 2 * (image.clamp(0, 1) - target).abs().mean(dim=-1, keepdim=True)
    return (3 * error - error.new_tensor([0.0, 1.0, 2.0])).clamp(0, 1)
