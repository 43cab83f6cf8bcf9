"""Texels that no photograph shows; materials and light from photographs."""

import math
from pathlib import Path

import pytest
import torch
import trimesh
from helpers.ring import BOX, CPU, new_run, ring_cameras
from helpers.solids import shape_of, torus

import diffrast.torch as dr
from diffrast.camera import look_at
from diffrast.fitting import material
from diffrast.fitting.appearance import fill_gaps
from diffrast.fitting.coverage import fill_unseen, views_of_texels
from diffrast.fitting.material import Material, fit_material, normalized, occlusion, start_material
from diffrast.fitting.targets import make_targets
from diffrast.io import load_mesh, save_mesh
from diffrast.io.image import linear_to_srgb, srgb_to_linear
from diffrast.mesh import Mesh
from diffrast.mesh.mesh import vertex_normals
from diffrast.photos import Pixels, View
from diffrast.scene.environment import EnvironmentLight, latlong_directions
from diffrast.scene.material import MetallicRoughness
from diffrast.scene.renderer import Scene, render


def from_above(views: int) -> list[View]:
    """Cameras that see the upper side of the torus (larger z) only."""
    cameras = []
    for i in range(views):
        a = 2 * math.pi * i / views
        eye = (0.5 * math.cos(a), 0.5 * math.sin(a), 5.0)
        cameras.append(look_at(eye, (0, 0, 0), (0, 1, 0), fov_y=0.65, width=96, height=96))
    white = torch.ones(96, 96, 3)
    return [View(str(i), Path(f"{i}.png"), c, Pixels(white, torch.ones(96, 96))) for i, c in enumerate(cameras)]


def test_texels_know_how_many_photographs_show_them(unwrapped):
    views = from_above(3)
    targets = make_targets(views, BOX.double().numpy(), 0, CPU)
    seen = views_of_texels(dr.RasterizeContext(), unwrapped, targets)
    flat = torch.nn.functional.pad(2 * unwrapped.uv - 1, (0, 1))
    rast, _ = dr.rasterize(
        dr.RasterizeContext(), torch.nn.functional.pad(flat, (0, 1), value=1.0)[None], unwrapped.uv_faces, (128, 128)
    )
    height = dr.interpolate(unwrapped.vertices[unwrapped.source], rast, unwrapped.uv_faces)[0][0, ..., 2]
    inside = unwrapped.covered
    assert float((seen[inside & (height > 0.2)] == 3).float().mean()) > 0.98
    assert float((seen[inside & (height < -0.1)] == 0).float().mean()) > 0.98


def test_unseen_texels_are_filled_smoothly(unwrapped):
    ctx = dr.RasterizeContext()
    rast, _ = dr.rasterize(
        ctx,
        torch.cat([2 * unwrapped.uv - 1, torch.zeros(len(unwrapped.uv), 1), torch.ones(len(unwrapped.uv), 1)], 1)[None],
        unwrapped.uv_faces,
        (128, 128),
    )
    place = dr.interpolate(unwrapped.vertices[unwrapped.source], rast, unwrapped.uv_faces)[0][0]
    truth = fill_gaps(0.5 + 0.3 * place, unwrapped.covered)
    seen = unwrapped.covered & ~((place[..., 0] > 1.2) & (place[..., 1].abs() < 0.3))
    model = Material(**{**vars(unwrapped), "seen": seen.long()}, orm=truth, normals=truth, light=torch.ones(4, 8, 3))
    hidden = unwrapped.covered & ~seen
    assert int(hidden.sum()) > 60
    broken = torch.where(seen[..., None], truth, torch.zeros(3))
    filled = fill_unseen(ctx, model, broken)
    torch.testing.assert_close(filled[seen], truth[seen])
    # Colours go on into the hole: far nearer to what was there than a flat guess, and within the range around it.
    error = (filled - truth)[hidden].abs().mean()
    flat = (truth[seen].mean(dim=0) - truth)[hidden].abs().mean()
    assert float(error) < 0.5 * float(flat)
    assert float(filled[hidden].min()) >= float(truth[seen].min()) - 1e-4


def test_occlusion_of_a_bowl():
    ball = trimesh.creation.icosphere(subdivisions=3)
    shape = shape_of(ball)
    open_sky = occlusion(dr.RasterizeContext(), shape.vertices, shape.faces)
    assert float(open_sky.min()) > 0.9
    ring = shape_of(torus(48))
    seen = occlusion(dr.RasterizeContext(), ring.vertices, ring.faces)
    distance = torch.hypot(ring.vertices[:, 0], ring.vertices[:, 1])
    outer, inner = seen[distance > 1.3].mean(), seen[distance < 0.7].mean()
    assert float(outer) > 0.93
    assert float(inner) < float(outer) - 0.1  # the hole sees the other side of the ring


