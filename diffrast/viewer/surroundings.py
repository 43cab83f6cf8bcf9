"""The surroundings that light the object: a picture of one's own, or a studio that is always there."""

from __future__ import annotations

import functools

import torch

from ..scene.environment import EnvironmentLight, latlong_directions
from ..scene.prefilter import prefilter

Environment = tuple[list[torch.Tensor], torch.Tensor]  # levels and irradiance, as `prefilter` returns them
SIZE = 64  # texels along a face of the cube


@torch.no_grad()
def prepared(picture: torch.Tensor) -> Environment:
    """A lat-long map ``[H, W, 3]`` of linear radiance, prefiltered once."""
    return prefilter(EnvironmentLight(picture, size=SIZE).cube())


@functools.cache
def studio() -> Environment:
    """A dim room with a bright window on one side, a warm lamp on the other and a soft light above."""
    direction = latlong_directions(64, 128)

    def lamp(place: tuple[float, float, float], width: float, color: tuple[float, float, float]) -> torch.Tensor:
        toward = torch.nn.functional.normalize(direction.new_tensor(place), dim=0)
        return torch.exp(((direction @ toward) - 1) / width)[..., None] * direction.new_tensor(color)

    height = direction[..., 1:2]
    room = torch.lerp(
        direction.new_tensor([0.16, 0.14, 0.12]), direction.new_tensor([0.42, 0.46, 0.52]), 0.5 + 0.5 * height
    )
    return prepared(
        room
        + lamp((1.0, 0.6, 0.8), 0.06, (4.2, 4.3, 4.5))
        + lamp((-1.0, 0.2, -0.5), 0.03, (4.0, 2.6, 1.4))
        + lamp((0.0, 1.0, 0.0), 0.15, (1.0, 1.0, 1.05))
    )


def upright(vectors: torch.Tensor, up: str) -> torch.Tensor:
    """Vectors ``[N, 3]`` with y up, as lights have them, from those of a world where ``up`` is."""
    if up == "y":
        return vectors
    x, y, z = vectors.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)
