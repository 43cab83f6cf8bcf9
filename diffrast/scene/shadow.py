"""Differentiable shadow maps: light and occluder get gradients from the shadows that they make.

Worchel and Alexa 2023, "Differentiable Shadow Mapping for Efficient Inverse Graphics": the scene is rendered from the light,
the depth picture is antialiased like any other, so that silhouettes move it smoothly, and filtered as the first two moments of
depth, from which Chebyshev's inequality bounds how much light passes (Donnelly and Lauritzen 2006, "Variance Shadow Maps",
section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, normalize, pad

import diffrast.torch as dr

MARGIN = 1.05  # of the map around what it shows


@dataclass(frozen=True)
class Shadow:
    """How a lamp casts shadows.

    Args:
        resolution: pixels along a side of the depth picture.
        blur: standard deviation of the filter, as a part of the side; at least about one pixel. It is the width of the
            penumbra, and how far the gradient of a moving edge reaches beyond it.
        bias: depth by which a surface may lie behind what casts the shadow, as a part of the depth of the scene.
        bleed: light below this part of the bound counts as none (0 to 1): hides what several layers of occluders let through.
    """

    resolution: int = 512
    blur: float = 0.004
    bias: float = 0.004
    bleed: float = 0.0


@dataclass
class ShadowMap:
    """Moments of the depth as seen from a lamp: ``moments`` ``[1, S, S, 2]`` of depths in 0..1, ``clip`` ``[4, 4]`` from the
    world into the map's clip space, ``axis`` ``[4]``: depth is its product with ``(x, y, z, 1)``."""

    moments: torch.Tensor
    clip: torch.Tensor
    axis: torch.Tensor
    settings: Shadow

    def visibility(self, position: torch.Tensor) -> torch.Tensor:
        """The part of the light ``[N, 1]`` that reaches points ``[N, 3]``; 1 outside of the map. Differentiable into position and
        everything that the map was made from."""
        point = pad(position, (0, 1), value=1.0)
        clip = point @ self.clip.T
        uv = 0.5 + 0.5 * clip[:, :2] / clip[:, 3:]
        inside = ((uv > 0) & (uv < 1)).all(-1, keepdim=True) & (clip[:, 3:] > 0)
        uv = torch.where(inside, uv, 0.5)
        mean, square = dr.texture(self.moments, uv[None, None], filter_mode="linear", boundary_mode="clamp")[
            0, 0
        ].split(1, -1)
        beyond = (point @ self.axis)[:, None] - mean - self.settings.bias
        variance = (square - mean * mean).clamp_min(1e-6)
        bound = variance / (variance + beyond.clamp_min(0).square())
        if self.settings.bleed > 0:
            bound = ((bound - self.settings.bleed) / (1 - self.settings.bleed)).clamp_min(0)
        return torch.where(inside, bound, 1.0)


def _upright(direction: torch.Tensor) -> torch.Tensor:
    """A rotation ``[3, 3]`` whose third row is ``-direction``: world to light space. Differentiable."""
    helper = torch.zeros_like(direction)
    helper[int(direction.detach().abs().argmin())] = 1
    right = normalize(torch.linalg.cross(direction, helper), dim=0)
    return torch.stack([right, torch.linalg.cross(right, direction), -direction])


def _frustum(lamp, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """World to clip space ``[4, 4]`` of a lamp's view of the vertices ``[V, 3]``, and the axis ``[4]`` of its depth. Differentiable
    into the lamp; what only frames the picture is constant."""
    low, high = vertices.amin(0), vertices.amax(0)
    center, radius = 0.5 * (low + high), float(0.5 * (high - low).norm()) * MARGIN
    zero, one = low.new_zeros(1), low.new_ones(1)
    last = torch.cat([zero, zero, zero, one])
    if hasattr(lamp, "position"):
        way = center - lamp.position
        distance = way.norm()
        if float(distance.detach()) <= 1.05 * radius:
            raise ValueError(
                "Shadow: a lamp that casts shadows must be outside of the sphere around the scene; its distance from the middle "
                f"is {float(distance.detach()):.3g}, the radius {radius:.3g}"
            )
        turn = _upright(way / distance)
        view = torch.cat([turn, -(turn @ lamp.position)[:, None]], dim=1)  # [3, 4]
        d = float(distance.detach())
        near, far = d - radius, d + radius
        clip = torch.stack([
            view[0], view[1],
            -(far + near) / (far - near) * view[2] - 2 * far * near / (far - near) * last, -view[2],
        ])  # fmt: skip
    else:
        turn = _upright(normalize(lamp.direction, dim=0))
        view = torch.cat([turn, -(turn @ center)[:, None]], dim=1)
        near, far = -radius, radius
        clip = torch.stack([view[0], view[1], -view[2] / radius, last])
    with torch.no_grad():
        seen = pad(vertices, (0, 1), value=1.0) @ clip.T
        seen = seen[:, :2] / seen[:, 3:]
        middle = 0.5 * (seen.amin(0) + seen.amax(0))
        half = (0.5 * MARGIN * (seen.amax(0) - seen.amin(0))).clamp_min(1e-9)
    clip = torch.cat([(clip[:2] - middle[:, None] * clip[3:]) / half[:, None], clip[2:]])
    axis = (-view[2] - near * last) / (far - near)
    return clip, axis


def shadow_map(ctx: dr.RasterizeContext, lamp, vertices: torch.Tensor, faces: torch.Tensor) -> ShadowMap:
    """The shadow map of a lamp with a ``shadow``, of a mesh ``[V, 3]``, ``[F, 3]``. Differentiable into vertices and the lamp.

    The map frames the whole mesh. A point or spot light must lie outside of the sphere around it (ValueError)."""
    settings: Shadow = lamp.shadow
    size = settings.resolution
    clip, axis = _frustum(lamp, vertices.detach())
    point = pad(vertices, (0, 1), value=1.0)
    pos = (point @ clip.T)[None]
    rast, rast_db = dr.rasterize(ctx, pos, faces, (size, size), grad_db=False)
    depth, slope = dr.interpolate((point @ axis)[:, None], rast, faces, rast_db, diff_attrs="all")
    hit = (rast[..., 3:] > 0).to(depth)
    # A pixel holds a piece of a slanted surface, not a point: its own variance (Lauritzen 2007, GPU Gems 3, section 8.4.2).
    square = depth * depth + 0.25 * slope.detach().square().sum(-1, keepdim=True).clamp_max(1e-2)
    moments = torch.cat([depth, square], dim=-1) * hit + (1 - hit)
    moments = dr.antialias(moments, rast, pos, faces)
    return ShadowMap(_blur(moments, settings.blur * size), clip, axis, settings)


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """A Gaussian of ``sigma`` pixels over ``[1, S, S, C]``; beyond the border is what lies on it."""
    radius = max(1, math.ceil(3 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.softmax(-0.5 * (at / max(sigma, 0.3)) ** 2, dim=0)
    planes = image[0].permute(2, 0, 1)[:, None]  # [C, 1, S, S]
    planes = pad(planes, (radius,) * 4, mode="replicate")
    planes = conv2d(conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes[:, 0].permute(1, 2, 0)[None].contiguous()