def test_light_has_a_mean_of_one_and_the_product_stays(unwrapped):
    texture = torch.full((128, 128, 3), 0.4)
    model = Material(
        **{**vars(unwrapped), "texture": texture}, orm=texture, normals=texture, light=torch.full((8, 16, 3), 1.5)
    )
    scaled, factor = normalized(model)
    assert factor == pytest.approx(1.5)
    torch.testing.assert_close(scaled.light, torch.ones(8, 16, 3))
    torch.testing.assert_close(srgb_to_linear(scaled.texture), 1.5 * srgb_to_linear(texture), atol=1e-5, rtol=1e-4)
    bright, _ = normalized(Material(**{**vars(model), "texture": torch.full((128, 128, 3), 0.9)}))
    assert float(srgb_to_linear(bright.texture).max()) == pytest.approx(0.9, abs=1e-3)


def test_albedo_and_light_are_told_apart(unwrapped, tmp_path, monkeypatch):
    """Two colours in a room with a bright side: the baked texture has the room's shading, the base colour has not."""
    monkeypatch.setattr(material, "CUBE", 16)
    monkeypatch.setattr(material, "ROWS", 16)
    ctx = dr.RasterizeContext()
    albedo = torch.where(
        (unwrapped.vertices[:, :1] * 3).sin() > 0, torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.4, 0.6])
    )
    direction = latlong_directions(16, 32)
    room = 0.4 + 2.0 * (direction @ torch.tensor([0.0, 0.6, 0.8])).clamp_min(0)[..., None].expand(-1, -1, 3) ** 4
    mesh = Mesh(unwrapped.vertices, unwrapped.faces, colors=albedo)
    scene = Scene(mesh, MetallicRoughness((1.0, 1.0, 1.0), (1.0, 0.6, 0.0)), [EnvironmentLight(room, size=32)])
    views = []
    for i, camera in enumerate(ring_cameras(8, 72)):
        with torch.no_grad():
            picture = render(scene, camera, ctx=ctx, samples=2).image[0]
        rgb = linear_to_srgb((picture[..., :3] / picture[..., 3:].clamp_min(1e-4)).clamp(0, 1))
        views.append(View(str(i), Path(f"{i}.png"), camera, Pixels(rgb, picture[..., 3])))
    targets = make_targets(views, BOX.double().numpy(), 0, CPU)
    run = new_run()
    start = start_material(ctx, unwrapped)
    start.orm[..., 0] = 1  # the pictures have no shadows
    found, _ = fit_material(ctx, run, start, targets, steps=100, batch=4096)
    losses = [loss for _, loss in run.losses]
    assert sum(losses[-10:]) < 0.25 * sum(losses[:10])
    # Albedo at vertices, after one factor for all: far nearer than colours with the light in them.
    base = srgb_to_linear(found.texture)
    at = dr.texture(base[None], found.uv[None, None], filter_mode="linear", boundary_mode="clamp")[0, 0]
    with torch.no_grad():
        normals = vertex_normals(found.vertices, found.faces)
        lit = (albedo * EnvironmentLight(room, size=16).prepare().irradiance(normals))[found.source]
    true = albedo[found.source]
    plain = (3 * found.vertices[found.source, 0]).sin().abs() > 0.3  # a texel or two from where colours meet

    def off(colors: torch.Tensor) -> float:
        return float((colors * (colors * true).sum() / colors.square().sum() - true)[plain].abs().mean())

    assert off(at) < 0.65 * off(lit)
    # The light comes from above and behind, as it did.
    direction = latlong_directions(*found.light.shape[:2])
    sides = [found.light[(direction @ torch.tensor([0.0, 0.6, 0.8]) * s) > 0.8].mean() for s in (1, -1)]
    assert float(sides[0]) > 1.5 * float(sides[1])
    save_mesh(tmp_path / "mesh.glb", found.mesh())
    data = load_mesh(tmp_path / "mesh.glb").material_list()[0]
    assert data.base_color_texture is not None and data.metallic_roughness_texture is not None and data.has_occlusion
    assert data.normal_texture is None
    torch.testing.assert_close(data.base_color_texture[..., :3], base, atol=0.02, rtol=0)
    with torch.no_grad():
        i = torch.tensor([2])
        drawn = found.draw(ctx, targets.clip(found.vertices, i), targets.cameras[2], targets.resolution)
    assert float((drawn - targets.images[i]).abs().mean()) < 0.03
