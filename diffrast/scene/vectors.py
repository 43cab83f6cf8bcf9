"""Dot products and unit vectors of lists of vectors ``[N, 3]``.

By columns: on the CPU a sum over a dimension of three takes three times as long, and it is what shading does most. For the same
reason the backward passes are written out. They cannot be differentiated again.
"""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.addcmul(torch.addcmul(ax * bx, ay, by), az, bz)[..., None]


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return _dot(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        a, b = ctx.saved_tensors
        return grads[0] * b if ctx.needs_input_grad[0] else None, grads[0] * a if ctx.needs_input_grad[
            1
        ] else None


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        inverse = _dot(x, x).clamp_min_(1e-24).rsqrt_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        y, inverse = ctx.saved_tensors
        return torch.addcmul(grads[0], y, _dot(grads[0], y), value=-1).mul_(inverse)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``[N, 1]``, of vectors ``[N, 3]`` and as many, or one ``[3]``."""
    return _Dot.apply(a, b.expand_as(a) if b.dim() < a.dim() else b)


def unit(x: torch.Tensor) -> torch.Tensor:
    """``[N, 3]`` of length 1; what is shorter than 1e-12 becomes shorter."""
    return _Unit.apply(x)
