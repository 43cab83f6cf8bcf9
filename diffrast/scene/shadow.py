"""Differentiable shadow maps: light and occluder get gradients from the shadows that they make.

Worchel and Alexa 2023, "Differentiable Shadow Mapping for Efficient Inverse Graphics": the scene is rendered from the
light, the depth picture is antialiased like any other, so that silhouettes move it smoothly, and filtered as the first
two moments of depth, from which Chebyshev's inequality bounds how much light passes (Donnelly and Lauritzen 2006,
"Variance Shadow Maps", section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
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
        bleed: light below this part of the bound counts as none (0 to 1): hides what several layers of occluders let
            through.
    """

    resolution: int = 512
    blur: float = 0.004
    bias: float = 0.004
    bleed: float = 0.0


@dataclass
class ShadowMap:
    """Moments of the depth as seen from a lamp, one picture, or the six sides of a cube around a lamp among the scene.

    `moments` `[K, S, S, 2]` of depths in 0..1, `clip` `[K, 4, 4]` from the world into each picture's clip space, `axis`
    `[K, 4]`: depth is its product with `(x, y, z, 1)`. `middle` `[3]`: the lamp, where K is 6."""

    moments: Tensor
    clip: Tensor
    axis: Tensor
    middle: Tensor | None
    settings: Shadow

    def visibility(self, position: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """The part of the light `[N, 1]` that reaches points `[N, 3]`; 1 outside of the map. Differentiable into
        position and everything that the map was made from."""
        point = pad(position, (0, 1), value=1.0)
        count, size = self.moments.shape[:2]
        if self.middle is None:
            side, clip, depth = 0, point @ self.clip[0].T, (point @ self.axis[0])[:, None]
        else:
            way = (position - self.middle).detach()
            side = torch.cat([way, -way], dim=-1).argmax(-1)
            clip = (self.clip[side] @ point[..., None])[..., 0]
            depth = (self.axis[side] * point).sum(-1, keepdim=True)
        uv = 0.5 + 0.5 * clip[:, :2] / clip[:, 3:]
        inside = ((uv > 0) & (uv < 1)).all(-1, keepdim=True) & (clip[:, 3:] > 0)
        u, v = torch.where(inside, uv, 0.5).clamp(0.5 / size, 1 - 0.5 / size).unbind(-1)
        # One above the other in one texture.
        uv, atlas = (torch.stack([u, (v + side) / count], dim=-1), self.moments.reshape(1, count * size, size, 2))
        mean, square = dr.texture(atlas, uv[None, None], filter_mode="linear", boundary_mode="clamp")[0, 0].split(1, -1)
        beyond = depth - mean - self.settings.bias
        variance = (square - mean * mean).clamp_min(1e-6)
        bound = variance / (variance + beyond.clamp_min(0).square())
        if self.settings.bleed > 0:
            bound = ((bound - self.settings.bleed) / (1 - self.settings.bleed)).clamp_min(0)
        return torch.where(inside, bound, 1.0)


def _upright(direction: Tensor) -> Tensor:
    """A rotation `[3, 3]` whose third row is `-direction`: world to light space. Differentiable."""
    helper = torch.zeros_like(direction)
    helper[int(direction.detach().abs().argmin())] = 1
    right = normalize(torch.linalg.cross(direction, helper), dim=0)
    return torch.stack([right, torch.linalg.cross(right, direction), -direction])


def _frustum(lamp, vertices: Tensor, blur: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """World to clip space `[K, 4, 4]` of a lamp's views of the vertices `[V, 3]`, the axes `[K, 4]` of their depths,
    and the middle of the cube if K is 6. Differentiable into the lamp; what only frames the picture is constant."""
    low, high = vertices.amin(0), vertices.amax(0)
    center, radius = 0.5 * (low + high), float(0.5 * (high - low).norm()) * MARGIN
    last = torch.cat([low.new_zeros(3), low.new_ones(1)])
    if not hasattr(lamp, "position"):
        view = _view(_upright(normalize(lamp.direction, dim=0)), center)
        clip = torch.stack([view[0], view[1], -view[2] / radius, last])
        near, far = -radius, radius
    else:
        way = center - lamp.position
        distance = way.norm()
        d = float(distance.detach())
        if d <= 1.05 * radius:
            return _cube(lamp.position, d + radius, blur)
        view, near, far = _view(_upright(way / distance), lamp.position), d - radius, d + radius
        clip = _perspective(view, near, far)
    with torch.no_grad():
        seen = pad(vertices, (0, 1), value=1.0) @ clip.T
        seen = seen[:, :2] / seen[:, 3:]
        middle = 0.5 * (seen.amin(0) + seen.amax(0))
        half = (0.5 * MARGIN * (seen.amax(0) - seen.amin(0))).clamp_min(1e-9)
    clip = torch.cat([(clip[:2] - middle[:, None] * clip[3:]) / half[:, None], clip[2:]])
    axis = (-view[2] - near * last) / (far - near)
    return clip[None], axis[None], None


def _cube(position: Tensor, far: float, blur: float) -> tuple[Tensor, Tensor, Tensor]:
    """As `_frustum`: the six sides of a cube around `position`, each wider by what the filter takes from its border."""
    half = 1 / max(1 - 6 * blur, 0.4)
    axes = torch.eye(3, dtype=position.dtype, device=position.device)
    views = [_view(_upright(direction), position) for direction in torch.cat([axes, -axes])]
    scale = position.new_tensor([[1 / half], [1 / half], [1.0], [1.0]])
    clip = torch.stack([scale * _perspective(view, 1e-3 * far, far) for view in views])
    return clip, torch.stack([-view[2] / far for view in views]), position


def _view(turn: Tensor, eye: Tensor) -> Tensor:
    """World to the space of an eye, `[3, 4]`."""
    return torch.cat([turn, -(turn @ eye)[:, None]], dim=1)


def _perspective(view: Tensor, near: float, far: float) -> Tensor:
    """To clip space `[4, 4]`, 90 degrees wide."""
    last = torch.cat([view.new_zeros(3), view.new_ones(1)])
    depth = -(far + near) / (far - near) * view[2] - 2 * far * near / (far - near) * last
    return torch.stack([view[0], view[1], depth, -view[2]])


def shadow_map(
    ctx: dr.RasterizeContext, lamp: Any, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
) -> ShadowMap:
    """The shadow map of a lamp with a `shadow`, of a mesh `[V, 3]`, `[F, 3]`. Differentiable into vertices and the
    lamp.

    One picture that frames the whole mesh; six, of 90 degrees each, for a point or spot light that is inside of the
    sphere around the mesh (six times the cost)."""
    settings: Shadow = lamp.shadow
    size = settings.resolution
    clip, axis, middle = _frustum(lamp, vertices.detach(), settings.blur)
    point = pad(vertices, (0, 1), value=1.0)
    pos = point @ clip.mT
    rast, rast_db = dr.rasterize(ctx, pos, faces, (size, size), grad_db=False)
    depth, slope = dr.interpolate((point @ axis.T).T[..., None].contiguous(), rast, faces, rast_db, diff_attrs="all")
    hit = (rast[..., 3:] > 0).to(depth)
    # A pixel holds a piece of a slanted surface, not a point: its own variance (Lauritzen 2007, GPU Gems 3, section
    # 8.4.2).
    square = depth * depth + 0.25 * slope.detach().square().sum(-1, keepdim=True).clamp_max(1e-2)
    moments = torch.cat([depth, square], dim=-1) * hit + (1 - hit)
    moments = dr.antialias(moments, rast, pos, faces, mode="area")
    return ShadowMap(_blur(moments, settings.blur * size), clip, axis, middle, settings)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels over `[K, S, S, C]`; beyond the border is what lies on it."""
    radius = max(1, math.ceil(3 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.softmax(-0.5 * (at / max(sigma, 0.3)) ** 2, dim=0)
    planes = image.movedim(-1, 1)
    shape = planes.shape
    planes = pad(planes.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")  # [K C, 1, S, S]
    planes = conv2d(conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes.view(shape).movedim(1, -1).contiguous()
