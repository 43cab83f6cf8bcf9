"""Lights: units, shapes of cones and harmonics, and gradients of every parameter."""

import math

import numpy as np
import pytest
import torch
from helpers import shading

from diffrast.mesh import cube
from diffrast.scene.light import (
    AmbientLight,
    DirectionalLight,
    PointLight,
    SphericalHarmonicsLight,
    SpotLight,
    lobe_bands,
    sh_basis,
)
from diffrast.scene.material import BlinnPhong, Lambert, MetallicRoughness
from diffrast.scene.prefilter import _kernel, solid_angles, texel_directions
from diffrast.scene.renderer import Scene, render
from diffrast.scene.tonemap import reinhard

POINTS = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]], dtype=torch.float64)


def test_units():
    """A white matt surface that faces an irradiance of pi, or a sky of 1, has radiance 1."""
    mesh, cam = cube(1.0), shading.camera(8, eye=(0, 0, 3.0), fov_y=0.2)
    for light in (
        DirectionalLight((0.0, 0.0, -5.0)),
        PointLight((0.0, 0.0, 1e3), torch.full((3,), math.pi * 999.5**2)),
        AmbientLight(),
        SphericalHarmonicsLight(torch.tensor([2 * math.sqrt(math.pi)] + [0.0] * 8)[:, None].repeat(1, 3)),
    ):
        with torch.no_grad():
            value = render(Scene(mesh, Lambert(), [light]), cam).image[0, 4, 4, :3]
        torch.testing.assert_close(value, torch.ones(3), atol=1e-3, rtol=0, msg=type(light).__name__)


def test_point_light_falls_off_with_the_square():
    to, irradiance = PointLight((0.0, 0.0, 2.0), (1.0, 2.0, 4.0)).incident(POINTS.float())
    square = torch.tensor([4.0, 5.0, 8.0])
    torch.testing.assert_close(irradiance, torch.tensor([1.0, 2.0, 4.0]) / square[:, None])
    torch.testing.assert_close(to, (torch.tensor([0, 0, 2.0]) - POINTS.float()) / square.sqrt()[:, None])


def test_spot_light_cone():
    spot = SpotLight((0.0, 0.0, 1.0), (0.0, 0.0, -3.0), (1.0,), inner=0.2, outer=0.6)
    angles = torch.tensor([0.0, 0.19, 0.4, 0.59, 0.61, 2.0])
    points = torch.stack([angles.sin(), 0 * angles, 1 - angles.cos()], -1)  # at distance 1
    _, irradiance = spot.incident(points)
    fade = ((0.4 * torch.ones(1)).cos() - math.cos(0.6)) / (math.cos(0.2) - math.cos(0.6))
    assert irradiance[:2, 0].tolist() == pytest.approx([1, 1], abs=1e-4)
    assert irradiance[2, 0].item() == pytest.approx(fade.item() ** 2, rel=1e-4)
    assert 0 < irradiance[3, 0] < 0.01
    assert irradiance[4:].abs().max() == 0


def sphere_quadrature(size=32):
    d = torch.from_numpy(texel_directions(size).reshape(-1, 3).copy())
    return d, torch.from_numpy(solid_angles(size).reshape(-1).copy())


