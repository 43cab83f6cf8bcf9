"""Photographs brought to one exposure, once the factors between them are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..photos.calibration import POWER, TOE
from ..photos.photo import Pixels, Source
from ..photos.views import View
from ..scene.passes import clip_matrices, to_clip
from .appearance import Textured
from .targets import over_white

if TYPE_CHECKING:
    from ..reconstruct.state import State


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


def equal_exposures(state: State, model: Textured) -> None:
    """Where exposures are refined: divides every photograph by what was found of it, a view that was kept out by what
    its own picture tells, so that all are judged by one model."""
    if "gain" not in state.refined or state.calibration is None:
        return
    found = (state.calibration.gain - state.calibration.gain.mean(dim=0)).detach().cpu()
    rows = iter(found)
    gains = [
        own_gain(state.ctx, model, v, state.box) if i in state.held else next(rows) for i, v in enumerate(state.views)
    ]
    state.views = [replace(v, source=Exposed(v.source, gain)) for v, gain in zip(state.views, gains, strict=True)]
    state.findings["exposure"] = f"factors of the photographs from {found.exp().min():.2f} to {found.exp().max():.2f}"


@torch.no_grad()
def own_gain(ctx, model: Textured, view: View, box) -> torch.Tensor:
    """The logarithm of the factor ``[3]`` that takes the model's picture to a photograph: the median over its
    pixels."""
    matrix = clip_matrices([view.camera], torch.from_numpy(box)).to(model.vertices)
    size = (view.camera.height, view.camera.width)
    picture = model.draw(ctx, to_clip(model.vertices, matrix), view.camera, size)[0].cpu()
    target = over_white(view)
    inside = (picture[..., 3] > 0.999) & (target[..., 3] > 0.999) & (target[..., :3].amax(dim=-1) < 0.98)
    if not bool(inside.any()):
        return torch.zeros(3)
    ratio = ((target + TOE) / (picture + TOE).clamp_min(1e-3))[inside][:, :3]
    return POWER * ratio.median(dim=0).values.clamp_min(1e-3).log()
