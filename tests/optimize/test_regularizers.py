"""Regularizers: their gradients, and what each must be on surfaces with known answers."""

import copy
import math

import pytest
import torch

from diffrast.mesh import Mesh, cube, icosphere, plane, remesh, torus
from diffrast.optimize import AdamUniform
from diffrast.optimize.regularizers import Regularizers, cotangent_laplacian, vertex_areas

GEN = torch.Generator().manual_seed(0)


def regular(mesh: Mesh) -> tuple[Regularizers, torch.Tensor]:
    return Regularizers(mesh.faces, len(mesh.vertices)), mesh.vertices.double()


ENERGIES = {
    "edge_length": lambda r, v: r.edge_length(v),
    "edge_length_target": lambda r, v: r.edge_length(v, 0.7),
    "normal_consistency": lambda r, v: r.normal_consistency(v),
    "laplacian": lambda r, v: r.laplacian(v),
    "bilaplacian": lambda r, v: r.bilaplacian(v),
    "curvature": lambda r, v: r.curvature(v),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_gradcheck(name):
    for mesh in (icosphere(level=0), plane(cells=3)):
        r, v = regular(mesh)
        v = v + 0.1 * torch.randn(v.shape, dtype=v.dtype, generator=GEN)
        assert torch.autograd.gradcheck(lambda v, r=r: ENERGIES[name](r, v), v.requires_grad_())


@pytest.mark.parametrize("name", ENERGIES)
def test_moving_and_turning_change_nothing(name):
    r, v = regular(torus(segments=9, sides=7))
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=v.dtype, generator=GEN))
    torch.testing.assert_close(ENERGIES[name](r, v @ turn + 3), ENERGIES[name](r, v))


@pytest.mark.parametrize("name", ENERGIES)
def test_descent_lowers_the_energy_of_a_noisy_sphere(name):
    r, v = regular(icosphere(level=2))
    v = (v + 0.03 * torch.randn(v.shape, dtype=v.dtype, generator=GEN)).requires_grad_()
    start = ENERGIES[name](r, v)
    (slope,) = torch.autograd.grad(start, v)
    assert ENERGIES[name](r, v - 1e-3 * slope / slope.norm()).item() < start.item()


def test_a_plane_has_no_curvature_and_one_normal():
    mesh = plane(cells=6)
    r, v = regular(mesh)
    v = v + torch.randn(v.shape, dtype=v.dtype, generator=GEN) * torch.tensor([0.03, 0, 0.03])
    assert float(r.normal_consistency(v)) == pytest.approx(0, abs=1e-12)
    assert float(r.curvature(v)) == pytest.approx(0, abs=1e-20)
    # Linear precision: linear functions over the plane are harmonic at inner vertices.
    inner = torch.ones(len(v), dtype=torch.bool)
    inner[mesh.report().boundary_edges.reshape(-1)] = False
    values = cotangent_laplacian(v, mesh.faces, v @ torch.randn(3, 2, dtype=v.dtype, generator=GEN))
    assert inner.sum() == 25
    assert values[inner].abs().max() < 1e-12
    assert values[~inner].abs().max() > 0.1


@pytest.mark.parametrize("radius", [0.5, 4.0])
def test_a_sphere_has_its_mean_curvature(radius):
    mesh = icosphere(radius, level=4)
    r, v = regular(mesh)
    bend = cotangent_laplacian(v, mesh.faces, v) / vertex_areas(v, mesh.faces)[:, None]
    six = r.degree == 6  # around the twelve vertices with five neighbours a third of the faces is not the right area
    assert (~six).sum() == 12
    torch.testing.assert_close(bend[six], (2 / radius * v / radius)[six], rtol=0, atol=0.1 / radius)
    assert float(r.curvature(v)) == pytest.approx(16 * math.pi, rel=0.01)
    assert float(vertex_areas(v, mesh.faces).sum()) == pytest.approx(4 * math.pi * radius**2, rel=0.01)