def test_harmonics_are_orthonormal():
    d, omega = sphere_quadrature()
    basis = sh_basis(d)
    torch.testing.assert_close((basis * omega[:, None]).T @ basis, torch.eye(9, dtype=torch.float64), atol=2e-3, rtol=0)


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0, None])
def test_harmonics_light_against_quadrature(roughness):
    coefficients = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    light = SphericalHarmonicsLight(coefficients)
    d, omega = sphere_quadrature()
    sky = sh_basis(d) @ coefficients
    normal = torch.nn.functional.normalize(
        torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    weight = torch.from_numpy(_kernel(roughness, (normal @ d.T).numpy())) * omega
    want = (weight / weight.sum(1, keepdim=True)) @ sky
    if roughness is None:
        got = light.irradiance(normal)
    else:
        got = light.radiance(3 * normal, torch.full((5, 1), roughness, dtype=torch.float64))
    torch.testing.assert_close(got, want, atol=8e-3, rtol=0)


def test_lobes_keep_less_of_higher_bands_the_rougher_they_are():
    bands = lobe_bands()
    torch.testing.assert_close(bands[:, 0], torch.ones(len(bands), dtype=torch.float64))
    assert bool((bands[1:, 1:] <= bands[:-1, 1:] + 1e-12).all())
    assert bands[0, 1:].min() > 0.99
    # At roughness 1 the kernel is that of the irradiance.
    assert bands[-1].tolist() == pytest.approx([1, 2 / 3, 1 / 4], abs=1e-3)


LIGHTS = {
    "directional": lambda: DirectionalLight((-0.4, -0.6, -0.7), (2.0, 1.5, 1.0)),
    "point": lambda: PointLight((2.0, 1.5, 3.0), (14.0, 12.0, 10.0)),
    "spot": lambda: SpotLight((1.0, 1.5, 3.0), (-0.3, -0.45, -1.0), (20.0,), inner=0.02, outer=0.5),
    "ambient": lambda: AmbientLight((0.3, 0.4, 0.5)),
    "harmonics": lambda: SphericalHarmonicsLight(
        torch.rand(9, 3, generator=torch.Generator().manual_seed(2)) * 0.3 + 0.1
    ),
}


@pytest.mark.parametrize("name", LIGHTS)
@pytest.mark.parametrize(
    "material", [lambda: BlinnPhong(shininess=12.0), lambda: MetallicRoughness((0.9, 0.7, 0.5), (1, 0.45, 0.4))]
)
def test_gradients_of_every_parameter(name, material):
    light = LIGHTS[name]()
    scene = Scene(shading.ball(), material(), [light]).double()
    checked = shading.assert_every_gradient(light, scene, shading.camera(20))
    assert len(checked) == len(list(light.parameters())) > 0


def test_an_optimizer_finds_a_light():
    """All of it together: module, optimizer, picture."""
    mesh, cam = shading.ball(), shading.camera(16)
    with torch.no_grad():
        target = render(Scene(mesh, Lambert(), [PointLight((2.0, 1.0, 2.0), (9.0, 6.0, 3.0))]), cam).image
    light = PointLight((-0.5, 2.5, 2.5), (5.0, 5.0, 5.0))
    scene = Scene(mesh, Lambert(), [light])
    optimizer = torch.optim.Adam(light.parameters(), lr=0.1)
    for step in range(220):
        optimizer.param_groups[0]["lr"] = 0.3 * 0.02 ** (step / 220)
        optimizer.zero_grad()
        (render(scene, cam).image - target).square().mean().backward()
        optimizer.step()
    np.testing.assert_allclose(light.position.detach(), [2, 1, 2], atol=0.1)
    np.testing.assert_allclose(light.intensity.detach(), [9, 6, 3], rtol=0.1)


def test_errors():
    with pytest.raises(ValueError, match=r"PointLight\(\): position must be \[3\]; got \[2\]"):
        PointLight((1.0, 2.0))
    with pytest.raises(ValueError, match=r"coefficients must be \[9, 3\]"):
        SphericalHarmonicsLight(torch.zeros(4, 3))


def test_tone_mapping():
    gray = torch.tensor([0.0, 0.01, 1.0, 4.0], dtype=torch.float64)[:, None].repeat(1, 3)
    mapped = reinhard(gray, white=4.0)
    assert mapped[:, 0].tolist() == pytest.approx([0, 0.01 * (1 + 0.01 / 16) / 1.01, 17 / 32, 1])
    torch.testing.assert_close(reinhard(gray, white=4.0, exposure=2.0), reinhard(2 * gray, white=4.0))
    color = torch.tensor([[3.0, 1.5, 0.3]], dtype=torch.float64, requires_grad=True)
    out = reinhard(color)
    torch.testing.assert_close(out / out[:, :1], color / color[:, :1])
    assert torch.autograd.gradcheck(reinhard, color)
    with pytest.raises(ValueError, match="must be positive"):
        reinhard(color, white=0.0)
