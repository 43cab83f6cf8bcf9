"""Lights. A lamp shines from one direction on each point; a surrounding shines from everywhere.

Units: `intensity` and `irradiance` are linear RGB. A white Lambertian surface that faces an irradiance of pi has
radiance 1. All fields are parameters; see `diffrast.scene.parameters.own` for tensors that are computed from others.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from .brdf import MIN_ROUGHNESS
from .parameters import Value, own
from .shadow import Shadow
from .vectors import dot, unit

WHITE = (math.pi,) * 3  # what makes a white surface that faces it as bright as 1


class Lamp(torch.nn.Module):
    """Light from one direction. `shadow`: how it casts shadows (`Shadow`), or None."""

    shadow: Shadow | None

    def incident(self, position: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N C"]]:
        """At points `[N, 3]`: unit vectors to the lamp `[N, 3]`, and the irradiance of a surface that faces it `[N,
        3]`."""
        raise NotImplementedError


class DirectionalLight(Lamp):
    """Parallel light that travels along `direction` `[3]` (of any length), with `irradiance` `[3]` or `[1]`."""

    direction: Tensor
    irradiance: Tensor

    def __init__(
        self, direction: Value = (0.0, -1.0, 0.0), irradiance: Value = WHITE, *, shadow: Shadow | None = None
    ) -> None:
        super().__init__()
        own(self, "direction", direction, "[3]", (3,))
        own(self, "irradiance", irradiance, "[3] or [1]", (3,), (1,))
        self.shadow = shadow

    def incident(self, position: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N C"]]:
        to = -torch.nn.functional.normalize(self.direction, dim=0)
        return to.expand_as(position), self.irradiance.expand_as(position)


class PointLight(Lamp):
    """Shines from `position` `[3]` in all directions with `intensity` `[3]` or `[1]` (irradiance at distance 1)."""

    position: Tensor
    intensity: Tensor

    def __init__(self, position: Value, intensity: Value = WHITE, *, shadow: Shadow | None = None) -> None:
        super().__init__()
        own(self, "position", position, "[3]", (3,))
        own(self, "intensity", intensity, "[3] or [1]", (3,), (1,))
        self.shadow = shadow

    def incident(self, position: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N C"]]:
        way = self.position - position
        square = dot(way, way).clamp_min(1e-12)
        return way * square.rsqrt(), self.intensity / square


class SpotLight(PointLight):
    """A point light within a cone about `direction` `[3]`: full inside the angle `inner` from the axis, nothing outside
    of `outer` (radians), between them as in KHR_lights_punctual of glTF."""

    direction: Tensor
    inner: Tensor
    outer: Tensor

    def __init__(
        self,
        position: Value,
        direction: Value,
        intensity: Value = WHITE,
        *,
        inner: Value = 0.0,
        outer: Value = math.pi / 4,
        shadow: Shadow | None = None,
    ) -> None:
        super().__init__(position, intensity, shadow=shadow)
        own(self, "direction", direction, "[3]", (3,))
        own(self, "inner", inner, "a number", ())
        own(self, "outer", outer, "a number", ())

    def incident(self, position: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N C"]]:
        to, irradiance = super().incident(position)
        cosine = -dot(to, torch.nn.functional.normalize(self.direction, dim=0))
        edge = self.outer.cos()
        fade = ((cosine - edge) / (self.inner.cos() - edge).clamp_min(1e-3)).clamp(0, 1)
        return to, irradiance * fade.square()


# --- Light from everywhere --------------------------------------------------------------------------------------------


class Surrounding(torch.nn.Module):
    """Light that comes from infinitely far away in all directions."""

    def prepare(self) -> Surrounding:
        """What a picture needs of it, computed once for all its points."""
        return self

    def irradiance(self, normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Of surfaces that face `normal` `[N, 3]`, divided by pi: the radiance that a white one sends out, `[N, 3]`."""
        raise NotImplementedError

    def radiance(self, direction: Float[Tensor, "N 3"], roughness: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
        """From directions `[N, 3]` of any length, averaged over the lobe of a mirror of roughness `[N, 1]`: `[N,
        3]`."""
        raise NotImplementedError


class AmbientLight(Surrounding):
    """The same `radiance` `[3]` or `[1]` from everywhere."""

    color: Tensor

    def __init__(self, color=(1.0, 1.0, 1.0)):
        super().__init__()
        own(self, "color", color, "[3] or [1]", (3,), (1,))

    def irradiance(self, normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return self.color.expand_as(normal)

    def radiance(self, direction: Float[Tensor, "N 3"], roughness: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
        return self.color.expand_as(direction)


def sh_basis(direction: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 9"]:
    """The nine real spherical harmonics of bands 0 to 2 at unit directions `[..., 3]`: `[..., 9]`, ordered by band,
    then order
    -l to l (Ramamoorthi and Hanrahan 2001, "An Efficient Representation for Irradiance Environment Maps", eq. 3)."""
    x, y, z = direction.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.5 / math.sqrt(math.pi)),
            0.4886025 * y,
            0.4886025 * z,
            0.4886025 * x,
            1.0925484 * x * y,
            1.0925484 * y * z,
            0.3153916 * (3 * z * z - 1),
            1.0925484 * x * z,
            0.5462742 * (x * x - y * y),
        ],
        dim=-1,
    )


BANDS = (0, 1, 1, 1, 2, 2, 2, 2, 2)
COSINE = (1.0, 2 / 3, 1 / 4)  # what the clamped cosine over pi keeps of each band (the same, eq. 8)


@functools.cache
def lobe_bands(steps: int = 65) -> Float[Tensor, "{steps} 3"]:
    """What the lobe of roughness `i / (steps - 1)` keeps of each band, float64 `[steps, 3]`: the Legendre coefficients
    of the prefilter's kernel (see `diffrast.scene.environment`)."""
    roughness = torch.linspace(0, 1, steps, dtype=torch.float64).clamp_min(MIN_ROUGHNESS)[:, None]
    u = (torch.arange(4096, dtype=torch.float64) + 0.5)[None] / 4096
    cos2 = (1 - u) / (1 + (roughness**4 - 1) * u)  # of the facet's normal, equally likely
    x = 2 * cos2 - 1  # n_l, which is the weight too
    weight = x.clamp_min(0)
    bands = torch.stack([torch.ones_like(x), x, 1.5 * x * x - 0.5], dim=-1)
    return (weight[..., None] * bands).sum(1) / weight.sum(1, keepdim=True)


class SphericalHarmonicsLight(Surrounding):
    """Radiance as spherical harmonics of order 3: `coefficients` `[9, 3]` in the order of `sh_basis`."""

    coefficients: Tensor

    def __init__(self, coefficients):
        super().__init__()
        own(self, "coefficients", coefficients, "[9, 3]", (9, 3))

    def irradiance(self, normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        keep = normal.new_tensor([COSINE[band] for band in BANDS])
        return sh_basis(normal) @ (keep[:, None] * self.coefficients)

    def radiance(self, direction: Float[Tensor, "N 3"], roughness: Float[Tensor, "N 1"]) -> Float[Tensor, "N 3"]:
        table = lobe_bands().to(direction)
        at = roughness.clamp(0, 1) * (len(table) - 1)
        below = at.detach().floor().clamp_max(len(table) - 2).long()[:, 0]
        keep = torch.lerp(table[below], table[below + 1], at - below[:, None])
        return (sh_basis(unit(direction)) * keep[:, list(BANDS)]) @ self.coefficients
