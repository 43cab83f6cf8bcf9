"""Materials: pictures against NumPy, gradients against finite differences, what glTF says."""

import numpy as np
import pytest
import torch
from helpers import shading
from reference import shading as oracle

from diffrast.mesh import Mesh, cube, plane
from diffrast.mesh.material_data import MaterialData
from diffrast.scene.light import AmbientLight, DirectionalLight, PointLight, SphericalHarmonicsLight, sh_basis
from diffrast.scene.material import BlinnPhong, Lambert, MetallicRoughness, SphericalHarmonicsColor, Unlit
from diffrast.scene.renderer import Scene, render

SUN = torch.tensor([-0.4, -0.7, -0.6])
GEN = torch.Generator().manual_seed(0)


def directional(normal, irradiance):
    """To the sun, and its irradiance [N, 3] as radiance times solid angle of the one direction."""
    return oracle.unit(-SUN.double().numpy())[None], np.array([irradiance])


# --- Pictures ---------------------------------------------------------------------------------------------------------


def test_lambert_on_spot(data_folder):
    mesh, texture = shading.spot(data_folder)
    cam = shading.camera(48, eye=(1.5, 1.0, -2.2), fov_y=0.8)
    lights = [DirectionalLight(SUN * torch.tensor([1, 1, -1.0]), (2.0, 1.8, 1.6)), AmbientLight((0.1, 0.15, 0.2))]
    with torch.no_grad():
        got = render(Scene(mesh, Lambert(texture), lights), cam, samples=3).image[0, ..., :3].numpy()
    to = oracle.unit(-(SUN * torch.tensor([1, 1, -1.0])).double().numpy())
    uv_corners = mesh.uv[mesh.uv_index.long()].double().numpy()

    def shade(position, normal, view, face, weights):
        # Nearest texels: what filtering does is tested elsewhere.
        uv = (uv_corners[face] * weights[..., None]).sum(1)
        at = np.floor(uv * np.array(texture.shape[1::-1])).astype(int) % np.array(texture.shape[1::-1])
        base = texture.numpy()[at[:, 1], at[:, 0]]
        light = np.maximum(normal @ to, 0)[:, None] * np.array([2.0, 1.8, 1.6]) / np.pi + np.array([0.1, 0.15, 0.2])
        return base * light

    want = oracle.picture(
        cam, mesh.vertices.double().numpy(), mesh.normals().double().numpy(), mesh.faces.numpy(), shade, 6
    )
    assert want.max() > 0.5
    assert oracle.psnr(got, want) > 35


@pytest.mark.parametrize(("metallic", "roughness"), [(0.0, 0.3), (1.0, 0.2), (0.5, 0.7), (1.0, 1.0)])
def test_ggx_under_a_directional_light(metallic, roughness):
    mesh, cam, base = shading.ball(3), shading.camera(32), np.array([0.8, 0.6, 0.4])
    material = MetallicRoughness(tuple(base), (1.0, roughness, metallic))
    with torch.no_grad():
        got = render(Scene(mesh, material, [DirectionalLight(SUN, (1.5, 1.5, 1.2))]), cam, samples=3).image[0, ..., :3]
    to, light = directional(None, [1.5, 1.5, 1.2])

    def shade(position, normal, view, face, weights):
        return oracle.metallic_roughness(
            normal, view, to, light, np.broadcast_to(base, normal.shape), metallic, roughness
        )

    want = oracle.picture(
        cam, mesh.vertices.double().numpy(), mesh.normals().double().numpy(), mesh.faces.numpy(), shade, 3
    )
    assert want.max() > 0.1
    assert oracle.psnr(got.numpy(), want) > 35


# --- Gradients --------------------------------------------------------------------------------------------------------


def texture(channels, low=0.2, high=0.8):
    return torch.rand(2, 3, channels, generator=GEN) * (high - low) + low


