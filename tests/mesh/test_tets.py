"""Marching tetrahedra: the surface is closed and right, and so are its derivatives."""

import numpy as np
import pytest
import torch
import trimesh

from diffrast.mesh.intersections import self_intersections
from diffrast.mesh.tets import TABLE, marching_tets, tet_lattice


def ring(p: torch.Tensor, major: float = 1.0, minor: float = 0.35) -> torch.Tensor:
    return minor - torch.hypot(torch.hypot(p[:, 0], p[:, 1]) - major, p[:, 2])


def lattice(step: float, half: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    shape = tuple(int(2 * h / step) + 1 for h in half)
    index, tets = tet_lattice((shape[0], shape[1], shape[2]))
    return step * (index - (torch.tensor(shape) - 1) / 2).double(), tets


def as_mesh(v: torch.Tensor, f: torch.Tensor) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(v.detach().numpy(), f.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    return mesh


def test_a_lattice_fills_its_box_with_positive_tetrahedra():
    points, tets = tet_lattice((4, 3, 5))
    p = points.double()[tets]
    volume = torch.linalg.det(p[:, 1:] - p[:, :1]) / 6
    assert bool((volume > 0).all())
    assert float(volume.sum()) == pytest.approx(3 * 2 * 4)
    with pytest.raises(ValueError, match=r"tet_lattice\(\): shape must be at least 2 points"):
        tet_lattice((1, 3, 3))


def test_the_table_of_a_case_and_of_its_opposite_use_the_same_edges():
    assert bool((TABLE[0] == -1).all())
    assert bool((TABLE[15] == -1).all())
    for case in range(1, 15):
        assert set(TABLE[case].flatten().tolist()) == set(TABLE[15 - case].flatten().tolist())
        assert (TABLE[case, 1, 0] >= 0) == (bin(case).count("1") == 2)


def test_a_torus_is_a_torus():
    points, tets = lattice(0.09, (1.5, 1.5, 0.5))
    v, f, ends = marching_tets(points, ring(points), tets)
    mesh = as_mesh(v, f)
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.35**2, rel=0.03)  # faces look outwards
    assert float(ring(v).abs().max()) < 0.02
    assert bool(((ring(points)[ends] > 0).sum(1) == 1).all())
    assert len(self_intersections(v.numpy(), f.numpy())) == 0


def test_any_values_and_bounded_offsets_give_a_closed_surface_that_does_not_cut_itself():
    generator = torch.Generator().manual_seed(0)
    points, tets = tet_lattice((9, 8, 7))
    values = torch.rand(len(points), generator=generator, dtype=torch.float64) - 0.4
    values[((points == 0) | (points == torch.tensor([8, 7, 6]))).any(1)] = -1
    offsets = 0.35 * torch.nn.functional.normalize(torch.randn(points.shape, generator=generator).double(), dim=1)
    v, f, _ = marching_tets(points + offsets, values, tets)
    assert len(f) > 1000
    as_mesh(v, f)
    assert len(self_intersections(v.numpy(), f.numpy())) == 0


def test_gradients():
    generator = torch.Generator().manual_seed(1)
    index, tets = tet_lattice((3, 3, 3))
    points = (index + 0.2 * torch.rand(27, 3, generator=generator)).double().requires_grad_()
    values = torch.randn(27, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, s: marching_tets(p, s, tets)[0], (points, values))


def test_nothing_to_cut():
    points, tets = tet_lattice((2, 2, 2))
    for sign in (1.0, -1.0):
        v, f, ends = marching_tets(points.float(), torch.full((8,), sign), tets)
        assert v.shape == (0, 3)
        assert f.shape == (0, 3)
        assert ends.shape == (0, 2)
