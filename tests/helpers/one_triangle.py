"""A triangle that covers the whole image."""

import torch

import diffrast.torch as dr

POS = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])


TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)


def draw(ctx, size=(4, 4)):
    return dr.rasterize(ctx, POS, TRI, size)[0]
