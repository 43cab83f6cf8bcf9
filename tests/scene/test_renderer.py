"""The renderer: order of the steps, buffers, layers, several materials, cameras, and modules as people expect them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import shading

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.mesh import Mesh, cube, icosphere, plane, torus
from diffrast.mesh.batch import concatenate
from diffrast.mesh.material_data import MaterialData
from diffrast.optimize import CameraParameters, MeshParameters
from diffrast.scene.environment import EnvironmentLight
from diffrast.scene.light import AmbientLight, DirectionalLight, PointLight
from diffrast.scene.material import Lambert, MetallicRoughness, Unlit
from diffrast.scene.renderer import Scene, render
from diffrast.scene.shadow import Shadow


def squares(*depths, size=1.0):
    """Squares that face +z at the depths given, each half its size to the right of the last; ids 0, 1, ..."""
    vertices, faces = [], []
    for i, z in enumerate(depths):
        x = (i - (len(depths) - 1) / 2) * size
        vertices += [[x - size, -size, z], [x + size, -size, z], [x + size, size, z], [x - size, size, z]]
        faces += [[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]]
    ids = torch.arange(len(depths), dtype=torch.int32).repeat_interleave(2)
    return Mesh(torch.tensor(vertices), torch.tensor(faces, dtype=torch.int32), material_ids=ids)


def front(size=24, height=4.13, x=0.0):
    """A parallel view along -z, edges of `squares` between pixel centres at odd places."""
    view = torch.eye(4, dtype=torch.float64)
    view[:3, 3] = torch.tensor([-x, 0.0137, -5.0])
    return Camera.orthographic(view_height=height, width=size, height=size, world_to_camera=view)


# --- Buffers ----------------------------------------------------------------------------------------------------------


def test_buffers():
    mesh, cam = cube(1.2), shading.camera(40)
    with torch.no_grad():
        r = render(Scene(mesh, Lambert(), [AmbientLight()]), cam, channels={"height": mesh.vertices[:, 1:2]})
    assert r.image.shape == (1, 40, 40, 4)
    assert bool((r.mask == (r.ids >= 0)).all())
    y, x = torch.nonzero(r.mask[0]).unbind(-1)
    position = r.position[0, y, x].double()
    pixels, depth = cam.project(position)
    torch.testing.assert_close(pixels, torch.stack([x, y], -1) + 0.5, atol=1e-4, rtol=0, check_dtype=False)
    torch.testing.assert_close(r.depth[0, y, x, 0].double(), depth, atol=1e-5, rtol=0)
    assert r.uv is not None and r.uv.shape[-1] == 2
    assert ((r.position - r.rast.new_tensor(0))[~r.mask] == 0).all()
    eye = cam.center.to(position)
    assert ((r.normal[0, y, x].double() * (eye - position)).sum(-1) >= 0).all()
    # Away from the silhouette a channel is what was interpolated, and alpha is 1.
    inside = torch.nn.functional.max_pool2d((~r.mask).float()[:, None], 3, 1, 1)[0, 0] == 0
    torch.testing.assert_close(r.channels["height"][0, inside, 0], r.position[0, inside, 1])
    torch.testing.assert_close(r.image[0, inside, 3], torch.ones(int(inside.sum())))
    assert bool(
        (r.image[0, ..., 3][~torch.nn.functional.max_pool2d(r.mask.float()[:, None], 3, 1, 1)[0, 0].bool()] == 0).all()
    )


def test_alpha_is_antialiased_along_and_background_is_blended():
    mesh, cam = cube(1.5), shading.camera(40, EYE)
    color, behind = torch.tensor([0.9, 0.3, 0.1]), torch.tensor([0.1, 0.5, 0.8])
    with torch.no_grad():
        image = render(Scene(mesh, Unlit(color), background=behind), cam).image[0]
        bare = render(Scene(mesh, Unlit(color)), cam).image[0]
    alpha = image[..., 3:]
    assert ((alpha > 0.05) & (alpha < 0.95)).sum() > 40
    torch.testing.assert_close(image[..., :3], alpha * color + (1 - alpha) * behind)
    torch.testing.assert_close(bare[..., :3], bare[..., 3:] * color)


def test_supersampling_converges_to_coverage():
    mesh, cam = squares(0.0), front(16)
    exact = 4 / 4.13**2
    with torch.no_grad():
        for samples in (1, 2, 5):
            r = render(Scene(mesh, Unlit()), cam, samples=samples)
            assert r.image.shape == (1, 16, 16, 4) and r.mask.shape == (1, 16 * samples, 16 * samples)
            assert r.image[..., 3].mean().item() == pytest.approx(exact, rel=5e-3)  # its corners


def test_environment_as_background_shows_where_one_looks():
    from diffrast.scene.environment import latlong_directions

    sky = EnvironmentLight(latlong_directions(64, 128))
    cam = shading.camera(12)
    with torch.no_grad():
        image = render(Scene(shading.ball(), Unlit(), background=sky), cam).image[0, ..., :3]
    for x, y in ((0, 0), (11, 0), (0, 11)):
        there = cam.unproject(
            torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
        )
        want = torch.nn.functional.normalize(there - cam.center, dim=0).float()
        torch.testing.assert_close(image[y, x], want, atol=0.02, rtol=0)


# --- Layers -----------------------------------------------------------------------------------------------------------


def two_panes(alpha_front=0.4, alpha_back=1.0):
    return [
        Unlit((0.2, 0.4, 1.0, alpha_back), alpha_mode="BLEND"),
        Unlit((1.0, 0.2, 0.1, alpha_front), alpha_mode="BLEND"),
    ]


def test_transparency_by_hand():
    """Pixels in the middle of each region: back pane, both, front pane, nothing."""
    mesh, cam = squares(0.0, 1.0), front(24)
    with torch.no_grad():
        r = render(Scene(mesh, two_panes(0.4, 0.7), background=(0.0, 1.0, 0.0)), cam)
    blue, red, green = torch.tensor([0.2, 0.4, 1.0]), torch.tensor([1.0, 0.2, 0.1]), torch.tensor([0.0, 1, 0])
    row = r.image[0, 12]
    back = 0.7 * blue + 0.3 * green
    torch.testing.assert_close(row[5], torch.cat([back, torch.tensor([0.7])]))
    torch.testing.assert_close(row[12], torch.cat([0.4 * red + 0.6 * back, torch.tensor([0.4 + 0.6 * 0.7])]))
    torch.testing.assert_close(row[18], torch.cat([0.4 * red + 0.6 * green, torch.tensor([0.4])]))
    torch.testing.assert_close(row[0], torch.cat([green, torch.tensor([0.0])]))
    assert r.layers == 2
    with torch.no_grad():
        one = render(Scene(mesh, two_panes(0.4, 0.7), background=(0.0, 1.0, 0.0)), cam, max_layers=1)
    assert one.layers == 1
    torch.testing.assert_close(one.image[0, 12, 12, :3], 0.4 * red + 0.6 * green)


@pytest.mark.parametrize("x", [0.0, 0.03, 0.07, 0.11, 0.16])
def test_antialias_of_each_layer(x):
    """The edges of both panes, wherever they fall within their pixels, blend with what is really seen beside them."""
    mesh = squares(0.0, 1.0)
    scene = Scene(mesh, two_panes(), background=(0.0, 1.0, 0.0))
    with torch.no_grad():
        got = render(scene, front(24, x=x)).image[0, 12]
        fine = render(scene, front(24 * 16, x=x)).image[0]
    want = fine.view(24, 16, 24, 16, 4).mean((1, 3))[12]
    torch.testing.assert_close(got, want, atol=0.012, rtol=0)


def test_layers_of_fine_meshes():
    """Glass bodies that cut each other, of triangles smaller than a pixel, against a supersampled picture."""
    ball = icosphere(0.5, 3)
    mesh = concatenate([torus(0.8, 0.3), replace(ball, vertices=ball.vertices + torch.tensor([0.5, 0.2, 0.3]))])
    mesh.materials = []
    glass = [Unlit((1.0, 0.2, 0.1, 0.5), alpha_mode="BLEND"), Unlit((0.1, 0.3, 1.0, 0.4), alpha_mode="BLEND")]
    scene, cam = Scene(mesh, glass), shading.camera(48)
    with torch.no_grad():
        got, want = (render(scene, cam, samples=n).image for n in (1, 10))
    assert -10 * (got - want).square().mean().log10() > 36  # mode "silhouette" does not


def test_auto_stops():
    ball, cam = shading.ball(), shading.camera(16)
    glass = Lambert((0.5, 0.5, 0.5, 0.5), alpha_mode="BLEND")
    with torch.no_grad():
        assert render(Scene(ball, Lambert()), cam).layers == 1
        assert render(Scene(ball, glass), cam).layers == 2
        assert render(Scene(concatenate([ball, icosphere(0.5, 1)]), glass), cam).layers == 4
        # What is opaque hides the rest; where nothing is seen there is one empty layer.
        clear = Scene(ball, Lambert((0.5, 0.5, 0.5, 1.0), alpha_mode="BLEND"))
        assert render(clear, cam).layers == 1
        away = Camera.look_at((0, 0, 3.0), (0, 0, 9.0), fov_y=0.5, width=8, height=8)
        nothing = render(Scene(ball, glass, background=(0.1, 0.2, 0.3)), away)
    assert nothing.layers == 1 and not nothing.mask.any()
    torch.testing.assert_close(nothing.image[0, 3, 3], torch.tensor([0.1, 0.2, 0.3, 0.0]))


# --- Several materials ------------------------------------------------------------------------------------------------


def test_material_ids():
    gen = torch.Generator().manual_seed(0)
    mesh = cube(1.2)
    mesh.material_ids = (torch.arange(len(mesh.faces)) // 4).int()
    textures = [torch.rand(4, 4, 3, generator=gen) for _ in range(3)]
    lights = [PointLight((2.0, 1.5, 3.0), (14.0, 12.0, 10.0), shadow=Shadow(64)), AmbientLight((0.2, 0.2, 0.2))]
    makers = (lambda t: Unlit(t), lambda t: Lambert(t), lambda t: MetallicRoughness(t))
    cam = shading.camera(40, EYE, fov_y=0.7)
    with torch.no_grad():
        together = render(Scene(mesh, [m(t) for m, t in zip(makers, textures, strict=True)], lights), cam)
        seen = set(mesh.material_ids[together.ids[together.mask]].tolist())
        assert len(seen) >= 2
        for i, (make, texture) in enumerate(zip(makers, textures, strict=True)):
            alone = render(Scene(mesh, make(texture), lights), cam)
            ids = torch.where(together.mask, mesh.material_ids[together.ids.clamp_min(0)], -1)
            # Where all neighbours are of this material too, antialias has nothing to blend.
            mine = torch.nn.functional.max_pool2d((ids != i).float()[:, None], 3, 1, 1)[:, 0] == 0
            assert (mine.sum() > 5) == (i in seen)
            torch.testing.assert_close(together.image[mine], alone.image[mine])


def test_materials_of_files_and_defaults():
    mesh = squares(0.0, 1.0)
    mesh.materials = [MaterialData(emissive_factor=(1, 0, 0)), MaterialData(emissive_factor=(0, 1, 0))]
    with torch.no_grad():
        image = render(Scene(mesh), front()).image
    torch.testing.assert_close(image[0, 12, 5, :3], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(image[0, 12, 18, :3], torch.tensor([0, 1.0, 0]))
    ball = shading.ball()
    ball.texture = torch.full((2, 2, 3), 0.25)
    assert isinstance(Scene(ball).materials[0], Lambert)
    torch.testing.assert_close(Scene(ball).materials[0].base_color.detach(), ball.texture)


# --- Cameras ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_its_pictures():
    cams = [shading.camera(20), shading.camera(20, eye=(-2.0, 1.0, 2.0)), front(20)]
    glass = MetallicRoughness((0.9, 0.5, 0.3, 0.5), alpha_mode="BLEND")
    scene = Scene(cube(1.2), glass, [PointLight((2.0, 1.5, 3.0)), AmbientLight()], (0.1, 0.2, 0.3))
    with torch.no_grad():
        batch = render(scene, cams)
        for i, cam in enumerate(cams):
            one = render(scene, cam)
            for name in ("image", "depth", "normal"):
                torch.testing.assert_close(getattr(batch, name)[i], getattr(one, name)[0], msg=f"{name} of {i}")


EYE = (2.2, 1.7, 2.4)  # from here no face of a cube is seen edge-on


def smooth_cube():
    """Large faces with smooth normals: antialias knows no creases, and no silhouettes of triangles that own no
    pixel."""
    box = cube(1.2)
    return Mesh(box.vertices.double(), box.faces)


@pytest.mark.parametrize("material", ["matt", "glossy"])
def test_gradients_of_every_camera_parameter(material):
    """Pose and intrinsics, against finite differences of a supersampled picture: silhouettes, shading and highlights
    all move."""
    light = PointLight((1.5, 2.5, 2.0), (24.0, 20.0, 16.0))
    glossy = MetallicRoughness((0.3, 0.5, 0.7), (1.0, 0.4, 0.0))
    mesh = smooth_cube()
    scene = Scene(
        mesh, Lambert((0.3, 0.5, 0.7)) if material == "matt" else glossy, [light, AmbientLight()], (0.3, 0.2, 0.1)
    ).double()
    cam = CameraParameters(shading.camera(32, EYE, fov_y=0.7), pivot=(0.0, 0.0, 0.0))
    for parts in ([cam.pose], [cam.focal, cam.principal]):
        got = shading.flat_gradient(parts, shading.weighed(scene, cam(), 4))
        want = shading.finite_differences(parts, lambda: shading.weighed(scene, cam(), 10), 4e-3)
        cosine, error = shading.cosine_and_error(got, want)
        assert cosine > 0.99 and error < 0.15, f"got {got}, expected {want}: cosine {cosine:.4f}, error {error:.3f}"


def test_gradients_into_vertices_through_everything():
    """A moved mesh, textured, lit and glossy: a direction that changes silhouettes, UV derivatives, normals and
    reflections at once."""
    gen = torch.Generator().manual_seed(0)
    mesh = smooth_cube()
    mesh.uv = mesh.vertices[:, :2] / 3 + 0.5
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, 3, 3, generator=gen), 32, mode="bicubic")[0].permute(
        1, 2, 0
    )
    scene = Scene(
        mesh,
        MetallicRoughness(texture.contiguous(), (1.0, 0.5, 0.2)),
        [PointLight((1.5, 2.5, 2.0), (24.0,) * 3), AmbientLight()],
    ).double()
    geometry = MeshParameters(scene.mesh)
    scene.mesh = geometry
    cam, direction = (
        shading.camera(32, EYE, fov_y=0.7),
        torch.randn(mesh.vertices.shape, generator=gen, dtype=torch.float64),
    )
    got = shading.flat_gradient([geometry.vertices], shading.weighed(scene, cam, 2)) @ direction.reshape(-1).numpy()
    values = []
    with torch.no_grad():
        start = geometry.vertices.clone()
        for s in (4e-3, -4e-3):
            geometry.vertices.copy_(start + s * direction)
            values.append(float(shading.weighed(scene, cam, 10)))
    assert got == pytest.approx((values[0] - values[1]) / 8e-3, rel=0.1)


# --- Modules ----------------------------------------------------------------------------------------------------------


def test_scene_is_a_module():
    def make(mesh):
        return Scene(
            mesh,
            [MetallicRoughness()],
            [PointLight((2.0, 2.0, 2.0)), EnvironmentLight(torch.rand(6, 8, 8, 3))],
            (0.1, 0.2, 0.3),
        )

    scene = make(MeshParameters(shading.ball()))
    names = dict(scene.named_parameters())
    assert {"mesh.vertices", "materials.0.base_color", "lights.0.position", "lights.1.map"} <= set(names)
    other = make(MeshParameters(shading.ball()))
    other.load_state_dict(scene.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(render(other, shading.camera()).image, render(scene, shading.camera()).image)
    wide = make(shading.ball()).to(torch.float64)
    assert wide.geometry().vertices.dtype == wide.background.dtype == torch.float64
    with torch.no_grad():
        assert render(wide, shading.camera()).image.dtype == torch.float64
    optimizer = torch.optim.Adam(scene.parameters(), lr=1e-2)
    with torch.no_grad():
        target = render(wide, shading.camera()).image.float() * 0.8
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (render(scene, shading.camera()).image - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in scene.parameters())


def test_nothing_is_not_finite_where_things_degenerate():
    """A light on the surface, a camera in the plane of a face, roughness 0, a collapsed face: no NaN in value or
    gradient."""
    mesh = concatenate([plane(2.0, 2), cube(0.5)])
    vertices = mesh.vertices.clone()
    vertices[mesh.faces[3, 0].long()] = vertices[mesh.faces[3, 1].long()]
    mesh = MeshParameters(Mesh(vertices, mesh.faces))
    lights = [PointLight((0.0, 0.0, 0.3)), DirectionalLight((0.0, -1.0, 0.0)), EnvironmentLight(torch.ones(6, 8, 8, 3))]
    scene = Scene(mesh, MetallicRoughness(orm=(1.0, 0.0, 1.0)), lights)
    cam = Camera.look_at((0, 0.001, 3.0), (0, 0.001, 0), fov_y=0.8, width=24, height=24)
    out = render(scene, cam)
    out.image.sum().backward()
    assert out.image.isfinite().all()
    for name, p in scene.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name


def test_errors():
    ball, cam = shading.ball(), shading.camera(8)
    with pytest.raises(ValueError, match="cameras of one size"):
        render(Scene(ball), [cam, shading.camera(9)])
    with pytest.raises(ValueError, match='max_layers must be "auto"'):
        render(Scene(ball), cam, max_layers=0)
    with pytest.raises(ValueError, match="samples must be an integer"):
        render(Scene(ball), cam, samples=0)
    with pytest.raises(ValueError, match=r"material_ids in \[0, 2\)"):
        render(Scene(ball, [Lambert(), Lambert()]), cam)
    with pytest.raises(ValueError, match=r"channel 'x' must be \[V, C\]"):
        render(Scene(ball), cam, channels={"x": torch.rand(3, 1)})
    with pytest.raises(ValueError, match=r"background must have the camera's size \[8, 8, 3\]"):
        render(Scene(ball, background=torch.zeros(4, 4, 3)), cam)
    with pytest.raises(ValueError, match="mode must be one of 'silhouette', 'area'; got 'no'"):
        render(Scene(ball), cam, antialias="no")
    with pytest.raises(ValueError, match=r"render\(\): mesh: 162 of 162 vertices are not finite"):
        render(Scene(Mesh(ball.vertices * math.nan, ball.faces)), cam)
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))
    assert not render(Scene(empty, Lambert()), cam).mask.any()


def test_the_context_of_the_caller_is_used(raster):
    mesh, cam = cube(1.2), shading.camera(24)
    scene = Scene(mesh, Lambert(), [AmbientLight()]).to(raster.device)
    with torch.no_grad():
        got = render(scene, cam, ctx=raster.ctx).image.cpu()
        want = render(Scene(mesh, Lambert(), [AmbientLight()]), cam, ctx=dr.RasterizeContext(backend="cpu")).image
    assert np.abs((got - want).numpy()).max() < 0.2
    assert (got - want).abs().mean() < 2e-3
