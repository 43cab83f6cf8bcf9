"""Lens distortion of Brown and Conrady (Brown 1966, "Decentering Distortion of Lenses"), undone when images are loaded.

A pinhole renders straight lines straight; so photographs are undistorted once, instead of bending every rendering. The
coefficients are OpenCV's and COLMAP's `(k1, k2, p1, p2)`, defined on normalized coordinates `x = X/Z`, `y = Y/Z` with y
down.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..io.image import load_image
from .camera import Camera

ITERATIONS = 30
Coefficients = Float[Tensor, " 4"] | Sequence[float]  # k1, k2, p1, p2


def distort(points: Float[Tensor, "*batch 2"], coefficients: Coefficients) -> Float[Tensor, "*batch 2"]:
    """Normalized pinhole coordinates `[..., 2]`, y down, to where the lens puts them. Differentiable into both."""
    k1, k2, p1, p2 = torch.as_tensor(coefficients).to(points).unbind()
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    return torch.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y],
        dim=-1,
    )


def _jacobian(points: Tensor, coefficients: Tensor) -> Tensor:
    """The derivative `[..., 2, 2]` of `distort` by its points; it is symmetric."""
    k1, k2, p1, p2 = coefficients.unbind()
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial, slope = 1 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * r2 * k2)
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
    xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
    return torch.stack([xx, xy, xy, yy], dim=-1).unflatten(-1, (2, 2))


def undistort(points: Float[Tensor, "*batch 2"], coefficients: Coefficients) -> Float[Tensor, "*batch 2"]:
    """The inverse of `distort` by Newton's method, `[..., 2]`; not differentiable.

    Raises:
        ValueError: the lens folds over, so that there is no inverse.
    """
    target = points.detach().double()
    c = torch.as_tensor(coefficients).to(target)
    x = target.clone()
    for _ in range(ITERATIONS):
        x = x - torch.linalg.solve(_jacobian(x, c), (distort(x, c) - target)[..., None])[..., 0]
    off = (distort(x, c) - target).abs().amax(-1)
    slope = _jacobian(x, c)
    # Up to where a lens first folds, its Jacobian is positive definite; another solution may lie beyond.
    upright = (torch.linalg.det(slope) > 0) & (slope.diagonal(dim1=-2, dim2=-1).sum(-1) > 0)
    folded = ~((off < 1e-9) & upright)
    if bool(folded.any()):
        raise ValueError(
            f"undistort(): {int(folded.sum())} of {folded.numel()} points have no inverse under the coefficients "
            f"{c.tolist()}: the distortion folds over"
        )
    return x.to(points)


def undistort_image(
    image: Float[Tensor, "H W C"], camera: Camera, coefficients: Coefficients
) -> Float[Tensor, "H W C"]:
    """The image `[H, W, C]`, row 0 at the bottom, that the pinhole `camera` would have taken: bilinear; what the lens
    did not see is zero. Differentiable into the image.

    Colours should be linear light.

    Raises:
        ValueError: the image's size is not the camera's.
    """
    if tuple(image.shape[:2]) != camera.resolution:
        raise ValueError(
            f"undistort_image(): image must have the camera's size {camera.width}x{camera.height}; "
            f"got {image.shape[1]}x{image.shape[0]}"
        )
    h, w = camera.resolution
    K = camera.K.detach().to(image.device)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=K.dtype, device=K.device) + 0.5 for n in (h, w)), indexing="ij")
    ones = torch.ones_like(x)
    down = K.new_tensor([1.0, -1.0])  # our y is up, the formula's is down
    flat = (torch.stack([x, y, ones], dim=-1) @ torch.linalg.inv(K).T)[..., :2] * down
    bent = distort(flat, torch.as_tensor(coefficients, dtype=K.dtype)) * down
    source = torch.cat([bent, ones[..., None]], dim=-1) @ K.T
    grid = (source[..., :2] / K.new_tensor([w, h]) * 2 - 1).to(image)
    out = torch.nn.functional.grid_sample(
        image.movedim(-1, 0)[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return out[0].movedim(0, -1)


def load_undistorted(
    path: str | os.PathLike[str], camera: Camera, coefficients: Coefficients, *, linear: bool = True
) -> Float[Tensor, "H W C"]:
    """Read a photograph as `load_image` does and undistort it."""
    return undistort_image(load_image(path, linear=linear), camera, coefficients)
