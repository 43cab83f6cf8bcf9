"""Large Steps in Inverse Rendering of Geometry (Nicolet, Jacobson, Jakob 2021): smooth steps for vertices.

Gradients of silhouettes are sparse, and plain descent with them tangles a mesh. The paper optimizes `u = (I + lambda L)
v` instead of `v` (section 3.3, eq. 10, L the combinatorial Laplacian), which preconditions the gradient twice by `(I +
lambda L)^-1`, and steps with `AdamUniform`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..mesh.topology import Sparse, laplacian

Solve = Callable[[Tensor], Tensor]  # b `[V, C]` to matrix^-1 b, of a matrix factorized once


def _scipy_solver(matrix: Sparse) -> Solve:
    from scipy.sparse.linalg import splu

    lu = splu(matrix.tocsc())
    return lambda b: torch.from_numpy(lu.solve(b.detach().cpu().double().numpy())).to(b)


def _cholespy_solver(matrix: Sparse) -> Solve:
    import cholespy

    coo = matrix.tocoo()
    types = {torch.float32: cholespy.CholeskySolverF, torch.float64: cholespy.CholeskySolverD}
    solvers: dict[tuple[torch.device, torch.dtype], Any] = {}

    def solve(b: Tensor) -> Tensor:
        b = b.detach().contiguous()
        key = (b.device, b.dtype)
        if key not in solvers:
            rows, cols = (torch.from_numpy(x.astype(np.int32)).to(b.device) for x in (coo.row, coo.col))
            values = torch.from_numpy(coo.data).to(b.device)
            solvers[key] = types[b.dtype](coo.shape[0], rows, cols, values, cholespy.MatrixType.COO)
        x = torch.empty_like(b)
        solvers[key].solve(b, x)
        return x

    return solve


# By name: from a symmetric positive definite matrix to its solver.
SOLVERS: dict[str, Callable[[Sparse], Solve]] = {"cholespy": _cholespy_solver, "scipy": _scipy_solver}


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, solve: Solve) -> Tensor:
        ctx.solve = solve
        return solve(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.solve(grads[0]), None  # the matrix is symmetric: it is its own adjoint


class LargeSteps:
    """The change of variables between vertices `v` and `u = (I + smoothness * L) v`, both float `[V, C]`.

    `to_vertices` is differentiable (its adjoint is the same solve); the factorization is made once per mesh. `solver`
    names an entry of `SOLVERS`; None takes cholespy (CPU and CUDA) where it is installed, otherwise SciPy (CPU).
    """

    def __init__(
        self, faces: Int[Tensor, "F 3"], num_vertices: int, smoothness: float, solver: str | None = None
    ) -> None:
        if not smoothness >= 0:
            raise ValueError(f"LargeSteps(): smoothness must be >= 0; got {smoothness}")
        if solver is None:
            solver = "cholespy" if find_spec("cholespy") else "scipy"
        lap = laplacian(faces.detach().cpu().numpy(), num_vertices)
        self.matrix = (sp.identity(num_vertices) + smoothness * lap).tocsr()
        self._solve = SOLVERS[solver](self.matrix)

    def from_vertices(self, v: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """`(I + smoothness * L) v`, detached: the variable to optimize."""
        return torch.from_numpy(self.matrix @ v.detach().cpu().double().numpy()).to(v)

    def to_vertices(self, u: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """The vertices of `u`. Differentiable."""
        return _Solve.apply(u, self._solve)
