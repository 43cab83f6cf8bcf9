"""Photographs brought to one exposure, once the factors between them are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

import diffrast.torch as dr

from ..photos.calibration import POWER, TOE
from ..photos.photo import Pixels, Source
from ..photos.views import View
from ..scene.passes import clip_matrices, to_clip
from .appearance import Textured
from .targets import over_white


@dataclass(frozen=True)
class Exposed(Source):
    """A photograph whose colours are divided by a factor `exp(gain)` `[3]` on linear light, display values still."""

    source: Source
    gain: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    def load(self) -> Pixels:
        pixels = self.source.load()
        return replace(pixels, rgb=((pixels.rgb + TOE) * (-self.gain / POWER).exp() - TOE).clamp(0, 1))

    def load_mask(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        return self.source.load_mask()


def equal_exposures(
    ctx: dr.RasterizeContext, model: Textured, views: list[View], held: list[int], found: torch.Tensor, box: np.ndarray
) -> tuple[list[View], str]:
    """Every photograph divided by its exposure, so that all are judged by one model; and what the exposures are, in
    words. `found` `[N, 3]`: logarithms of the factors of the N views that are not held out; those of the others are
    what their own photographs tell."""
    found = (found - found.mean(dim=0)).detach().cpu()
    rows = iter(found)
    gains = [own_gain(ctx, model, v, box) if i in held else next(rows) for i, v in enumerate(views)]
    views = [replace(v, source=Exposed(v.source, gain)) for v, gain in zip(views, gains, strict=True)]
    return views, f"factors of the photographs from {found.exp().min():.2f} to {found.exp().max():.2f}"


@torch.no_grad()
def own_gain(ctx: dr.RasterizeContext, model: Textured, view: View, box: np.ndarray) -> torch.Tensor:
    """The logarithm of the factor `[3]` that takes the model's image to a photograph: the median over its pixels."""
    matrix = clip_matrices([view.camera], torch.from_numpy(box)).to(model.vertices)
    size = (view.camera.height, view.camera.width)
    image = model.draw(ctx, to_clip(model.vertices, matrix), view.camera, size)[0].cpu()
    target = over_white(view)
    inside = (image[..., 3] > 0.999) & (target[..., 3] > 0.999) & (target[..., :3].amax(dim=-1) < 0.98)
    if not bool(inside.any()):
        return torch.zeros(3)
    ratio = ((target + TOE) / (image + TOE).clamp_min(1e-3))[inside][:, :3]
    return POWER * ratio.median(dim=0).values.clamp_min(1e-3).log()
