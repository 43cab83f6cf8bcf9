"""Reflection of rough surfaces: GGX, Smith, Schlick, and the energy that the single bounce of a microfacet model loses.

Everything works on lists of points: vectors `[N, 3]` of unit length, cosines and roughness `[N, 1]`. All is
differentiable.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

import diffrast.torch as dr

from .vectors import dot, scale, unit

DIELECTRIC = 0.04  # reflectance at normal incidence of an index of refraction of 1.5 (glTF 2.0, appendix B)
MIN_ROUGHNESS = 0.045  # below, the highlight of a point light is smaller than what float32 resolves


def ggx(n_h: Tensor, alpha: Tensor) -> Tensor:
    """Density of microfacet normals (Walter et al. 2007, "Microfacet Models for Refraction", eq. 33)."""
    a2 = alpha * alpha
    return a2 / (math.pi * (n_h * n_h * (a2 - 1) + 1).square())


def smith(n_l: Tensor, n_v: Tensor, alpha: Tensor) -> Tensor:
    """Height-correlated masking and shadowing over `4 n_l n_v` (Heitz 2014, "Understanding the Masking-Shadowing
    Function", eq. 99)."""
    a2 = alpha * alpha
    v = n_l * (n_v * n_v * (1 - a2) + a2).sqrt()
    l = n_v * (n_l * n_l * (1 - a2) + a2).sqrt()  # noqa: E741 - the letter of the literature
    return 0.5 / (v + l).clamp_min(1e-7)


def schlick(f0: Tensor, cosine: Tensor) -> Tensor:
    """Fresnel reflectance (Schlick 1994), 1 at grazing angles."""
    return f0 + (1 - f0) * (1 - cosine).clamp(0, 1) ** 5


def specular(
    n: Float[Tensor, "N 3"],
    v: Float[Tensor, "N 3"],
    l: Float[Tensor, "N 3"],  # noqa: E741
    n_v: Float[Tensor, "N 1"],
    n_l: Float[Tensor, "N 1"],
    f0: Float[Tensor, "#N 3"],
    roughness: Float[Tensor, "#N 1"],
) -> Float[Tensor, "N 3"]:
    """Single-bounce reflection `D F V` (glTF 2.0, appendix B.3) of light from `l` towards `v`: `[N, 3]`."""
    alpha = roughness.clamp_min(MIN_ROUGHNESS) ** 2
    h = unit(v + l)
    return ggx(dot(n, h).clamp(0, 1), alpha) * smith(n_l, n_v, alpha) * schlick(f0, dot(v, h))


# --- What a rough surface reflects of a uniform sky -------------------------------------------------------------------


@functools.cache
def albedo_table(size: int = 64, device: torch.device | str = "cpu") -> Float[Tensor, "size size 2"]:
    """`[size, size, 2]`: (A, B) such that `f0 A + B` is the directional albedo of `specular`; columns are `n_v`, rows
    roughness, both at `(i + 0.5) / size`. Karis 2013, "Real Shading in Unreal Engine 4"; here by a quadrature over the
    distribution of visible facets' normals with no random numbers."""
    at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    n_v = at[None, :, None, None]
    alpha = at.clamp_min(MIN_ROUGHNESS)[:, None, None, None] ** 2
    u = ((torch.arange(64, dtype=torch.float64) + 0.5) / 64)[:, None]
    phi = ((torch.arange(24, dtype=torch.float64) + 0.5) / 24 * math.pi)[None, :]  # the other half is the mirror image
    cos_h = ((1 - u) / (1 + (alpha * alpha - 1) * u)).sqrt()
    sin_h = (1 - cos_h * cos_h).clamp_min(0).sqrt()
    v_h = (1 - n_v * n_v).sqrt() * sin_h * phi.cos() + n_v * cos_h
    n_l = 2 * v_h * cos_h - n_v
    seen = (n_l > 0) & (v_h > 0)
    v_h, n_l = v_h.clamp_min(0), n_l.clamp_min(0)
    weight = torch.where(seen, 4 * smith(n_l, n_v.expand_as(n_l), alpha) * n_l * v_h / cos_h.clamp_min(1e-9), 0)
    grazing = (1 - v_h) ** 5
    table = torch.stack([(weight * (1 - grazing)).mean((2, 3)), (weight * grazing).mean((2, 3))], dim=-1)
    return table.float().to(device)


def bounce(n_v: Float[Tensor, "N 1"], roughness: Float[Tensor, "#N 1"]) -> Float[Tensor, "N 2"]:
    """(A, B) of `albedo_table` at points, `[N, 2]`."""
    table = albedo_table(device=n_v.device).to(n_v.dtype)[None]
    at = torch.cat([n_v, roughness], dim=-1)[None, None]
    return dr.texture(table, at, filter_mode="linear", boundary_mode="clamp")[0, 0]


def albedo(
    f0: Float[Tensor, "#N 3"], bounce: Float[Tensor, "N 2"]
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """The energy of the specular lobe, `[N, 3]`, and the factor on its single bounce `[N, 3]` that makes up for further
    ones.

    What bounces several times between microfacets is missing in `specular`; a white metal would darken with roughness.
    It leaves tinted by `f0`, in the shape of the first bounce: factor `1 + f0 (1 - E) / E` with E the albedo of a
    perfect mirror's lobe (Turquin 2019, "Practical multiple scattering compensation for microfacet models", section 3;
    after Kulla and Conty 2017 and Fdez-Agüera 2019). The energy includes the factor.
    """
    a, b = bounce.split(1, dim=-1)
    factor = torch.addcmul(torch.ones_like(a), f0, 1 / (a + b) - 1)
    return torch.addcmul(b, f0, a) * factor, factor


def dominant(
    n: Float[Tensor, "N 3"], v: Float[Tensor, "N 3"], n_v: Float[Tensor, "N 1"], roughness: Float[Tensor, "#N 1"]
) -> Float[Tensor, "N 3"]:
    """Where most of what a rough mirror reflects comes from, `[N, 3]`: between the mirrored direction and the normal
    (Lagarde and de Rousiers 2014, "Moving Frostbite to Physically Based Rendering", section 4.9.3). Not of unit
    length."""
    alpha = roughness * roughness
    smooth = (1 - alpha).clamp_min(1e-6)
    mirrored = smooth * (smooth.sqrt() + alpha)  # and the rest the normal
    return scale(n, 1 + mirrored * (2 * n_v - 1)) - scale(v, mirrored)
