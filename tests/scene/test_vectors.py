"""Lists of vectors: values and hand-written gradients."""

import pytest
import torch
from torch.nn.functional import normalize

from diffrast.scene.vectors import constant, dot, scale, unit


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


CASES = {
    "dot": (dot, lambda a, b: (a * b).sum(-1, keepdim=True), (random(6, 3), random(6, 3, seed=1))),
    "dot with one": (dot, lambda a, b: (a * b).sum(-1, keepdim=True), (random(6, 3), random(3, seed=1))),
    "scale": (scale, torch.mul, (random(6, 3), random(6, 1, seed=1))),
    "unit": (unit, lambda a: normalize(a, dim=-1), (random(6, 3),)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    function, formula, inputs = CASES[name]
    torch.testing.assert_close(function(*inputs), formula(*inputs))
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, lambda x: x.t().contiguous().t()])
def test_scale_of_any_layout(layout):
    a, s = random(6, 3), random(6, 1, seed=1)
    torch.testing.assert_close(scale(layout(a), s), a * s)


def test_constant_rows_take_no_gradient_even_where_it_is_not_finite():
    a, where = random(4, 3), torch.tensor([False, True, False, True])
    out = constant(a, where)
    assert torch.equal(out, a)
    gradient = torch.ones(4, 3, dtype=a.dtype)
    gradient[1], gradient[3] = torch.inf, torch.nan
    out.backward(gradient)
    assert a.grad is not None
    assert torch.equal(a.grad, torch.where(where[:, None], 0.0, 1.0).double().expand(4, 3))
