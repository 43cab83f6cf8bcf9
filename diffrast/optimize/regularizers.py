"""Penalties that keep an optimized mesh well shaped, all differentiable into the vertices.

Topology is found once, in `Regularizers`; the energies are means or integrals, so that they do not grow with the number
of vertices.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..mesh.mesh import face_normals
from ..mesh.topology import edges, face_pairs


class Regularizers:
    """Energies of vertices `[V, 3]` for faces `[F, 3]` that stay as they are.

    `vertices` of every method may be any dtype and must be on the device of `faces`; each returns a scalar.
    """

    def __init__(self, faces: Int[Tensor, "F 3"], num_vertices: int) -> None:
        self.faces = faces.long()
        self.num_vertices = num_vertices
        e = edges(self.faces)
        self.ends, self.boundary = e.ends, e.ends[e.count == 1]
        self.pairs, _ = face_pairs(self.faces)
        self.degree = torch.bincount(self.ends.reshape(-1), minlength=num_vertices)

    def edge_length(self, vertices: Float[Tensor, "V 3"], target: float = 0.0) -> Float[Tensor, ""]:
        """Mean squared difference of the edges' lengths to `target`, in world units squared."""
        a, b = vertices[self.ends].unbind(1)
        if target == 0:
            return (a - b).square().sum(-1).mean()
        return ((a - b).norm(dim=-1) - target).square().mean()

    def normal_consistency(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
        """Mean of 1 - cosine of the angle between the normals of faces that share an edge: zero for a plane."""
        normal = face_normals(vertices, self.faces)
        first, second = normal[self.pairs].unbind(1)
        return (1 - (first * second).sum(-1)).mean()

    def apply_uniform(self, x: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """The uniform Laplacian of values `[V, C]`: each minus the mean of its neighbours; zero where there are
        none."""
        a, b = self.ends.unbind(1)
        total = torch.zeros_like(x).index_add(0, a, x[b]).index_add(0, b, x[a])
        degree = self.degree.to(x)[:, None]
        return torch.where(degree > 0, x - total / degree.clamp_min(1), torch.zeros_like(x))

    def laplacian(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
        """Mean square of the uniform Laplacian, in world units squared: evens out the triangles and shrinks."""
        return self.apply_uniform(vertices).square().sum(-1).mean()

    def bilaplacian(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, ""]:
        """Mean square of the uniform Laplacian applied twice: penalizes changes of curvature, so that it shrinks far
        less."""
        return self.apply_uniform(self.apply_uniform(vertices)).square().sum(-1).mean()

    def curvature(self, vertices: Float[Tensor, "V 3"], *, frozen_weights: bool = False) -> Float[Tensor, ""]:
        """The surface's integral of the squared mean curvature vector `(2 H)^2`, by the cotangent Laplacian; 16 pi for
        a sphere of any size. Boundary vertices do not count. `frozen_weights`: no gradient through the cotangents and
        areas."""
        weights_at = vertices.detach() if frozen_weights else vertices
        bend = cotangent_laplacian(weights_at, self.faces, vertices)
        area = vertex_areas(weights_at, self.faces)
        inner = torch.ones(self.num_vertices, dtype=torch.bool, device=vertices.device)
        inner[self.boundary] = False
        inner &= area.detach() > 0
        return (bend[inner].square().sum(-1) / area[inner]).sum()


def vertex_areas(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, " V"]:
    """A third of the area of the faces around each vertex, `[V]`. Differentiable into `vertices`."""
    index = faces.long()
    a, b, c = vertices[index].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1) / 6
    return vertices.new_zeros(len(vertices)).index_add(0, index.reshape(-1), area.repeat_interleave(3))


def cotangent_laplacian(
    vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], values: Float[Tensor, "V C"]
) -> Float[Tensor, "V C"]:
    """`sum_j (cot a_ij + cot b_ij) / 2 * (x_i - x_j)` of values `[V, C]` (Pinkall and Polthier 1993, "Computing
    Discrete Minimal Surfaces", section 2), `[V, C]`. Of the positions themselves: the area times `2 H n`.

    Differentiable into `vertices` (through the weights) and `values`. Triangles without an area are left out.
    """
    index = faces.long()
    corner = vertices[index]
    out = torch.zeros_like(values)
    for k in range(3):
        i, j = index[:, (k + 1) % 3], index[:, (k + 2) % 3]
        to_i, to_j = corner[:, (k + 1) % 3] - corner[:, k], corner[:, (k + 2) % 3] - corner[:, k]
        cross = torch.linalg.cross(to_i, to_j)
        square = cross.square().sum(-1)
        real = square > 0
        sine = torch.where(real, square, torch.ones_like(square)).sqrt()
        weight = torch.where(real, 0.5 * (to_i * to_j).sum(-1) / sine, torch.zeros_like(sine))[:, None]
        difference = weight * (values[i] - values[j])
        out = out.index_add(0, i, difference).index_add(0, j, -difference)
    return out