MATERIALS = {
    "unlit": lambda: Unlit(texture(3)),
    "lambert": lambda: Lambert((0.3, 0.5, 0.7)),
    "blinn-phong": lambda: BlinnPhong((0.3, 0.5, 0.7), texture(1), 20.0),
    "blend": lambda: Lambert((0.3, 0.5, 0.7, 0.6), alpha_mode="BLEND"),
    "harmonics": lambda: SphericalHarmonicsColor(torch.randn(27, generator=GEN)),
    "constant": lambda: MetallicRoughness((0.3, 0.5, 0.7), (0.9, 0.4, 0.3), emission=(0.1, 0.2, 0.3)),
    "textured": lambda: MetallicRoughness(
        texture(4),
        texture(3),
        texture(3, 0.4, 0.9),
        texture(3),
        normal_scale=0.8,
        base_color_factor=(0.9, 0.8, 1.0, 0.7),
        orm_factor=(0.9, 0.8, 0.9),
        emission_factor=(0.5, 0.5, 0.2),
        alpha_mode="BLEND",
    ),
}


@pytest.mark.parametrize("name", MATERIALS)
def test_gradients_of_every_parameter(name):
    mesh = cube(1.2)
    material = MATERIALS[name]()
    lights = [
        PointLight((2.0, 1.5, 3.0), (14.0, 12.0, 10.0)),
        SphericalHarmonicsLight(torch.rand(9, 3, generator=GEN) * 0.3 + 0.2),
    ]
    scene = Scene(mesh, material, lights, (0.2, 0.1, 0.3)).double()
    # One step for all: textures have kinks between texels, which only matter to UVs.
    checked = shading.assert_every_gradient(material, scene, shading.camera(16), samples=1)
    assert len(checked) == len(list(material.parameters()))


def test_gradients_reach_what_a_field_was_computed_from():
    raw = torch.zeros(3, requires_grad=True)
    material = Lambert(raw.sigmoid())
    assert not list(material.parameters())
    leaf = torch.full((3,), 0.5, requires_grad=True)
    mine = Lambert(leaf)
    for m, tensor in ((material, raw), (mine, leaf)):
        scene = Scene(shading.ball(), m, [AmbientLight()])
        render(scene, shading.camera()).image[..., :3].sum().backward()
        assert tensor.grad is not None
        assert tensor.grad.min() > 0


# --- glTF -------------------------------------------------------------------------------------------------------------


def test_from_data():
    gen = torch.Generator().manual_seed(1)
    data = MaterialData(
        base_color_factor=(0.5, 0.6, 0.7, 0.8),
        base_color_texture=torch.rand(4, 4, 3, generator=gen),
        metallic_factor=0.5,
        roughness_factor=0.7,
        metallic_roughness_texture=torch.rand(4, 4, 3, generator=gen),
        emissive_factor=(0.1, 0.2, 0.3),
        alpha_mode="BLEND",
        normal_texture=torch.rand(2, 2, 3, generator=gen),
        normal_scale=0.5,
    )
    m = MetallicRoughness.from_data(data)
    assert m.base_color.shape == (4, 4, 4) and m.base_color_factor is not None
    torch.testing.assert_close(m.base_color_factor.detach(), torch.tensor(data.base_color_factor))
    assert bool((m.orm[..., 0] == 1).all()), "red means nothing without has_occlusion"
    assert m.orm_factor is not None
    torch.testing.assert_close(m.orm_factor.detach(), torch.tensor([1.0, 0.7, 0.5]))
    assert m.alpha_mode == "BLEND" and m.wants_tangents and float(m.normal_scale.detach()) == 0.5
    plain = MetallicRoughness.from_data(MaterialData(roughness_factor=0.3, metallic_factor=0.2))
    torch.testing.assert_close(plain.orm.detach(), torch.tensor([1.0, 0.3, 0.2]))
    assert plain.emission is None and plain.base_color_factor is None
    again = MetallicRoughness.from_data(data)
    again.load_state_dict(m.state_dict())


def facing_plane():
    """A square in the plane z = 0 that faces +z, u to the right, v up."""
    v = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return Mesh(v, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32), (v[:, :2] + 1) / 2)


