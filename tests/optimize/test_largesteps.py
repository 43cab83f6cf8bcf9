"""Large Steps: the solve, its adjoint, and the uniform Adam."""

import numpy as np
import pytest
import torch
import trimesh

from diffrast.mesh.topology import laplacian
from diffrast.optimize.adam_uniform import AdamUniform
from diffrast.optimize.largesteps import LargeSteps

MESH = trimesh.creation.icosphere(subdivisions=1)
FACES = torch.tensor(MESH.faces, dtype=torch.int32)
VERTICES = torch.tensor(MESH.vertices)


def has_cholespy() -> bool:
    try:
        import cholespy  # noqa: F401
    except ImportError:
        return False
    return True


solvers = pytest.mark.parametrize(
    "solver",
    [
        "scipy",
        pytest.param("cholespy", marks=pytest.mark.skipif(not has_cholespy(), reason="cholespy is not installed")),
    ],
)


def test_laplacian_is_degree_minus_adjacency():
    lap = laplacian(np.array([[0, 1, 2], [2, 1, 3]]), 5).toarray()
    expected = [[2, -1, -1, 0, 0], [-1, 3, -1, -1, 0], [-1, -1, 3, -1, 0], [0, -1, -1, 2, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(lap, expected)


@solvers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_solve_inverts_the_matrix(solver, dtype):
    steps = LargeSteps(FACES, len(VERTICES), 7.0, solver=solver)
    v = VERTICES.to(dtype)
    u = steps.from_vertices(v)
    assert u.dtype == dtype
    dense = torch.tensor(steps.matrix.toarray())
    torch.testing.assert_close(u, (dense @ VERTICES).to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(steps.to_vertices(u), v, atol=tolerance, rtol=0)


@solvers
def test_gradcheck(solver):
    steps = LargeSteps(FACES, len(VERTICES), 3.0, solver=solver)
    u = steps.from_vertices(VERTICES).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: steps.to_vertices(x).sin(), u)


def test_gradients_are_smoothed_twice():
    # Section 3.3: a step on u with the plain gradient moves v by (I + lambda L)^-2 times v's gradient.
    steps = LargeSteps(FACES, len(VERTICES), 5.0)
    u = steps.from_vertices(VERTICES).requires_grad_()
    g = torch.zeros_like(VERTICES)
    g[3] = 1
    (steps.to_vertices(u) * g).sum().backward()
    assert u.grad is not None
    moved = steps.to_vertices((u - u.grad).detach()) - VERTICES
    inverse = torch.linalg.inv(torch.tensor(steps.matrix.toarray()))
    torch.testing.assert_close(moved, -(inverse @ inverse @ g), atol=1e-10, rtol=0)


def test_uniform_adam_keeps_the_direction_and_ignores_the_scale():
    for scale in (1e-6, 1.0, 1e6):
        x = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
        g = scale * torch.arange(12, dtype=torch.float64).reshape(4, 3)
        optimizer = AdamUniform([x], lr=0.1)
        x.grad = g
        optimizer.step()
        torch.testing.assert_close(x.detach(), -0.1 * g / g.abs().max())


def test_uniform_adam_without_gradient_stays():
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.zeros(2)
    AdamUniform([x]).step()
    assert x.tolist() == [1, 1]


def test_negative_smoothness_is_refused():
    with pytest.raises(ValueError, match=r"LargeSteps\(\): smoothness must be >= 0"):
        LargeSteps(FACES, len(VERTICES), -1.0)
