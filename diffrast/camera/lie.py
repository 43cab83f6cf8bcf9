"""Rotations and rigid motions from their Lie algebras: exponential and logarithm with exact derivatives everywhere.

Closed forms as in Barfoot, "State Estimation for Robotics" (2017), sections 7.1.3 and 7.1.4. They divide by the angle;
near zero the same functions, which are analytic in the *squared* angle, are summed as power series, so that autograd's
derivatives, the second ones too, are exact at the identity.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_TERMS = 12  # of each series; below a squared angle of 1 the first term left out is under 1e-25


def _series(t: Tensor, first: int) -> Tensor:
    """`sum_k (-t)^k / (2 k + first)!`."""
    total = torch.zeros_like(t)
    for k in reversed(range(_TERMS)):
        total = total * -t + 1 / math.factorial(2 * k + first)
    return total


def _coefficients(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`sin(a)/a`, `(1 - cos(a))/a^2` and `(a - sin(a))/a^3` of the squared angle `t = a^2`."""
    small = t < 1
    safe = torch.where(small, torch.ones_like(t), t)
    near = torch.where(small, t, torch.zeros_like(t))
    a = safe.sqrt()
    closed = (a.sin() / a, (1 - a.cos()) / safe, (a - a.sin()) / (safe * a))
    one, two, three = (torch.where(small, _series(near, n), c) for n, c in zip((1, 2, 3), closed, strict=True))
    return one, two, three


def hat(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix `[..., 3, 3]` of the cross product: `hat(v) @ x = v x x`. Differentiable."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))


def so3_exp(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation vectors `[..., 3]` (axis times angle in radians) to matrices `[..., 3, 3]`. Differentiable, twice."""
    one, two, _ = _coefficients(v.square().sum(-1)[..., None, None])
    K = hat(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + one * K + two * (K @ K)


def so3_log(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation matrices `[..., 3, 3]` to rotation vectors `[..., 3]` of an angle up to pi.

    By way of the quaternion, which is accurate at every angle; not differentiable.
    """
    R = R.detach()
    d = R.diagonal(dim1=-2, dim2=-1)
    trace = d.sum(-1, keepdim=True)
    # Four ways to the quaternion (w, x, y, z), each times its own largest entry; the best conditioned one is taken.
    squares = torch.cat([1 + trace, 1 - trace + 2 * d], dim=-1)
    skew = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1)
    symmetric = R + R.mT
    ways = [torch.cat([squares[..., :1], skew], dim=-1)]
    for i in range(3):
        row = symmetric[..., i, :].clone()
        row[..., i] = squares[..., i + 1]
        ways.append(torch.cat([skew[..., i : i + 1], row], dim=-1))
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    q = torch.stack(ways, dim=-2).gather(-2, best)[..., 0, :]
    q = torch.where(q[..., :1] < 0, -q, q)
    axis = q[..., 1:]
    length = axis.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, q[..., :1])
    # angle / length tends to 2 / w as the angle goes to zero.
    tiny = length <= torch.finfo(R.dtype).tiny
    return axis * torch.where(tiny, 2 / q[..., :1], angle / torch.where(tiny, torch.ones_like(length), length))


def se3_exp(twist: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Twists `[..., 6]` = (rotation vector in radians, translation in world units) to rigid motions `[..., 4, 4]`.

    Differentiable, twice, at zero too.
    """
    w, u = twist[..., :3], twist[..., 3:]
    one, two, three = _coefficients(w.square().sum(-1)[..., None, None])
    K = hat(w)
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    R = eye + one * K + two * (K @ K)
    shift = (eye + two * K + three * (K @ K)) @ u[..., None]
    bottom = torch.tensor([0.0, 0, 0, 1], dtype=twist.dtype, device=twist.device)
    return torch.cat([torch.cat([R, shift], dim=-1), bottom.expand(*R.shape[:-2], 1, 4)], dim=-2)


def se3_log(motion: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 6"]:
    """Rigid motions `[..., 4, 4]` to twists `[..., 6]`, the inverse of `se3_exp`; not differentiable."""
    w = so3_log(motion[..., :3, :3])
    _, two, three = _coefficients(w.square().sum(-1)[..., None, None])
    K = hat(w)
    left = torch.eye(3, dtype=w.dtype, device=w.device) + two * K + three * (K @ K)
    u = torch.linalg.solve(left, motion.detach()[..., :3, 3:])[..., 0]
    return torch.cat([w, u], dim=-1)
