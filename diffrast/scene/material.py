"""Materials: what a point of a surface sends to the eye, under some lights.

A field of a material (base colour, roughness, ...) is a tensor `[C]`, the same everywhere, or a texture `[H, W, C]`,
linear, row 0 at the bottom, repeated outside of the unit square and filtered with mipmaps. Fields are parameters;
tensors that are computed from others stay so, and pass their gradients on (`diffrast.scene.parameters.own`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

import diffrast.torch as dr

from ..mesh.material_data import ALPHA_MODES, MaterialData
from . import brdf
from .light import Lamp, Surrounding, sh_basis
from .parameters import Value, own
from .split_sum import split_sum
from .surface import Surface
from .vectors import dot, unit

# Radiance and alpha, of all points or of one for all.
Shaded = tuple[Float[Tensor, "#N 3"], Float[Tensor, "#N 1"] | None]


@dataclass
class Lighting:
    """The lights of a picture, ready to shade with: lamps, each with the part of its light `[N, 1]` that shadows leave
    (None: all), and surroundings."""

    lamps: list[Lamp] = field(default_factory=list)
    shadows: list[Tensor | None] = field(default_factory=list)
    surroundings: list[Surrounding] = field(default_factory=list)

    def arriving(self, surface: Surface) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each lamp's unit vectors `[N, 3]`, their cosines with the normal `[N, 1]` (not negative), and irradiance `[N,
        3]`."""
        for lamp, lit in zip(self.lamps, self.shadows, strict=True):
            to, irradiance = lamp.incident(surface.position)
            cosine = dot(surface.normal, to).clamp_min(0)
            yield to, cosine, irradiance * (cosine if lit is None else cosine * lit)

    def pick(self, index: Int[Tensor, " M"]) -> Lighting:
        """The same for some of the points."""
        shadows = [None if s is None else s.index_select(0, index) for s in self.shadows]
        return Lighting(self.lamps, shadows, self.surroundings)

    def diffuse(self, surface: Surface) -> Float[Tensor, "N 3"]:
        """The radiance `[N, 3]` of a white Lambertian surface."""
        total = torch.zeros_like(surface.normal)
        for _, _, irradiance in self.arriving(surface):
            total = total + irradiance / math.pi
        for light in self.surroundings:
            total = total + light.irradiance(surface.normal)
        return total


def sample(texture: Float[Tensor, "*shape"] | None, surface: Surface) -> Float[Tensor, "#N C"] | None:
    """A field at points: `[N, C]` from a texture `[H, W, C]`, `[1, C]` from a constant, None from None."""
    if texture is None:
        return None
    if texture.dim() < 3:
        return texture[None]
    if surface.uv is None or surface.uv_da is None:
        raise ValueError("Material: a texture needs UVs, and the mesh has none; see diffrast.mesh.unwrap")
    return dr.texture(texture[None], surface.uv[None, None], surface.uv_da[None, None])[0, 0]


def product(*values: Tensor | None) -> Tensor | None:
    """The product of what there is."""
    result = None
    for value in values:
        if value is not None:
            result = value if result is None else result * value
    return result


class Material(torch.nn.Module):
    """Base of materials. `alpha_mode` as in glTF: "OPAQUE" ignores alpha, "MASK" cuts where it is below `alpha_cutoff`
    (no gradient into alpha), "BLEND" blends. `wants_tangents`: whether `surface.tangent` is needed."""

    alpha_mode = "OPAQUE"
    alpha_cutoff = 0.5
    wants_tangents = False
    base_color: Tensor
    base_color_factor: Tensor | None

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        """Radiance towards the eye `[N, 3]` (or `[1, 3]`), and alpha `[N, 1]` (or `[1, 1]`), None where opaque."""
        raise NotImplementedError

    def _own_color(self, name: str, value, channels: tuple[int, ...] = (3, 4)) -> None:
        sizes = [s for c in channels for s in ((c,), (None, None, c))]
        counts = " or ".join(map(str, channels))
        own(self, name, value, f"[{counts}] or a texture [H, W, {counts}]", *sizes)

    def _set_alpha(self, mode: str, cutoff: float) -> None:
        if mode not in ALPHA_MODES:
            raise ValueError(
                f"{type(self).__name__}(): alpha_mode must be one of {', '.join(ALPHA_MODES)}; got {mode!r}"
            )
        self.alpha_mode, self.alpha_cutoff = mode, cutoff

    def _alpha(self, alpha: Tensor | None) -> Tensor | None:
        if self.alpha_mode == "OPAQUE" or alpha is None or alpha.shape[-1] == 0:
            return None
        return alpha if self.alpha_mode == "BLEND" else (alpha >= self.alpha_cutoff).to(alpha)

    def _base(self, surface: Surface) -> tuple[Tensor, Tensor | None]:
        """Base colour times vertex colour `[N, 3]`, and alpha by the mode."""
        base = product(sample(self.base_color, surface), self.base_color_factor)
        assert base is not None
        color, alpha = base[..., :3], base[..., 3:]
        if surface.color is not None:
            color = color * surface.color[:, :3]
            alpha = product(*(a for a in (alpha, surface.color[:, 3:]) if a.shape[-1]))
        return color, self._alpha(alpha)


