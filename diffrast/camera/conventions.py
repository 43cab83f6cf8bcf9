"""Between the cameras of other programs and ours: plain functions on matrices, all differentiable, all with an inverse.

Ours (`diffrast.camera.Camera`): the camera looks along its own -z with +y up; pixels are counted from the bottom left
corner of the image, y up, pixel centres at +0.5. The others, after their public documentation:

- OpenCV (`cv::projectPoints`): x right, y down, z ahead; pixels from the *centre of the top left pixel*, y down.
- COLMAP ("Output Format"): axes as OpenCV; pixels from the *top left corner*; quaternion (w, x, y, z), world to camera.
- OpenGL, NeRF-synthetic, Blender: our axes, but the pose is camera to world; instant-ngp counts cx, cy from the top
  left.
- PyTorch3D ("Cameras"): x left, y up, z ahead; points are rows, `x @ R + T`; NDC with +x left and +y up where the
  shorter side of the image spans -1..1, or screen pixels from the top left corner.

A size is always `(width, height)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

Size = tuple[int, int]
# What other programs hand over: of any numeric dtype, vectors also as columns; `tensor` checks the shape.
Numbers = Tensor | np.ndarray | Sequence[Any]
Vector = Num[Tensor, " 3"] | Num[np.ndarray, " 3"] | Sequence[float]
CV_AXES = (1.0, -1.0, -1.0)  # the signs between our axes and those of OpenCV, COLMAP
P3D_AXES = (-1.0, 1.0, -1.0)  # ... and those of PyTorch3D


def tensor(name: str, value: Numbers, *shape: int, op: str) -> Float[Tensor, "..."]:
    """`value` as float64 (gradients kept) of this shape, or an error that names it."""
    if isinstance(value, Tensor):
        t = value.double()
    else:
        try:
            t = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{op}(): {name} must hold {list(shape)} numbers; got {value!r}") from error
    if t.numel() == torch.Size(shape).numel() and 1 in t.shape:
        t = t.reshape(shape)  # OpenCV gives vectors as columns
    if tuple(t.shape) != shape:
        raise ValueError(f"{op}(): {name} must be {list(shape)}; got {list(t.shape)}")
    if not bool(torch.isfinite(t).all()):
        raise ValueError(f"{op}(): {name} must be finite; got {t.detach().tolist()}")
    return t


def rotation(name: str, value: Numbers, *, op: str) -> Float[Tensor, "3 3"]:
    """`value` as a rotation matrix; mirrored or scaled ones are refused, since they would silently show a wrong
    world."""
    R = tensor(name, value, 3, 3, op=op)
    d = R.detach()
    off = float((d @ d.T - torch.eye(3, dtype=d.dtype, device=d.device)).abs().max())
    if off > 1e-4 or float(torch.linalg.det(d)) < 0:
        kind = "mirrors (determinant < 0)" if off <= 1e-4 else f"is off by {off:.2g} in R @ R.T"
        raise ValueError(f"{op}(): {name} must be a rotation matrix; it {kind}")
    return R


def size_of(size: Sequence[int], *, op: str) -> Size:
    """`(width, height)` as integers of at least 1, or an error."""
    width, height = (int(s) for s in size)
    if width < 1 or height < 1:
        raise ValueError(f"{op}(): size must be (width, height), both at least 1; got {tuple(size)}")
    return width, height


def intrinsics(
    fx: Float[Tensor, ""], fy: Float[Tensor, ""], cx: Float[Tensor, ""] | float, cy: Float[Tensor, ""] | float
) -> Float[Tensor, "3 3"]:
    """`K` of focal lengths and principal point in pixels, without skew."""
    o = torch.zeros_like(fx)
    return torch.stack([fx, o, o + cx, o, fy, o + cy, o, o, o + 1]).view(3, 3)


def rigid(R: Float[Tensor, "3 3"], t: Float[Tensor, " 3"]) -> Float[Tensor, "4 4"]:
    """The matrix `[[R, t], [0, 1]]`."""
    bottom = torch.tensor([[0.0, 0, 0, 1]], dtype=R.dtype, device=R.device)
    return torch.cat([torch.cat([R, t[:, None]], dim=1), bottom])


def inverse_rigid(m: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """The inverse of a rigid motion."""
    R = m[:3, :3].T
    return rigid(R, -R @ m[:3, 3])


def turn_axes(axes: Sequence[float], R: Float[Tensor, "3 3"], t: Float[Tensor, " 3"]) -> Float[Tensor, "4 4"]:
    """World-to-camera matrix of `(R, t)` with the camera's axes multiplied by these signs (its own inverse)."""
    sign = torch.tensor(axes, dtype=R.dtype, device=R.device)
    return rigid(sign[:, None] * R, sign * t)


