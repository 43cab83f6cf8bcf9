"""diffrast.least_squares: a linear problem in one step, a pose in tens of iterations, and its errors."""

import pytest
import torch

import diffrast
import diffrast.torch as dr
from diffrast.gradcheck.scenes import SCENES
from diffrast.gradcheck.truth import supersampled
from diffrast.optimize.least_squares import jacobian


def test_a_linear_problem_takes_one_step():
    A, b = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    found = diffrast.least_squares(lambda x: A @ x - b, torch.zeros(3, dtype=torch.float64), damping=1e-12)
    torch.testing.assert_close(found.x, torch.linalg.lstsq(A, b[:, None]).solution[:, 0])
    assert found.converged and len(found.costs) <= 3


def residual_of(scene, picture):
    ctx, background = dr.RasterizeContext(), torch.tensor(scene.background, dtype=torch.float64)

    def residual(theta):
        pos = scene.geometry(theta)[None]
        rast, _ = dr.rasterize(ctx, pos, scene.tri, picture.shape[:2])
        attributes, _ = dr.interpolate(scene.attributes, rast, scene.tri)
        color = torch.where(rast[..., 3:] > 0, scene.shade(attributes, theta), background)
        return dr.antialias(color, rast, pos, scene.tri, mode="area")[0] - picture

    return residual


@pytest.mark.parametrize("name", ["cube 64", "rotation"])
def test_a_pose_in_tens_of_iterations(name):
    """From one supersampled picture: Gauss-Newton ends in few iterations where 120 of Adam do
    (diffrast/gradcheck/problems.py)."""
    scene = SCENES[name](1)
    start, goal = scene.starts[0], scene.targets[0]
    picture = supersampled(scene, goal, scene.size, 8)
    found = diffrast.least_squares(residual_of(scene, picture), start)
    assert len(found.costs) <= 20 and found.costs[-1] < 1e-2 * found.costs[0]
    assert all(b < a for a, b in zip(found.costs, found.costs[1:], strict=False))
    assert float((found.x - goal).norm()) < 0.01 * float((start - goal).norm())


def test_the_jacobian_is_that_of_backward():
    scene = SCENES["intrinsics"](1)
    residual = residual_of(scene, torch.zeros(12, 12, 3, dtype=torch.float64))
    value, columns = jacobian(residual, scene.starts[0])
    leaf = scene.starts[0].clone().requires_grad_()
    weight = torch.sin(torch.arange(len(value), dtype=torch.float64))
    (row,) = torch.autograd.grad((residual(leaf).flatten() * weight).sum(), leaf)
    torch.testing.assert_close(weight @ columns, row)


def test_errors():
    with pytest.raises(ValueError, match=r"least_squares\(\): start must be a float tensor \[P\]"):
        diffrast.least_squares(lambda x: x, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="the residuals at start must be finite"):
        diffrast.least_squares(lambda x: x / 0, torch.zeros(2))