class Unlit(Material):
    """Sends out `base_color` (`[3]`, `[4]` or a texture) whatever the light (glTF: KHR_materials_unlit)."""

    def __init__(
        self, base_color: Value = (1.0, 1.0, 1.0), *, alpha_mode: str = "OPAQUE", alpha_cutoff: float = 0.5
    ) -> None:
        super().__init__()
        self._own_color("base_color", base_color)
        self.base_color_factor = None
        self._set_alpha(alpha_mode, alpha_cutoff)

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        return self._base(surface)


class Lambert(Unlit):
    """Matt: radiance `base_color / pi` times the irradiance."""

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        color, alpha = self._base(surface)
        return color * lights.diffuse(surface), alpha


class BlinnPhong(Unlit):
    """Matt plus a highlight: `specular` times `(s + 8) / (8 pi) (n . h)^s` with the exponent s = exp(`log_shininess`)
    (Blinn 1977; the factor, which keeps the energy about the same for all s, from Akenine-Möller et al., "Real-Time
    Rendering").

    Surroundings are reflected as by a rough mirror of the same width, `alpha^2 = 2 / (s + 2)` (Walter et al. 2007,
    section 5.2).
    """

    specular: Tensor
    log_shininess: Tensor

    def __init__(
        self,
        base_color: Value = (0.8, 0.8, 0.8),
        specular: Value = (0.2, 0.2, 0.2),
        shininess: Value = 32.0,
        **alpha: Any,
    ) -> None:
        super().__init__(base_color, **alpha)
        self._own_color("specular", specular, (1, 3))
        shininess = torch.as_tensor(shininess, dtype=torch.get_default_dtype())
        if not bool((shininess > 0).all()):
            raise ValueError("BlinnPhong(): shininess must be positive")
        own(
            self,
            "log_shininess",
            shininess.log().reshape(-1, 1)[0] if shininess.dim() == 0 else shininess.log(),
            "a number or a texture [H, W, 1]",
            (1,),
            (None, None, 1),
        )

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        color, alpha = self._base(surface)
        gloss, exponent = sample(self.specular, surface), sample(self.log_shininess, surface)
        assert gloss is not None and exponent is not None
        exponent = exponent.exp()
        n, v = surface.normal, surface.view
        total = torch.zeros_like(n)
        for to, _, irradiance in lights.arriving(surface):
            n_h = dot(n, unit(v + to)).clamp_min(1e-6)
            lobe = gloss * ((exponent + 8) / (8 * math.pi) * n_h**exponent)
            total = total + irradiance * (color / math.pi + lobe)
        if lights.surroundings:
            mirrored = 2 * dot(n, v) * n - v
            roughness = ((2 / (exponent + 2)) ** 0.25).expand(len(surface), 1)
            for light in lights.surroundings:
                total = total + color * light.irradiance(n) + gloss * light.radiance(mirrored, roughness)
        return total, alpha


class SphericalHarmonicsColor(Material):
    """Radiance that depends on the direction to the eye only: `coefficients` `[27]` or a texture `[H, W, 27]`, 9
    harmonics (`diffrast.scene.light.sh_basis`) of 3 colours each. Light has no effect."""

    coefficients: Tensor

    def __init__(self, coefficients: Value) -> None:
        super().__init__()
        self._own_color("coefficients", coefficients, (27,))

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        c = sample(self.coefficients, surface)
        assert c is not None
        return (sh_basis(surface.view)[..., None] * c.unflatten(-1, (9, 3))).sum(-2), None


