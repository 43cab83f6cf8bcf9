"""Exponential and logarithm of rotations and rigid motions: against matrix_exp, and exact derivatives at zero too."""

import math

import pytest
import torch

from diffrast.camera.lie import hat, se3_exp, se3_log, so3_exp, so3_log

GEN = torch.Generator().manual_seed(0)
AXES = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64, generator=GEN), dim=-1)
ANGLES = [0.0, 1e-9, 1e-4, 0.3, 0.999, 1.001, 2.0, 3.0, math.pi - 1e-7]


def twists(angle: float) -> torch.Tensor:
    return torch.cat([AXES * angle, torch.linspace(-2, 2, 12, dtype=torch.float64).view(4, 3)], dim=1)


@pytest.mark.parametrize("angle", ANGLES)
def test_exponential_is_the_matrix_exponential(angle):
    t = twists(angle)
    generator = torch.zeros(4, 4, 4, dtype=torch.float64)
    generator[:, :3, :3], generator[:, :3, 3] = hat(t[:, :3]), t[:, 3:]
    torch.testing.assert_close(se3_exp(t), torch.linalg.matrix_exp(generator), atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(so3_exp(t[:, :3]), se3_exp(t)[:, :3, :3])


@pytest.mark.parametrize("angle", ANGLES)
def test_logarithm_inverts(angle):
    t = twists(angle)
    torch.testing.assert_close(so3_log(so3_exp(t[:, :3])), t[:, :3], atol=1e-9, rtol=0)
    torch.testing.assert_close(se3_log(se3_exp(t)), t, atol=1e-8, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.9999999, 1.0000001, 2.5])
def test_derivatives_are_exact(angle):
    t = twists(angle)[:2].requires_grad_()
    assert torch.autograd.gradcheck(se3_exp, t)
    assert torch.autograd.gradgradcheck(se3_exp, t)


def test_derivative_at_the_identity_is_the_generator():
    jacobian = torch.autograd.functional.jacobian(se3_exp, torch.zeros(6, dtype=torch.float64))
    assert isinstance(jacobian, torch.Tensor)
    for i in range(3):
        expected = torch.zeros(4, 4, dtype=torch.float64)
        expected[:3, :3] = hat(torch.eye(3, dtype=torch.float64)[i])
        assert torch.equal(jacobian[..., i], expected)
        shift = torch.zeros(4, 4, dtype=torch.float64)
        shift[i, 3] = 1
        assert torch.equal(jacobian[..., 3 + i], shift)


def test_single_precision():
    t = twists(0.5).float()
    torch.testing.assert_close(se3_exp(t), se3_exp(t.double()).float(), atol=1e-6, rtol=0)
