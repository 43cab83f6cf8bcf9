"""Small random scenes with colours, and what is asserted of them for both modes of antialias."""

from math import log10
from statistics import mean

import torch

import diffrast.torch as dr
from helpers import scenes

KINDS = (scenes.soup, scenes.near, scenes.sheet, scenes.ball)
SIZE = (32, 32)
FACTOR = 8  # samples along a pixel's side of the truth: 64 per pixel


def scene(seed):
    """pos float32 [1, V, 4], tri, vertex colours [V, 2]."""
    pos, tri = KINDS[seed % len(KINDS)](1, seed=seed)
    return pos.float(), tri, scenes.random((pos.shape[1], 2), seed + 1, -1, 1).float()


def drawn(ctx, pos, tri, colours, size):
    rast, _ = dr.rasterize(ctx, pos, tri, size)
    return rast, dr.interpolate(colours, rast, tri)[0]


def outside(out, color):
    """How far values leave the range of the nine pixels around them."""
    image = torch.nn.functional.pad(color.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    highest = torch.nn.functional.max_pool2d(image, 3, 1).permute(0, 2, 3, 1)
    lowest = -torch.nn.functional.max_pool2d(-image, 3, 1).permute(0, 2, 3, 1)
    return float(torch.maximum(out - highest, lowest - out).amax())


def measured(ctx, seeds, truth_every=1):
    """By mode: the largest step out of the range, and the mean PSNR in dB against 64 samples per pixel, for each of
    KINDS that the seeds hold. truth_every: of so many scenes of a kind one is compared with the truth."""
    worst, psnr = {}, {}
    for seed in seeds:
        pos, tri, colours = scene(seed)
        rast, color = drawn(ctx, pos, tri, colours, SIZE)
        truth = None
        if seed // len(KINDS) % truth_every == 0:
            _, fine = drawn(ctx, pos, tri, colours, (SIZE[0] * FACTOR, SIZE[1] * FACTOR))
            truth = fine.view(SIZE[0], FACTOR, SIZE[1], FACTOR, -1).mean((1, 3))
        for mode in ("silhouette", "area"):
            out = dr.antialias(color, rast, pos, tri, mode=mode)
            worst[mode] = max(worst.get(mode, 0.0), outside(out, color))
            if truth is None:
                continue
            error = float((out[0] - truth).square().mean())
            decibels = -10 * log10(max(error, 1e-10) / 4)  # of a range of 2
            psnr.setdefault(mode, {}).setdefault(KINDS[seed % len(KINDS)].__name__, []).append(decibels)
    means = {mode: {kind: mean(values) for kind, values in kinds.items()} for mode, kinds in psnr.items()}
    return worst, means
