"""Textures, coordinates and levels of detail to sample with, as leaves."""

import torch

F64 = torch.float64


def random(*shape, seed=0, low=0.0, high=1.0, dtype=F64):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64) * (high - low) + low).to(dtype)


def leaf(tensor, device):
    return tensor.to(device).requires_grad_()


def problem(boundary, device, size=(5, 7), channels=2, batch=2, tex_batch=1, image=(3, 4), dtype=F64):
    """tex, uv, uv_da and bias as leaves; levels of detail from below 0 to above the last level."""
    cube = boundary == "cube"
    shape = (tex_batch, 6, size[0], size[0], channels) if cube else (tex_batch, *size, channels)
    axes = 3 if cube else 2
    tex = random(*shape, seed=1, dtype=dtype)
    uv = random(batch, *image, axes, seed=2, low=-1.2, high=1.7, dtype=dtype)
    scale = 2 ** random(batch, *image, 1, seed=3, low=-4.0, high=0.0, dtype=dtype)
    uv_da = random(batch, *image, 2 * axes, seed=4, low=-1.0, high=1.0, dtype=dtype) * scale
    bias = random(batch, *image, seed=5, low=-1.0, high=1.0, dtype=dtype)
    return [leaf(t, device) for t in (tex, uv, uv_da, bias)]