def test_normal_map_directions():
    """Red tilts towards larger u, green towards larger v, also where the texture is mirrored or seen from behind."""
    tilt = torch.nn.functional.normalize(torch.tensor([0.4, 0.2, 1.0]), dim=0)
    stored = (tilt / 2 + 0.5).expand(2, 2, 3)
    cam = shading.camera(8, eye=(0, 0, 3.0), fov_y=0.3)
    lit = [
        DirectionalLight((0.0, 0.0, -1.0), (1.0, 0.0, 0.0)),
        DirectionalLight((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        DirectionalLight((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    ]
    mesh = facing_plane()
    mirrored = Mesh(mesh.vertices, mesh.faces, 1 - mesh.uv)
    flipped = Mesh(mesh.vertices, mesh.faces, mesh.uv * torch.tensor([-1.0, 1.0]))
    seen = {}
    for name, m in (("as is", mesh), ("turned", mirrored), ("flipped", flipped)):
        material = MetallicRoughness((1.0, 1.0, 1.0), (1.0, 1.0, 0.0), stored)
        with torch.no_grad():
            surface_normal = []
            keep = material.normal
            material.normal = lambda s, keep=keep, out=surface_normal: out.append(keep(s)) or out[-1]  # type: ignore[method-assign]
            render(Scene(m, material, lit), cam)
        seen[name] = surface_normal[0].mean(0)
    x, y, z = tilt
    torch.testing.assert_close(seen["as is"], torch.stack([x, y, z]))
    torch.testing.assert_close(seen["turned"], torch.stack([-x, -y, z]))
    torch.testing.assert_close(seen["flipped"], torch.stack([-x, y, z]))


def test_a_flat_normal_map_changes_nothing():
    mesh, cam = cube(1.2), shading.camera(24)
    flat = torch.tensor([0.5, 0.5, 1.0]).expand(4, 4, 3)
    lights = [PointLight((2.0, 1.5, 3.0), (14.0, 12.0, 10.0))]
    with torch.no_grad():
        a = render(Scene(mesh, MetallicRoughness(normal_map=flat), lights), cam).image
        b = render(Scene(mesh, MetallicRoughness(), lights), cam).image
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_alpha_modes():
    picture = torch.ones(64, 64, 4)
    picture[:, :32, 3] = 0.3
    mesh, cam = facing_plane(), shading.camera(16, eye=(0, 0, 3.0), fov_y=0.3)
    means = {}
    for mode in ("OPAQUE", "MASK", "BLEND"):
        out = render(Scene(mesh, Unlit(picture, alpha_mode=mode), background=(0.0, 0.0, 0.0)), cam)
        means[mode] = [out.image[0, :, part, 0].mean().item() for part in (slice(0, 6), slice(10, 16))]
    assert means["OPAQUE"] == pytest.approx([1, 1])
    assert means["MASK"] == pytest.approx([0, 1], abs=1e-5)
    assert means["BLEND"] == pytest.approx([0.3, 1], abs=1e-5)


def test_occlusion_dims_surroundings_only():
    mesh, cam = shading.ball(), shading.camera(8)
    for light, factor in ((AmbientLight(), 0.5), (DirectionalLight((0.0, 0.0, -1.0)), 1.0)):
        with torch.no_grad():
            open_, dim = (
                render(Scene(mesh, MetallicRoughness(orm=(o, 0.5, 0.0)), [light]), cam).image for o in (1.0, 0.5)
            )
        torch.testing.assert_close(dim[..., :3], open_[..., :3] * factor)


def test_vertex_colours_tint():
    mesh = shading.ball()
    mesh.colors = torch.tensor([0.2, 0.5, 1.0]).expand(len(mesh.vertices), 3).contiguous()
    out = render(Scene(mesh, Unlit((1.0, 0.5, 0.5))), shading.camera(8)).image
    torch.testing.assert_close(out[0, 4, 4].detach(), torch.tensor([0.2, 0.25, 0.5, 1.0]))


def test_harmonics_colour_is_the_view_direction_only():
    coefficients = torch.randn(27, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        r = render(Scene(shading.ball(), SphericalHarmonicsColor(coefficients)), shading.camera(9))
    eye = shading.camera().center.float()
    view = torch.nn.functional.normalize(eye - r.position[0, 4, 4], dim=0)
    torch.testing.assert_close(r.image[0, 4, 4, :3], sh_basis(view) @ coefficients.view(9, 3))


def test_errors():
    with pytest.raises(ValueError, match=r"base_color must be \[3 or 4\] or a texture"):
        Lambert(torch.rand(5))
    with pytest.raises(ValueError, match="alpha_mode must be one of"):
        Unlit(alpha_mode="CUT")
    with pytest.raises(ValueError, match="shininess must be positive"):
        BlinnPhong(shininess=0.0)
    with pytest.raises(ValueError, match="needs UVs"):
        render(Scene(Mesh(plane().vertices, plane().faces), Lambert(torch.rand(4, 4, 3))), shading.camera())
