"""Scenes whose parameters change the colours: the image moves where shading and texture do, the mesh stays."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from . import shapes
from .case import Case, project, samples


def _still(
    name: str,
    labels: tuple[str, ...],
    pos: Tensor,
    tri: Tensor,
    attributes: Tensor,
    draws: tuple[Tensor, Tensor],
    shade: Callable[[Tensor, Tensor], Tensor],
) -> Case:
    """A mesh at clip positions `pos` `[V, 4]` whatever the parameters."""
    steps = torch.full((len(labels),), 0.01)
    return Case(
        name, "shading", labels, tri, attributes, lambda theta: pos + 0 * theta.sum(), *draws, shade, steps=steps
    )


def texture(count: int) -> Case:
    """A picture on a sheet that fills the view: offset, scale and contrast of the picture."""
    vertices, tri = shapes.sheet()

    def shade(uv: Tensor, theta: Tensor) -> Tensor:
        at = uv * (1 + theta[2]) + theta[:2]
        wave = torch.sin(torch.stack([3 * at[..., 0] + at[..., 1], 4 * at[..., 1], 3 * at.sum(-1)], -1))
        return 0.5 + 0.3 * (1 + theta[3]) * wave

    labels = ("du", "dv", "scale", "contrast")
    draws = samples(11, count, [0.3, 0.3, 0.2, 0.2], [0.1] * 4)
    return _still("texture", labels, project(2 * vertices, 3.0, 3.0), tri, 2 * vertices[:, :2], draws, shade)


def light(count: int) -> Case:
    """A ball under a directional light, diffuse and glossy: direction, strength, colour and roughness."""
    vertices, tri = shapes.icosphere(4)

    def shade(normal: Tensor, theta: Tensor) -> Tensor:
        unit = normalize(normal, dim=-1)
        direction = torch.stack([0.4 + theta[0], 0.5 + theta[1], torch.ones_like(theta[0])])
        cosine = (unit @ normalize(direction, dim=0)).clamp(min=0)[..., None]
        return (0.5 + theta[3:6]) * (0.2 + (0.7 + theta[2]) * cosine) + 0.3 * cosine ** (8 * (1 + theta[6]))

    labels = ("lx", "ly", "strength", "red", "green", "blue", "gloss")
    draws = samples(12, count, [0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.2], [0.1] * 7)
    return _still("light", labels, project(0.7 * vertices, 3.0, 3.2), tri, vertices, draws, shade)


def material(count: int) -> Case:
    """A ball of one material under one lamp: base colour, roughness and metalness (GGX lobe, Schlick's reflectance)."""
    vertices, tri = shapes.icosphere(4)

    def shade(normal: Tensor, theta: Tensor) -> Tensor:
        n = normalize(normal, dim=-1)
        to_light = normalize(normal.new_tensor([0.5, 0.6, 0.8]), dim=0)
        to_eye = normal.new_tensor([0.0, 0.0, 1.0])
        half = normalize(to_light + to_eye, dim=0)
        n_l, n_h = (n @ to_light).clamp(min=0)[..., None], (n @ half).clamp(min=0)[..., None]
        base, roughness, metal = 0.5 + theta[:3], 0.4 + theta[3], 0.4 + theta[4]
        spread = roughness**4
        lobe = spread / (torch.pi * (n_h**2 * (spread - 1) + 1) ** 2)
        mirror = 0.04 * (1 - metal) + base * metal
        mirror = mirror + (1 - mirror) * (1 - half @ to_eye) ** 5
        return 0.1 * base + n_l * (base * (1 - metal) * (1 - mirror) + 0.25 * mirror * lobe)

    labels = ("red", "green", "blue", "roughness", "metal")
    draws = samples(17, count, [0.1, 0.1, 0.1, 0.05, 0.1], [0.1, 0.1, 0.1, 0.04, 0.1])
    return _still("material", labels, project(0.7 * vertices, 3.0, 3.2), tri, vertices, draws, shade)


def _shadow(name: str, count: int, penumbra: float) -> Case:
    """A wall on which a ball that is not in the picture casts a shadow: place of the lamp, radius of the ball."""
    vertices, tri = shapes.sheet(4, 4)
    wall = 1.2 * vertices
    ball = [0.1, 0.0, 0.8]

    def shade(point: Tensor, theta: Tensor) -> Tensor:
        lamp = point.new_tensor([0.4, 0.3, 2.6]) + theta[:3]
        way = normalize(lamp - point, dim=-1)
        along = ((point.new_tensor(ball) - point) * way).sum(-1, keepdim=True)
        nearest = (point + along * way - point.new_tensor(ball)).norm(dim=-1, keepdim=True)  # of the ray to the middle
        out = (nearest - 0.3 - theta[3]) / penumbra if penumbra else (nearest > 0.3 + theta[3]).to(point)
        lit = (0.5 + out).clamp(0, 1) if penumbra else out
        lit = lit * lit * (3 - 2 * lit)
        return (0.15 + 0.7 * lit * way[..., 2:]) * point.new_tensor([1.0, 0.9, 0.8])

    draws = samples(18, count, [0.15, 0.15, 0.15, 0.03], [0.1, 0.1, 0.1, 0.03])
    return _still(name, ("lx", "ly", "lz", "radius"), project(wall, 3.0, 3.0), tri, wall, draws, shade)


def shadow(count: int) -> Case:
    """Its penumbra is a few pixels wide."""
    return _shadow("shadow", count, 0.15)


def hard_shadow(count: int) -> Case:
    """Shading with a jump that no mesh knows about: out of reach of every method that looks for the edges of
    triangles."""
    return _shadow("hard shadow", count, 0.0)
