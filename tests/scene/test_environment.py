"""Environment maps: the prefilter against quadrature, energy, conventions, gradients, and pictures against NumPy."""

import math

import numpy as np
import pytest
import torch
from helpers import shading
from helpers.recipes import recipe
from reference import shading as oracle

from diffrast.mesh import cube, sphere
from diffrast.scene import prefilter as pf
from diffrast.scene.environment import EnvironmentLight, latlong_directions, latlong_to_cube
from diffrast.scene.material import BlinnPhong, Lambert, MetallicRoughness
from diffrast.scene.renderer import Scene, render

CPU = torch.device("cpu")
AXES = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


def smooth_cube(size, seed=0):
    """A cube map of the directions through random waves, about 0..1."""
    d = torch.from_numpy(pf.texel_directions(size)[..., 0, :].copy()).float()
    wave = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)) * 2
    return 0.5 + 0.5 * torch.sin(d @ wave)


# --- Prefilter --------------------------------------------------------------------------------------------------------


def test_solid_angles_cover_the_sphere():
    assert pf.solid_angles(16, 2).sum() == pytest.approx(4 * math.pi, rel=1e-3)
    assert np.allclose(np.linalg.norm(pf.texel_directions(8, 3), axis=-1), 1)


@pytest.mark.parametrize("size", [8, 32, 64])
def test_a_uniform_sky_stays_uniform(size):
    levels, irradiance = pf.prefilter(torch.full((6, size, size, 3), 0.7))
    assert [level.shape[1] for level in levels] == pf.level_sizes(size)
    for level in (*levels, irradiance):
        torch.testing.assert_close(level, torch.full_like(level, 0.7), atol=1e-5, rtol=0)