def turn_pixels(K: Float[Tensor, "3 3"], height: int, first: float) -> Float[Tensor, "3 3"]:
    """Intrinsics between y down, first pixel centre at `first`, and y up from the bottom edge, centres at +0.5.

    `x' = x + 0.5 - first` and `y' = height - (y + 0.5 - first)`. A camera-space y also changes its sign, so that fy
    stays positive and the skew changes its sign.
    """
    up = K.new_tensor([[1.0, 0, 0.5 - first], [0, -1, height - 0.5 + first], [0, 0, 1]])
    return up @ K @ K.new_tensor([1.0, -1, 1]).diag()


def unturn_pixels(K: Float[Tensor, "3 3"], height: int, first: float) -> Float[Tensor, "3 3"]:
    """The inverse of `turn_pixels`."""
    down = K.new_tensor([[1.0, 0, first - 0.5], [0, -1, height - 0.5 + first], [0, 0, 1]])
    return down @ K @ K.new_tensor([1.0, -1, 1]).diag()


# COLMAP's camera models that have a pinhole with at most Brown-Conrady distortion: the indices of fx, fy, cx, cy and of
# k1, k2, p1, p2 among the parameters (None: zero).
COLMAP_MODELS: dict[str, tuple[tuple[int, ...], tuple[int | None, ...]]] = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), (None, None, None, None)),
    "PINHOLE": ((0, 1, 2, 3), (None, None, None, None)),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), (3, None, None, None)),
    "RADIAL": ((0, 0, 1, 2), (3, 4, None, None)),
    "OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7)),
}


def colmap_intrinsics(model: str, params: Sequence[float]) -> tuple[Float[Tensor, "3 3"], tuple[float, ...]]:
    """COLMAP's camera model and parameters to OpenCV-like `K` `[3, 3]` (pixels from the top left corner) and `(k1, k2,
    p1, p2)`."""
    if model not in COLMAP_MODELS:
        raise ValueError(
            f"from_colmap(): model must be one of {', '.join(COLMAP_MODELS)}; got {model!r} "
            "(COLMAP's image_undistorter writes PINHOLE cameras of the others)"
        )
    pinhole, bent = COLMAP_MODELS[model]
    count = 1 + max(i for i in (*pinhole, *bent) if i is not None)
    if len(params) != count:
        raise ValueError(f"from_colmap(): {model} has {count} parameters; got {len(params)}")
    fx, fy, cx, cy = (torch.as_tensor(params[i], dtype=torch.float64) for i in pinhole)
    return intrinsics(fx, fy, cx, cy), tuple(0.0 if i is None else float(params[i]) for i in bent)


def pytorch3d_ndc_to_screen(
    focal: Float[Tensor, " 2"], principal: Float[Tensor, " 2"], size: Size
) -> tuple[Float[Tensor, " 2"], Float[Tensor, " 2"]]:
    """Focal lengths and principal point `[2]` from NDC to screen pixels (top left corner, y down)."""
    half = 0.5 * min(size)
    middle = 0.5 * focal.new_tensor(size)
    return focal * half, middle - principal * half


def pytorch3d_screen_to_ndc(
    focal: Float[Tensor, " 2"], principal: Float[Tensor, " 2"], size: Size
) -> tuple[Float[Tensor, " 2"], Float[Tensor, " 2"]]:
    """The inverse of `pytorch3d_ndc_to_screen`."""
    half = 0.5 * min(size)
    middle = 0.5 * focal.new_tensor(size)
    return focal / half, (middle - principal) / half
