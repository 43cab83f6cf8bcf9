"""Light from a picture of the surroundings, by split sums: one look-up for the diffuse part and one for the glossy
one."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

import diffrast.torch as dr

from .light import Surrounding
from .parameters import Value, own
from .prefilter import LEAST, TEXEL_LIMIT, prefilter, texel_directions


def latlong_directions(height: int, width: int) -> Float[Tensor, "{height} {width} 3"]:
    """The unit vectors of the texels of a lat-long map, `[height, width, 3]`: +y up, row 0 (the bottom) looks down, the
    middle looks along -z, as a camera does, and +x lies to its right."""
    latitude = (((torch.arange(height) + 0.5) / height - 0.5) * math.pi)[:, None]
    longitude = (((torch.arange(width) + 0.5) / width - 0.5) * 2 * math.pi)[None]
    x, z = latitude.cos() * longitude.sin(), -latitude.cos() * longitude.cos()
    return torch.stack([x, latitude.sin().expand_as(x), z], dim=-1)


def latlong_to_cube(image: Float[Tensor, "H W 3"], size: int) -> Float[Tensor, "6 {size} {size} 3"]:
    """A lat-long map `[H, W, 3]` as a cube map `[6, size, size, 3]`, each texel the mean of 3 x 3 points.
    Differentiable."""
    at = _latlong_places(size, image.shape[0], image.device).to(image.dtype)
    return dr.texture(image[None], at, filter_mode="linear")[0].view(6, size, size, 9, 3).mean(3)


@functools.lru_cache(maxsize=8)
def _latlong_places(size: int, height: int, device: torch.device) -> Tensor:
    """Texture coordinates `[1, 6 size, size 9, 2]`."""
    x, y, z = torch.from_numpy(texel_directions(size, 3)).to(device).unbind(-1)
    # No further than the first and last rows' middles: past them the texture would wrap to the other pole.
    v = (y.clamp(-1, 1).asin() / math.pi + 0.5).clamp(0.5 / height, 1 - 0.5 / height)
    return torch.stack([torch.atan2(x, -z) / (2 * math.pi) + 0.5, v], -1).view(1, 6 * size, size * 9, 2)


class EnvironmentLight(Surrounding):
    """A map of radiance: lat-long `[H, W, 3]` (see `latlong_directions`) or a cube `[6, S, S, 3]` with OpenGL's faces.

    Args:
        map: linear radiance, a parameter.
        size: texels along a face of the cube that a lat-long map becomes, a power of two; None: the one nearest to H /
            2.
        turn: angle in radians by which the surroundings are turned about +y, counter-clockwise seen from above; a
            parameter.
        scale: factor `[]`, `[1]` or `[3]` on the map; a parameter.

    Differentiable into all of them. The prefiltered maps are made once for each picture, and kept while a map that
    wants no gradient stays as it is.
    """

    map: Tensor
    turn: Tensor
    scale: Tensor

    def __init__(self, map: Tensor, *, size: int | None = None, turn: float | Tensor = 0.0, scale: Value = 1.0):
        super().__init__()
        own(self, "map", map, "[H, W, 3] or [6, S, S, 3]", (None, None, 3), (6, None, None, 3))
        own(self, "turn", turn, "a number", ())
        own(self, "scale", scale, "a number or [3]", (), (1,), (3,))
        wanted = min(max(2 ** round(math.log2(max(1, self.map.shape[0] / 2))), 2 * LEAST), TEXEL_LIMIT)
        own_size = self.map.shape[1] if self.map.dim() == 4 else wanted
        self.size = int(own_size if size is None else size)
        self._kept: tuple | None = None

    def cube(self) -> Float[Tensor, "6 S S 3"]:
        """The map as a cube `[6, S, S, 3]`, without turn and scale."""
        return self.map if self.map.dim() == 4 else latlong_to_cube(self.map, self.size)

    def prepare(self) -> PreparedEnvironment:
        """Prefilters the map. Use the result where several pictures share one map within one gradient step."""
        key = (self.map.data_ptr(), self.map._version, self.map.dtype, self.map.device)
        wants = self.map.requires_grad and torch.is_grad_enabled()
        if not wants and self._kept is not None and self._kept[0] == key:
            levels, irradiance = self._kept[1]
        else:
            levels, irradiance = prefilter(self.cube())
            self._kept = None if wants else (key, (levels, irradiance))
        return PreparedEnvironment(levels, irradiance, self.turn, self.scale)


class PreparedEnvironment(Surrounding):
    """Prefiltered `levels` and `irradiance` maps of `diffrast.scene.prefilter.prefilter`, to look things up in."""

    def __init__(self, levels: list[Tensor], irradiance: Tensor, turn: Tensor, scale: Tensor):
        super().__init__()
        self.levels, self.irradiance_map = levels, irradiance
        cosine, sine, o, i = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
        self.into_map = torch.stack([cosine, o, sine, o, i, o, -sine, o, cosine]).view(3, 3)
        self.factor = scale
        self.turned = turn.requires_grad or float(turn.detach()) != 0
        self.scaled = scale.requires_grad or bool((scale.detach() != 1).any())

    def _look(self, levels: list[Tensor], direction: Tensor, level: Tensor | None):
        if self.turned:
            direction = direction @ self.into_map.to(direction)
        found = dr.texture(
            levels[0][None],
            direction[None, None],
            mip_level_bias=None if level is None else level[None, None],
            mip=[x[None] for x in levels[1:]] if level is not None else None,
            boundary_mode="cube",
        )[0, 0]
        return found * self.factor if self.scaled else found

    def irradiance(self, normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return self._look([self.irradiance_map], normal, None)

    def radiance(self, direction: Float[Tensor, "N 3"], roughness: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
        return self._look(self.levels, direction, roughness[:, 0] * (len(self.levels) - 1))