def test_levels_against_quadrature():
    """The sparse operator of narrow lobes and the dense one of wide lobes: light summed over the finest texels."""
    cube_map = smooth_cube(64)
    levels, irradiance = pf.prefilter(cube_map)
    d, omega = pf.texel_directions(64).reshape(-1, 3), pf.solid_angles(64).reshape(-1)
    light = cube_map.reshape(-1, 3).double().numpy()
    for level, roughness in ((levels[1], 0.25), (levels[2], 0.5), (levels[4], 1.0), (irradiance, None)):
        n = level.shape[1]
        at = pf.texel_directions(n).reshape(-1, 3)[:: max(1, n * n // 16)]
        n_l = at @ d.T
        a2, half = (roughness or 1) ** 4, (1 + n_l) / 2
        weight = np.maximum(n_l, 0) * omega
        if roughness is not None:
            weight = weight * (a2 / (half * (a2 - 1) + 1) ** 2)
        want = weight @ light / weight.sum(1, keepdims=True)
        got = level.reshape(-1, 3).numpy()[:: max(1, n * n // 16)]
        assert np.abs(got - want).max() < 0.012
        assert np.abs(got - want).mean() < 0.003


@pytest.mark.parametrize("size", [32, 64])
def test_the_adjoint_is_exact(size):
    """<A x, y> = <x, A' y>; the prefilter is linear, so this is its whole gradient."""
    gen = torch.Generator().manual_seed(0)
    x = torch.rand(6, size, size, 3, generator=gen).requires_grad_()
    levels, irradiance = pf.prefilter(x)
    outs = [*levels, irradiance]
    y = [torch.rand(o.shape, generator=gen) for o in outs]
    total = sum((a.double() * b).sum() for a, b in zip(outs, y, strict=True))
    (back,) = torch.autograd.grad(total, x)
    torch.testing.assert_close((back.double() * x).sum(), total, rtol=1e-6, atol=0)


def test_prefilter_refuses():
    for bad in (torch.rand(6, 48, 48, 3), torch.rand(6, 4, 4, 3), torch.rand(5, 16, 16, 3)):
        with pytest.raises(ValueError, match=r"prefilter\(\): cube must be"):
            pf.prefilter(bad)


# --- Conventions ------------------------------------------------------------------------------------------------------


def test_latlong_middle_looks_along_minus_z():
    d = latlong_directions(64, 128)
    assert torch.allclose(d.norm(dim=-1), torch.ones(64, 128), atol=1e-6)
    middle, right, top = d[31:33, 63:65].mean((0, 1)), d[31:33, 95:97].mean((0, 1)), d[-1].mean(0)
    torch.testing.assert_close(middle, torch.tensor([0.0, 0, -1]), atol=2e-2, rtol=0)
    torch.testing.assert_close(right, torch.tensor([1.0, 0, 0]), atol=2e-2, rtol=0)
    torch.testing.assert_close(top, torch.tensor([0.0, 1, 0]), atol=2e-2, rtol=0)


@pytest.mark.parametrize("as_cube", [False, True])
def test_a_map_of_directions_gives_directions(as_cube):
    """The map holds its own directions: what is looked up is where one looked."""
    picture = latlong_directions(64, 128)
    light = EnvironmentLight(latlong_to_cube(picture, 32) if as_cube else picture).prepare()
    d = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for seen in (torch.cat([d, AXES]),):
        got = light.radiance(seen, torch.zeros(len(seen), 1)).detach()
        assert (torch.nn.functional.normalize(got, dim=1) - seen).abs().max() < 0.03
        # The irradiance of a clamped cosine sky keeps 2/3 of band 1.
        assert (light.irradiance(seen).detach() * 1.5 - seen).abs().max() < 0.03


def test_turn_moves_the_surroundings():
    light = EnvironmentLight(latlong_directions(64, 128), turn=math.pi / 2).prepare()
    # What was ahead (-z) now lies to the left: a positive turn is counter-clockwise seen from above.
    got = light.radiance(torch.tensor([[-1.0, 0, 0]]), torch.zeros(1, 1)).detach()
    torch.testing.assert_close(got, torch.tensor([[0.0, 0, -1]]), atol=0.03, rtol=0)


def test_what_is_kept_follows_the_map():
    light = EnvironmentLight(torch.ones(6, 8, 8, 3))
    with torch.no_grad():
        first = light.prepare()
        assert light.prepare().irradiance_map is first.irradiance_map
        light.map.mul_(2.0)
        torch.testing.assert_close(light.prepare().irradiance_map, 2 * first.irradiance_map)


# --- Energy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roughness", [0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("metallic", [0.0, 1.0])
def test_furnace(roughness, metallic):
    """A white sphere in a white room disappears: at most 3 % of the energy is lost or made, anywhere on it."""
    room = EnvironmentLight(torch.ones(6, 16, 16, 3))
    material = MetallicRoughness((1.0, 1.0, 1.0), (1.0, roughness, metallic))
    with torch.no_grad():
        r = render(Scene(sphere(1.0, 48, 24), material, [room], room), shading.camera(48))
    assert 0.3 < r.mask.float().mean() < 0.8
    seen = r.image[..., :3][r.mask]
    assert abs(seen.mean().item() - 1) < 0.01
    assert (seen - 1).abs().max() < 0.03


# --- Pictures ---------------------------------------------------------------------------------------------------------


def compare(mesh, cam, base_at, material, metallic, roughness):
    sky = shading.sky(32)
    with torch.no_grad():
        scene = Scene(mesh, material, [EnvironmentLight(sky, size=32)])
        got = render(scene, cam, samples=2).image[0, ..., :3].numpy()
    directions, omega = oracle.sky(40)
    light = oracle.latlong(sky.double().numpy(), directions) * omega[:, None]

    def shade(position, normal, view, face, weights):
        return oracle.metallic_roughness(normal, view, directions, light, base_at(face, weights), metallic, roughness)

    want = oracle.picture(
        cam, mesh.vertices.double().numpy(), mesh.normals().double().numpy(), mesh.faces.numpy(), shade, 4
    )
    assert want.max() > 0.3
    return oracle.psnr(got, want)


@pytest.mark.parametrize(("metallic", "roughness", "least"), [(0.0, 0.35, 40), (0.0, 0.7, 40), (1.0, 0.5, 35)])
def test_ggx_on_a_sphere(metallic, roughness, least):
    base = np.array([0.8, 0.6, 0.4])
    material = MetallicRoughness(tuple(base), (1.0, roughness, metallic))
    figure = compare(
        shading.ball(3),
        shading.camera(24),
        lambda f, w: np.broadcast_to(base, (len(f), 3)),
        material,
        metallic,
        roughness,
    )
    assert figure > least


def test_ggx_on_spot(data_folder):
    mesh, texture = shading.spot(data_folder)
    corners, size = mesh.uv[mesh.uv_index.long()].double().numpy(), np.array(texture.shape[1::-1])

    def base_at(face, weights):
        uv = (corners[face] * weights[..., None]).sum(1)
        at = np.floor(uv * size).astype(int) % size
        return texture.numpy()[at[:, 1], at[:, 0]].astype(np.float64)

    cam = shading.camera(48, eye=(1.5, 1.0, -2.2), fov_y=0.8)
    assert compare(mesh, cam, base_at, MetallicRoughness(texture, (1.0, 0.4, 0.0)), 0.0, 0.4) > 35


# --- Gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("material", [Lambert, BlinnPhong, lambda: MetallicRoughness((0.9, 0.7, 0.5), (1, 0.4, 0.6))])
def test_gradient_into_the_map(material):
    """A cube map, a lat-long one, its turn and its scale. Linear in the map: the step can be large, float32 inside is
    no matter."""
    cam, mesh = shading.camera(16), cube(1.2)
    gen = torch.Generator().manual_seed(0)
    for start, turn in ((torch.rand(6, 8, 8, 3, generator=gen), 0.0), (torch.rand(8, 16, 3, generator=gen), 0.3)):
        light = EnvironmentLight(start, turn=turn, scale=(1.0, 0.9, 0.8))
        scene = Scene(mesh, material(), [light]).double()
        got = shading.flat_gradient([light.map], shading.weighed(scene, cam))
        direction = torch.randn(light.map.shape, generator=gen, dtype=torch.float64)
        with torch.no_grad():
            light.map += 0.5 * direction
            above = float(shading.weighed(scene, cam))
            light.map -= direction
            below = float(shading.weighed(scene, cam))
            light.map += 0.5 * direction
        assert float(got @ direction.reshape(-1).numpy()) == pytest.approx(above - below, rel=1e-4, abs=1e-8)
        scale = shading.flat_gradient([light.scale], shading.weighed(scene, cam))
        want = shading.finite_differences([light.scale], lambda scene=scene: shading.weighed(scene, cam), 1e-3)
        assert shading.cosine_and_error(scale, want)[1] < 1e-4


def test_gradient_into_the_turn():
    picture = torch.rand(32, 64, 3, generator=torch.Generator().manual_seed(0)).double()
    for _ in range(40):  # smooth, so that finite differences see the derivative and not the texels
        picture = (picture + picture.roll(1, 0) + picture.roll(1, 1) + picture.roll(-1, 0) + picture.roll(-1, 1)) / 5
    light = EnvironmentLight(picture, turn=torch.tensor(0.3, dtype=torch.float64))
    scene = Scene(shading.ball(), MetallicRoughness((0.9, 0.7, 0.5), (1, 0.4, 0.6)), [light]).double()
    cam = shading.camera(32)
    got = shading.flat_gradient([light.turn], shading.weighed(scene, cam))
    want = shading.finite_differences([light.turn], lambda: shading.weighed(scene, cam), 3e-3)
    assert got[0] == pytest.approx(want[0], rel=0.05)


def test_against_a_path_tracer(data_folder):
    """Photographs by an independent path tracer with this light, mesh and texture. It also has shadows and light
    between surfaces, which are missing here, and noise."""
    pytest.importorskip("OpenEXR", reason="the light is an EXR file")
    names = recipe("07_material")
    cameras, photographs = names["read_photographs"](data_folder / "spot_photos", 100)
    light = EnvironmentLight(names["read_exr"](data_folder / "spot_photos" / "studio_env.exr"), size=32, turn=math.pi)
    mesh, texture = shading.spot(data_folder)
    some = [5, 17, 29]
    with torch.no_grad():
        scene = Scene(mesh, MetallicRoughness(texture, (1.0, 0.55, 0.0)), [light])
        image = render(scene, [cameras[i] for i in some], samples=2).image
    assert names["psnr"](image, photographs[some]) > 31