def test_the_gradient_of_the_area_is_the_cotangent_laplacian():
    mesh = torus(segments=9, sides=7)
    v = mesh.vertices.double().requires_grad_()
    Mesh(v, mesh.faces).areas().sum().backward()
    torch.testing.assert_close(v.grad, cotangent_laplacian(v.detach(), mesh.faces, v.detach()))


def test_uniform_laplacian_is_the_difference_to_the_neighbours():
    r, v = regular(cube())
    x = torch.randn(8, 2, dtype=v.dtype, generator=GEN)
    neighbours = [{int(b if a == i else a) for a, b in r.ends.tolist() if i in (a, b)} for i in range(8)]
    expected = torch.stack([x[i] - x[sorted(n)].mean(0) for i, n in enumerate(neighbours)])
    torch.testing.assert_close(r.apply_uniform(x), expected)
    lonely = Regularizers(torch.tensor([[0, 1, 2]]), 4)
    assert lonely.apply_uniform(torch.ones(4, 1))[3] == 0


def test_edge_length_and_normals_of_a_cube():
    r, v = regular(cube(2.0))
    assert float(r.edge_length(v)) == pytest.approx((12 * 4 + 6 * 8) / 18)
    assert float(r.edge_length(v, 2.0)) == pytest.approx(6 * (8**0.5 - 2) ** 2 / 18)
    assert float(r.normal_consistency(v)) == pytest.approx(12 / 18)


def test_bilaplacian_shrinks_less():
    r, v = regular(icosphere(level=3))

    def after(energy):
        x = v.clone().requires_grad_()
        optimizer = torch.optim.SGD([x], lr=1.0)
        for _ in range(200):
            optimizer.zero_grad()
            (len(v) * energy(x) / 8).backward()
            optimizer.step()
        return float(x.detach().norm(dim=1).mean())

    assert 1 - after(r.laplacian) > 100 * (1 - after(r.bilaplacian)) > 0


def test_degenerate_triangles_give_no_nan():
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 0, 1]])
    v = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]], dtype=torch.float64, requires_grad=True)
    r = Regularizers(faces, 4)
    for energy in ENERGIES.values():
        (slope,) = torch.autograd.grad(energy(r, v), v)
        assert bool(torch.isfinite(slope).all())


def test_uniform_adam_runs_closures_and_comes_back_from_its_state():
    def run(x, optimizer, steps):
        for _ in range(steps):

            def closure():
                optimizer.zero_grad()
                loss = (x - torch.tensor([1.0, -2.0])).square().sum()
                loss.backward()
                return loss

            last = optimizer.step(closure)
        return last

    x = torch.zeros(2, requires_grad=True)
    optimizer = AdamUniform([x], lr=0.05)
    first = run(x, optimizer, 1)
    assert first.item() == 5
    run(x, optimizer, 20)
    y = x.detach().clone().requires_grad_()
    other = AdamUniform([y], lr=0.05)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(x, optimizer, 10)
    run(y, other, 10)
    assert torch.equal(x, y)
    with pytest.raises(ValueError, match=r"lr must be >= 0 and betas in \[0, 1\)"):
        AdamUniform([x], lr=-1)


def test_remesh_keeps_the_surface_and_its_colours():
    mesh = torus(segments=24, sides=12)
    mesh.colors = 0.5 + 0.3 * mesh.vertices
    out = remesh(mesh, faces=1500)
    assert abs(len(out.faces) / 1500 - 1) < 0.25
    report = out.report()
    assert report.closed
    assert report.euler == 0
    assert out.colors is not None
    torch.testing.assert_close(out.colors, 0.5 + 0.3 * out.vertices, atol=0.05, rtol=0)
    assert out.uv is None
    lengths = out.edge_lengths()
    assert lengths.std() / lengths.mean() < 0.25
    with pytest.raises(ValueError, match=r"remesh\(\): give either edge or faces"):
        remesh(mesh)
