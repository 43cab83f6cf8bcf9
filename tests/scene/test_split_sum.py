"""What a rough surface reflects of its surroundings: the fused step against the formulas that its docstring gives."""

import pytest
import torch

from diffrast.scene import brdf
from diffrast.scene.split_sum import split_sum


def arguments(count=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    widths = (3, 1, 1, 2, 3, 3)
    values = [torch.rand(count, c, generator=g, dtype=torch.float64) * 0.8 + 0.1 for c in widths]
    values[3] = values[3] / 2  # a surface reflects no more than arrives
    return [v.requires_grad_() for v in values]


def formulas(base, metallic, occlusion, bounce, irradiance, radiance):
    f0 = torch.lerp(base.new_tensor(brdf.DIELECTRIC), base, metallic)
    energy, _ = brdf.albedo(f0, bounce)
    return occlusion * (energy * radiance + (1 - energy) * (1 - metallic) * base * irradiance)


def test_values_and_gradients_are_those_of_the_formulas():
    inputs = arguments(count=50)
    got, want = split_sum(*inputs), formulas(*inputs)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    weight = torch.randn(want.shape, generator=torch.Generator().manual_seed(1), dtype=want.dtype)
    for a, b in zip(torch.autograd.grad(got, inputs, weight), torch.autograd.grad(want, inputs, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    assert torch.autograd.gradcheck(split_sum, arguments())


@pytest.mark.parametrize("alone", range(6))
def test_one_argument_alone_may_want_its_gradient(alone):
    inputs = arguments()
    want = torch.autograd.grad(formulas(*inputs).sum(), inputs[alone])[0]
    fixed = [x if i == alone else x.detach() for i, x in enumerate(inputs)]
    torch.testing.assert_close(torch.autograd.grad(split_sum(*fixed).sum(), fixed[alone])[0], want)


def test_what_is_the_same_everywhere_is_spread_over_the_points():
    inputs = arguments()
    same = [x.detach()[:1].requires_grad_() if i < 3 else x for i, x in enumerate(inputs)]
    got, want = split_sum(*same), formulas(*same)
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got.sum(), same[:3]), torch.autograd.grad(want.sum(), same[:3]), strict=True):
        torch.testing.assert_close(a, b)


def test_no_points():
    empty = [x.detach()[:0].requires_grad_() for x in arguments()]
    out = split_sum(*empty)
    assert out.shape == (0, 3)
    out.sum().backward()
    assert all(x.grad is not None and x.grad.shape == x.shape for x in empty)