class MetallicRoughness(Material):
    """The metallic-roughness material of glTF 2.0 (section 3.9, appendix B).

    Args:
        base_color: `[3]`, `[4]` (with alpha) or a texture of them.
        orm: occlusion, roughness, metalness, each 0 to 1: `[3]` or a texture `[H, W, 3]`. Occlusion dims
            surroundings only.
        normal_map: `[H, W, 3]`, the tangent-space normal as stored in files, `(n + 1) / 2`, +y towards larger v.
        normal_scale: factor on its x and y.
        emission: `[3]` or a texture, or None.
        base_color_factor, orm_factor, emission_factor: factors on textures, of as many channels, or None.
        alpha_mode, alpha_cutoff: as in glTF.

    Diffuse and specular share the light: what the specular lobe reflects in all, further bounces included
    (`brdf.albedo`), does not reach the diffuse layer, so that a white surface keeps the energy of a white sky. (glTF's
    sample code weighs the diffuse part by the single bounce's Fresnel term, which does not; its appendix B allows
    either.)
    """

    normal_scale: Tensor
    orm: Tensor
    normal_map: Tensor | None
    emission: Tensor | None
    orm_factor: Tensor | None
    emission_factor: Tensor | None

    def __init__(
        self,
        base_color: Value = (1.0, 1.0, 1.0),
        orm: Value = (1.0, 0.5, 0.0),
        normal_map: Tensor | None = None,
        emission: Value | None = None,
        *,
        normal_scale: Value = 1.0,
        base_color_factor: Value | None = None,
        orm_factor: Value | None = None,
        emission_factor: Value | None = None,
        alpha_mode: str = "OPAQUE",
        alpha_cutoff: float = 0.5,
    ) -> None:
        super().__init__()
        self._own_color("base_color", base_color)
        self._own_color("orm", orm, (3,))
        own(self, "normal_map", normal_map, "a texture [H, W, 3]", (None, None, 3))
        own(self, "normal_scale", None if normal_map is None else normal_scale, "a number", ())
        self._own_color("emission", emission, (3,))
        own(self, "base_color_factor", base_color_factor, "[3] or [4]", (self.base_color.shape[-1],))
        own(self, "orm_factor", orm_factor, "[3]", (3,))
        own(self, "emission_factor", emission_factor, "[3]", (3,))
        self._set_alpha(alpha_mode, alpha_cutoff)

    @property
    def wants_tangents(self) -> bool:
        return self.normal_map is not None

    @classmethod
    def from_data(cls, data: MaterialData) -> MetallicRoughness:
        """The material that a file holds. Factors stay apart from textures, as parameters of their own."""
        color, orm = data.base_color_texture, data.metallic_roughness_texture
        factor, orm_factor = (
            torch.tensor(data.base_color_factor),
            torch.tensor([1.0, data.roughness_factor, data.metallic_factor]),
        )
        if orm is not None and not data.has_occlusion:
            orm = torch.cat([torch.ones_like(orm[..., :1]), orm[..., 1:]], dim=-1)
        if color is not None and color.shape[-1] == 3 and data.base_color_factor[3] < 1:
            color = torch.cat([color, torch.ones_like(color[..., :1])], dim=-1)
        emits = data.emissive_texture is not None or any(data.emissive_factor)
        emission = torch.tensor(data.emissive_factor) if emits else None
        return cls(
            factor if color is None else color,
            orm_factor if orm is None else orm,
            data.normal_texture,
            emission if data.emissive_texture is None else data.emissive_texture,
            normal_scale=data.normal_scale,
            base_color_factor=None if color is None else factor[: color.shape[-1]],
            orm_factor=None if orm is None else orm_factor,
            emission_factor=None if data.emissive_texture is None else emission,
            alpha_mode=data.alpha_mode,
            alpha_cutoff=data.alpha_cutoff,
        )

    def normal(self, surface: Surface) -> Float[Tensor, "N 3"]:
        """Unit normals `[N, 3]` with the normal map applied."""
        n = surface.normal
        bumps = sample(self.normal_map, surface)
        if bumps is None:
            return n
        assert surface.tangent is not None
        bumps = 2 * bumps - 1
        along = surface.tangent[:, :3]
        t = unit(along - dot(n, along) * n)
        # The back side sees the same bumps from below: n is turned already, and so is the side on which b lies.
        turned = torch.where(surface.facing, surface.tangent[:, 3:], -surface.tangent[:, 3:])
        b = torch.linalg.cross(n, t) * turned
        xy = bumps[:, :2] * self.normal_scale
        return unit(xy[:, :1] * t + xy[:, 1:] * b + bumps[:, 2:] * n)

    def shade(self, surface: Surface, lights: Lighting) -> Shaded:
        base, alpha = self._base(surface)
        orm = product(sample(self.orm, surface), self.orm_factor)
        assert orm is not None
        occlusion, roughness, metallic = orm.clamp(0, 1).split(1, dim=-1)
        if self.normal_map is not None:
            surface = Surface(**{**vars(surface), "normal": self.normal(surface)})
        n, v = surface.normal, surface.view
        n_v = dot(n, v).clamp(1e-4, 1)
        roughness = roughness.expand_as(n_v)
        bounce = brdf.bounce(n_v, roughness)

        total = None
        if lights.surroundings:
            toward = brdf.dominant(n, v, n_v, roughness)
            irradiance = reduce(torch.add, [light.irradiance(n) for light in lights.surroundings])
            radiance = reduce(torch.add, [light.radiance(toward, roughness) for light in lights.surroundings])
            total = split_sum(base, metallic, occlusion, bounce, irradiance, radiance)
        if lights.lamps:
            f0 = torch.lerp(base.new_tensor(brdf.DIELECTRIC), base, metallic)
            energy, factor = brdf.albedo(f0, bounce)
            diffuse = base * (1 - metallic) * (1 - energy) / math.pi
            for to, cosine, irradiance in lights.arriving(surface):
                gloss = brdf.specular(n, v, to, n_v, cosine, f0, roughness) * factor
                part = irradiance * (diffuse + gloss)
                total = part if total is None else total + part
        emission = product(sample(self.emission, surface), self.emission_factor)
        if emission is not None:
            total = emission if total is None else total + emission
        return torch.zeros_like(n) if total is None else total, alpha
