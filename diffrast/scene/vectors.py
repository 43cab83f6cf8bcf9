"""Dot products, multiples and unit vectors of lists of vectors `[N, 3]`.

By columns: on the CPU a sum over a dimension of three, or a product with `[N, 1]`, takes three times as long, and they
are what shading does most. For the same reason the backward passes are written out. They cannot be differentiated
again.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def _dot(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.addcmul(torch.addcmul(ax * bx, ay, by), az, bz)[..., None]


def _scale(a: Tensor, s: Tensor) -> Tensor:
    if a.device.type != "cpu":
        return a * s
    out = torch.empty_like(a, memory_format=torch.contiguous_format)
    for result, column in zip(out.unbind(-1), a.unbind(-1), strict=True):
        torch.mul(column, s[..., 0], out=result)
    return out


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return _dot(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        a, b = ctx.saved_tensors
        return tuple(
            _scale(x, grads[0]) if wanted else None for x, wanted in zip((b, a), ctx.needs_input_grad, strict=True)
        )


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, s):
        ctx.save_for_backward(a, s)
        return _scale(a, s)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        a, s = ctx.saved_tensors
        wants_a, wants_s = ctx.needs_input_grad
        return _scale(grads[0], s) if wants_a else None, _dot(grads[0], a) if wants_s else None


class _Constant(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, where):
        ctx.save_for_backward(where.nonzero()[:, 0])
        return a.view_as(a)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        return grads[0].index_fill(0, *ctx.saved_tensors, 0), None


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        inverse = _dot(x, x).clamp_min_(1e-24).rsqrt_()
        y = _scale(x, inverse)
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        y, inverse = ctx.saved_tensors
        return _scale(grads[0] - _scale(y, _dot(grads[0], y)), inverse)


def dot(a: Float[Tensor, "N 3"], b: Float[Tensor, "*N 3"]) -> Float[Tensor, "N 1"]:
    """`[N, 1]`, of vectors `[N, 3]` and as many, or one `[3]`."""
    return _Dot.apply(a, b.expand_as(a) if b.dim() < a.dim() else b)


def scale(a: Float[Tensor, "N 3"], s: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
    """`[N, 3]` times `[N, 1]`."""
    return _Scale.apply(a, s)


def constant(a: Float[Tensor, "N C"], where: Bool[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """`a` `[N, C]` as it is, without a gradient in the rows `where` (bool `[N]`)."""
    return _Constant.apply(a, where)


def unit(x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """`[N, 3]` of length 1; what is shorter than 1e-12 becomes shorter."""
    return _Unit.apply(x)
