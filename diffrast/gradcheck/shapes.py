"""The meshes of the benchmark: vertices float64 `[V, 3]` and triangles int32 `[F, 3]`, counter-clockwise from
outside."""

import torch
from torch import Tensor

from ..mesh.primitives import subdivided_icosahedron


def cube() -> tuple[Tensor, Tensor]:
    """Side 1, 8 vertices, 12 triangles."""
    axis = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    vertices = torch.cartesian_prod(axis, axis, axis)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    tri = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return vertices, torch.tensor(tri, dtype=torch.int32)


def icosphere(levels: int) -> tuple[Tensor, Tensor]:
    """Radius 1, `20 * 4^levels` triangles: 5 levels are 20 480, 6 are 81 920."""
    return subdivided_icosahedron(levels)


def bumpy(levels: int) -> tuple[Tensor, Tensor]:
    """A sphere with bumps that hide parts of each other near the outline."""
    vertices, tri = icosphere(levels)
    x, y, z = (5 * vertices).unbind(1)
    return vertices * (0.6 + 0.06 * (x.sin() * (1.3 * y + 1).sin() + (0.8 * z).cos() * y.sin()))[:, None], tri


def sheet(rows: int = 1, columns: int = 1) -> tuple[Tensor, Tensor]:
    """The square from -1 to 1 at z = 0."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, rows + 1, dtype=torch.float64),
        torch.linspace(-1, 1, columns + 1, dtype=torch.float64),
        indexing="ij",
    )
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).flatten(0, 1)
    a = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).flatten()
    b, c, d = a + 1, a + columns + 2, a + columns + 1
    return vertices, torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)]).int()


def torus(around: int, across: int) -> tuple[Tensor, Tensor]:
    """Radii 0.5 and 0.2, `2 * around * across` triangles, the axis along z."""
    i, j = (k.flatten() for k in torch.meshgrid(torch.arange(around), torch.arange(across), indexing="ij"))
    a, b = 2 * torch.pi * i.double() / around, 2 * torch.pi * j.double() / across
    radius = 0.5 + 0.2 * b.cos()
    vertices = torch.stack([radius * a.cos(), radius * a.sin(), 0.2 * b.sin()], -1)
    i1, j1 = (i + 1) % around, (j + 1) % across
    p, q, r, s = i * across + j, i1 * across + j, i1 * across + j1, i * across + j1
    return vertices, torch.cat([torch.stack([p, q, r], 1), torch.stack([p, r, s], 1)]).int()


def fan(count: int) -> tuple[Tensor, Tensor]:
    """A disk of radius 1 at z = 0: needles from its middle to its rim."""
    turn = torch.arange(count, dtype=torch.float64) * (2 * torch.pi / count)
    rim = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], -1)
    k = torch.arange(count)
    tri = torch.stack([torch.zeros_like(k), k + 1, (k + 1) % count + 1], 1)
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), rim]), tri.int()


def joined(*meshes: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Several meshes as one."""
    start, tri = 0, []
    for vertices, faces in meshes:
        tri.append(faces + start)
        start += len(vertices)
    return torch.cat([vertices for vertices, _ in meshes]), torch.cat(tri).int()
