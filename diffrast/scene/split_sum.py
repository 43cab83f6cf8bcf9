"""What a rough surface reflects of its surroundings, by split sums, as one step of the autograd graph.

Shading is elementwise, and on the CPU what it costs is the memory of its intermediate results. Here they live in a few
planes (a row for each colour, so that a value per point multiplies whole rows), and the backward pass is written out.
It cannot be differentiated again.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .brdf import DIELECTRIC


def split_sum(
    base: Float[Tensor, "#N 3"],
    metallic: Float[Tensor, "#N 1"],
    occlusion: Float[Tensor, "#N 1"],
    bounce: Float[Tensor, "#N 2"],
    irradiance: Float[Tensor, "#N 3"],
    radiance: Float[Tensor, "#N 3"],
) -> Float[Tensor, "#N 3"]:
    """Radiance `[N, 3]` towards the eye.

    Args:
        base: colour `[N, 3]`.
        metallic, occlusion: `[N, 1]`.
        bounce: `[N, 2]`, (A, B) of `diffrast.scene.brdf.albedo_table`.
        irradiance: `[N, 3]`, over pi: what a white diffuse surface sends out.
        radiance: `[N, 3]`, the surroundings averaged over the specular lobe.

    With f0 between 0.04 and `base`, the specular lobe reflects `E = (f0 A + B) (1 + f0 (1 / (A + B) - 1))`, further
    bounces included (`diffrast.scene.brdf.albedo`), and the rest is diffuse: `occlusion (E radiance + (1 - E) (1 -
    metallic) base irradiance)`. Differentiable into all arguments, once.
    """
    n = len(radiance)
    wide = (x.expand(n, x.shape[-1]) for x in (base, metallic, occlusion, bounce, irradiance, radiance))
    return _SplitSum.apply(*wide)


def _planes(x: Tensor) -> Tensor:
    """`[N, C]` to `[C, N]`, several times faster than by `contiguous`."""
    return torch.stack(x.unbind(1))


def _points(x: Tensor) -> Tensor:
    """`[C, N]` to `[N, C]`, likewise."""
    out = x.new_empty(x.shape[1], x.shape[0])
    for column, row in zip(out.unbind(1), x, strict=True):
        column.copy_(row)
    return out


def _lobe(base, metallic, a, b):
    """f0, f0 A + B and the factor of further bounces, all `[3, N]`, and 1 / (A + B) `[1, N]`."""
    inverse = (a + b).reciprocal_()
    f0 = (base - DIELECTRIC).mul_(metallic).add_(DIELECTRIC)
    return f0, torch.addcmul(b, f0, a), (f0 * (inverse - 1)).add_(1), inverse


class _SplitSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        base, metallic, occlusion, bounce, irradiance, radiance = planes = tuple(map(_planes, inputs))
        _, single, factor, _ = _lobe(base, metallic, bounce[:1], bounce[1:])
        energy = single.mul_(factor)
        diffuse = (1 - metallic) * base
        diffuse.mul_(irradiance)
        ctx.save_for_backward(*planes)
        return _points(torch.lerp(diffuse, radiance, energy).mul_(occlusion))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        base, metallic, occlusion, bounce, irradiance, radiance = ctx.saved_tensors
        a, b = bounce[:1], bounce[1:]
        f0, single, factor, inverse = _lobe(base, metallic, a, b)
        energy, matte = single * factor, 1 - metallic
        white = matte * base  # what the diffuse part reflects of what the lobe leaves
        g = _planes(grads[0])
        wants = ctx.needs_input_grad
        g_occlusion = torch.lerp(white * irradiance, radiance, energy).mul_(g).sum(0, True) if wants[2] else None
        g.mul_(occlusion)
        g_radiance = g * energy
        g_white = g - g_radiance  # times irradiance; for the irradiance, times white
        g_irradiance = g_white * white if wants[4] else None
        g_white.mul_(irradiance)
        g_energy = torch.addcmul(radiance, white, irradiance, value=-1).mul_(g)
        g_single = factor.mul_(g_energy)
        g_factor = single.mul_(g_energy)
        g_f0 = torch.addcmul(g_single * a, g_factor, inverse - 1)
        g_bounce = None
        if wants[3]:
            # Of 1 / (A + B), common to A and B
            both = g_factor.mul_(f0).sum(0, True).mul_(inverse).mul_(inverse)
            g_b = g_single.sum(0, True) - both
            g_bounce = torch.cat([g_single.mul_(f0).sum(0, True) - both, g_b])
        g_metallic = None
        if wants[1]:
            g_metallic = ((base - DIELECTRIC) * g_f0).addcmul_(g_white, base, value=-1).sum(0, True)
        g_base = (g_f0 * metallic).addcmul_(g_white, matte) if wants[0] else None
        found = (g_base, g_metallic, g_occlusion, g_bounce, g_irradiance, g_radiance if wants[5] else None)
        return tuple(None if x is None else _points(x) for x in found)
