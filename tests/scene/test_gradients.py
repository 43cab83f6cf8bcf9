"""Gradients on a mesh of small triangles, against finite differences of a finer picture: cameras, lights, materials."""

import numpy as np
import pytest
import torch
from helpers import shading

from diffrast.optimize import CameraParameters
from diffrast.scene import (
    AmbientLight,
    BlinnPhong,
    DirectionalLight,
    EnvironmentLight,
    Lambert,
    MetallicRoughness,
    PointLight,
    Scene,
    SphericalHarmonicsLight,
    SpotLight,
)
from diffrast.scene.vectors import dot, unit

EYES = [(1.5, 1.0, -2.2), (-1.5, 0.7, 2.2)]
MATERIALS = {
    "glossy": lambda: MetallicRoughness((0.3, 0.5, 0.7), (0.9, 0.4, 0.3), emission=(0.1, 0.2, 0.3)),
    "blinn-phong": lambda: BlinnPhong((0.3, 0.5, 0.7), (0.3, 0.2, 0.1), 20.0),
}


def lights():
    """One of each."""
    gen = torch.Generator().manual_seed(2)
    return [
        PointLight((1.5, 2.5, -2.0), (12.0, 10.0, 8.0)),
        DirectionalLight((-0.4, -0.6, -0.7), (0.8, 0.6, 0.4)),
        SpotLight((1.0, 1.5, 3.0), (-0.3, -0.45, -1.0), (8.0,), inner=0.05, outer=0.4),
        AmbientLight((0.1, 0.2, 0.1)),
        SphericalHarmonicsLight(torch.rand(9, 3, generator=gen) * 0.2),
        EnvironmentLight(shading.sky(8), turn=0.3, scale=(0.5, 0.4, 0.3)),
    ]


@pytest.mark.parametrize(("name", "eye"), [("matt", EYES[0]), ("glossy", EYES[1])])
def test_camera(data_folder, name, eye):
    """Pose and intrinsics. Most triangles at the outline own no pixel."""
    mesh, _ = shading.spot(data_folder)
    scene = Scene(
        mesh, (Lambert() if name == "matt" else MATERIALS[name]()), lights()[:2] + lights()[3:4], (0.3, 0.2, 0.1)
    ).double()
    cam = CameraParameters(shading.camera(64, eye), pivot=(0.0, 0.0, 0.0))
    for parts in ([cam.pose], [cam.focal, cam.principal]):
        got = shading.flat_gradient(parts, shading.weighed(scene, cam(), 4))
        want = shading.finite_differences(parts, lambda: shading.weighed(scene, cam(), 8), 4e-3)
        cosine, error = shading.cosine_and_error(got, want)
        assert cosine > 0.99 and error < 0.15, f"cosine {cosine:.4f}, error {error:.3f}"


def along(values: torch.Tensor, count=12):
    """Directions ``[D, N]`` to differentiate in: each element of a small tensor, random ones of a large one."""
    n = values.numel()
    if n <= count:
        return torch.eye(n, dtype=torch.float64)
    return torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", MATERIALS)
def test_lights_and_materials(data_folder, name):
    """Every parameter of every light, and of the material under all of them."""
    mesh, _ = shading.spot(data_folder)
    material, cam = MATERIALS[name](), shading.camera(32, EYES[0])
    scene = Scene(mesh, material, lights(), (0.3, 0.2, 0.1)).double()
    parameters = dict(scene.named_parameters())
    assert len(parameters) == 14 + len(list(material.parameters()))
    grads = torch.autograd.grad(shading.weighed(scene, cam, 4), list(parameters.values()))
    for (what, p), grad in zip(parameters.items(), grads, strict=True):
        ways, start, want = along(p), p.detach().clone(), []
        with torch.no_grad():
            for way in ways:
                ends = []
                for s in (1e-4, -1e-4):
                    p.copy_(start + s * way.view(p.shape))
                    ends.append(float(shading.weighed(scene, cam, 7)))
                want.append((ends[0] - ends[1]) / 2e-4)
            p.copy_(start)
        got = (ways @ grad.reshape(-1)).numpy()
        cosine, error = shading.cosine_and_error(got, np.array(want))
        assert cosine > 0.99 and error < 0.15, f"{what}: cosine {cosine:.4f}, error {error:.3f}"


def test_vectors():
    gen = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 3, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(2))
    one = b[0].detach().requires_grad_()
    torch.testing.assert_close(dot(a, b), (a * b).sum(-1, keepdim=True))
    torch.testing.assert_close(unit(a), torch.nn.functional.normalize(a, dim=-1))
    assert torch.autograd.gradcheck(dot, (a, b)) and torch.autograd.gradcheck(dot, (a, one))
    assert torch.autograd.gradcheck(unit, a)
    assert not unit(torch.zeros(1, 3)).any()
