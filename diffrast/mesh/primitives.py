"""Simple closed shapes with shared positions, UVs and normals: sphere, cube, plane, torus."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .mesh import Mesh
from .topology import edges, first_of_each

Shape = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (u, v) in 0..1 to points and normals


def _grid(nu: int, nv: int, wrap_u: bool, wrap_v: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A parameter rectangle of `nu` x `nv` cells: UVs `[T, 2]`, the UV indices of its triangles `[F, 3]`, and for each
    UV the position it belongs to `[T]` (numbered as in a grid; opposite sides coincide where they wrap)."""
    i, j = (t.reshape(-1) for t in torch.meshgrid(torch.arange(nu + 1), torch.arange(nv + 1), indexing="ij"))
    uv = torch.stack([i / nu, j / nv], dim=1)
    columns = nv if wrap_v else nv + 1
    place = (i % nu if wrap_u else i) * columns + (j % nv if wrap_v else j)
    a, b = (t.reshape(-1) for t in torch.meshgrid(torch.arange(nu), torch.arange(nv), indexing="ij"))
    first = a * (nv + 1) + b
    right, up = first + nv + 1, first + 1
    lower, upper = torch.stack([first, right, right + 1], dim=1), torch.stack([first, right + 1, up], dim=1)
    return uv, torch.stack([lower, upper], dim=1).view(-1, 3), place


def _shaped(nu: int, nv: int, wrap: tuple[bool, bool], shape: Shape, name: str) -> Mesh:
    """The surface `shape` over a grid."""
    smallest = (3 if wrap[0] else 1, 3 if wrap[1] else 1)
    if nu < smallest[0] or nv < smallest[1]:
        raise ValueError(f"{name}(): needs at least {smallest[0]} x {smallest[1]} cells; got {nu} x {nv}")
    uv, uv_faces, place = _grid(nu, nv, *wrap)
    points, normals = shape(*uv.double().unbind(1))
    first = first_of_each(place)
    return Mesh(
        points[first].float(),
        place[uv_faces].to(torch.int32),
        uv=uv.float(),
        uv_faces=uv_faces.to(torch.int32),
        normal=normals[first].float(),
    )


def plane(size: float = 2.0, cells: int = 1) -> Mesh:
    """A square in the plane y = 0 that faces +y, `cells` x `cells` quads; u runs along x, v along -z."""

    def shape(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        o = torch.zeros_like(u)
        return torch.stack([u - 0.5, o, 0.5 - v], dim=1) * size, torch.stack([o, o + 1, o], dim=1)

    return _shaped(cells, cells, (False, False), shape, "plane")


def torus(major: float = 1.0, minor: float = 0.35, segments: int = 64, sides: int = 32) -> Mesh:
    """A ring around the y axis, `major` from the axis to the middle of the tube of radius `minor`; u runs along the
    ring."""

    def shape(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        a, b = 2 * math.pi * u, 2 * math.pi * v
        n = torch.stack([b.cos() * a.sin(), b.sin(), b.cos() * a.cos()], dim=1)
        ring = torch.stack([a.sin(), torch.zeros_like(a), a.cos()], dim=1)
        return major * ring + minor * n, n

    return _shaped(segments, sides, (True, True), shape, "torus")


def sphere(radius: float = 1.0, segments: int = 64, rings: int = 32) -> Mesh:
    """A sphere with the map of a globe: u is the longitude, from -z around over +x, and v the latitude; each pole is
    one vertex."""

    def shape(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        a, b = 2 * math.pi * u, math.pi * (v - 0.5)
        n = torch.stack([-b.cos() * a.sin(), b.sin(), -b.cos() * a.cos()], dim=1)
        n[v == 0] = torch.tensor([0.0, -1, 0], dtype=n.dtype)
        n[v == 1] = torch.tensor([0.0, 1, 0], dtype=n.dtype)
        return radius * n, n

    if rings < 2:
        raise ValueError(f"sphere(): rings must be at least 2; got {rings}")
    mesh = _shaped(segments, rings, (True, False), shape, "sphere").welded()
    assert mesh.uv_faces is not None
    # At a pole one side of half of the triangles has become a point.
    f = mesh.faces
    keep = (f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])
    mesh.faces, mesh.uv_faces = f[keep], mesh.uv_faces[keep]
    assert mesh.normal is not None
    # Each position has one normal: index both alike.
    mesh.normal, mesh.normal_faces = mesh.vertices / radius, None
    return mesh


def cube(size: float = 1.0) -> Mesh:
    """A cube about the origin: 8 positions, a normal for each side, and the whole texture on each side."""
    corners = torch.cartesian_prod(*(torch.tensor([-0.5, 0.5]),) * 3)
    # The corners of each side, counter-clockwise from outside, beginning at its texture's bottom left: +x -x +y -y +z
    # -z.
    sides = torch.tensor([[5, 4, 6, 7], [0, 1, 3, 2], [3, 7, 6, 2], [0, 4, 5, 1], [1, 5, 7, 3], [4, 0, 2, 6]])
    halves = torch.tensor([[0, 1, 2], [0, 2, 3]])
    normals = torch.stack([s * torch.eye(3)[i] for i in range(3) for s in (1, -1)])
    return Mesh(
        corners * size,
        sides[:, halves].view(-1, 3).to(torch.int32),
        uv=torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
        uv_faces=halves.repeat(6, 1).to(torch.int32),
        normal=normals,
        normal_faces=torch.arange(6).repeat_interleave(2)[:, None].expand(-1, 3).to(torch.int32).contiguous(),
    )


def icosphere(radius: float = 1.0, level: int = 3) -> Mesh:
    """A sphere of 20 * 4^`level` nearly equal triangles, without UVs."""
    points, faces = subdivided_icosahedron(level)
    return Mesh((radius * points).float(), faces, normal=points.float())


def subdivided_icosahedron(level: int) -> tuple[Float[Tensor, "V 3"], Int[Tensor, "F 3"]]:
    """Points of length 1, float64, and faces, int32, of an icosahedron whose faces were cut into four `level` times."""
    g = (1 + 5**0.5) / 2
    corners = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g), (0, -1, -g), (0, 1, -g)]
    corners += [(g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    sides = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2)]
    sides += [(10, 7, 6), (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5)]
    sides += [(2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]
    points, faces = torch.tensor(corners, dtype=torch.float64), torch.tensor(sides)
    for _ in range(level):
        e = edges(faces)
        middle = e.of_face + len(points)
        points = torch.cat([points, points[e.ends].mean(1)])
        (a, b, c), (ab, bc, ca) = faces.unbind(1), middle.unbind(1)
        faces = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], dim=1).view(-1, 3)
    return torch.nn.functional.normalize(points, dim=1), faces.to(torch.int32)
