"""Comparing values and gradients: the worst element, and gradients as vectors."""

from dataclasses import dataclass

import torch

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass
class Agreement:
    cosine: float  # of the angle between the two vectors
    relative_l2: float  # |got - want| / |want|
    bias: float  # the part of the error along `want`: <got, want> / <want, want> - 1
    worst: float  # largest |got - want| over the largest |want|


def compare(got, want):
    """Agreement of two tensors of one shape, in float64; where want is zero, the errors are absolute."""
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    g, w = got.detach().cpu().double().flatten(), want.detach().cpu().double().flatten()
    assert g.isfinite().all() and w.isfinite().all(), "not finite"
    if w.numel() == 0:
        return Agreement(1.0, 0.0, 0.0, 0.0)
    error, size = g - w, w.norm()
    scale = size if size > 0 else 1.0
    cosine = 1.0 if g.norm() == size == 0 else float(g @ w / (g.norm() * size).clamp(min=1e-300))
    bias = float(error @ w / scale**2)
    worst = float(error.abs().max() / (w.abs().max() if size > 0 else 1.0))
    return Agreement(cosine, float(error.norm() / scale), bias, worst)


def assert_agree(got, want, what="", tolerance=None, terms=0.0):
    """Element by element and as vectors; the tolerance goes by the dtype of got unless given.

    terms: the size of the terms of the sums. Where they cancel to nothing in both, only rounding is left,
    which has no direction.
    """
    tolerance = TOLERANCE[got.dtype] if tolerance is None else tolerance
    a = compare(got, want)
    if terms and got.numel() and max(got.abs().max(), want.abs().max()) <= tolerance * terms:
        return
    good = max(a.worst, a.relative_l2, abs(a.bias), 1 - a.cosine) <= tolerance
    assert good, f"{what}: {a}, tolerance {tolerance:g}"


def gradients(outputs, cotangents, inputs):
    """Vector-Jacobian products: one gradient per input, zeros where an input is not used."""
    total = torch.stack([(o * c).sum() for o, c in zip(outputs, cotangents, strict=True)]).sum()
    return torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
