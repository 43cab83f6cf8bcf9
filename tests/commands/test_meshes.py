"""The commands render, export and make-dataset: what they write."""

import json

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.viewing import torus
from PIL import Image

import diffrast.torch as dr
from diffrast.commands import make_dataset
from diffrast.io import linear_to_srgb, load_image, load_mesh, save_image, save_mesh
from diffrast.mesh import Mesh
from diffrast.mesh.bake_textures import padded
from diffrast.mesh.material_data import MaterialData
from diffrast.photos.data import read_views

# --- render -----------------------------------------------------------------------------------------------------------


def test_render(glb, tmp_path, capsys):
    code, out, err = run(
        capsys, "render", glb, "--out", tmp_path / "a.png", "--width", 80, "--height", 60, "--channel", "mask"
    )
    assert code == 0, err
    assert out == f"wrote {tmp_path / 'a.png'} (80 x 60)\n"
    picture = load_image(tmp_path / "a.png", linear=False)
    assert picture.shape == (60, 80, 3)
    assert float(picture.max()) == 1
    rows, columns = (picture[..., 0] > 0.5).nonzero().unbind(-1)
    assert 0 < int(rows.min()) <= int(rows.max()) < 59  # all of it is in the picture
    assert 0 < int(columns.min()) <= int(columns.max()) < 79
    code, out, _ = run(
        capsys, "render", glb, "--out", tmp_path / "b.png", "--width", 80, "--height", 60, "--yaw", 200, "--json"
    )
    assert code == 0
    assert json.loads(out) == {"out": str(tmp_path / "b.png"), "width": 80, "height": 60, "triangles": 1152}
    assert (load_image(tmp_path / "b.png", linear=False) - picture).abs().mean() > 0.05


def test_render_keeps_the_size_of_the_object_when_the_field_of_view_changes(glb, tmp_path, capsys):
    areas = []
    for fov in (20, 60):
        run(
            capsys,
            "render",
            glb,
            "--out",
            tmp_path / "a.png",
            "--width",
            64,
            "--height",
            64,
            "--channel",
            "mask",
            "--fov",
            fov,
        )
        areas.append(float(load_image(tmp_path / "a.png", linear=False).mean()))
    assert areas[1] == pytest.approx(areas[0], rel=0.25)


def test_the_theme_is_that_of_the_background(glb, tmp_path, capsys):
    corners = {}
    for theme in ("dark", "light"):
        out = tmp_path / f"{theme}.png"
        assert run(capsys, "render", glb, "--out", out, "--width", 48, "--height", 48, "--theme", theme)[0] == 0
        corners[theme] = float(load_image(out, linear=False)[0, 0].mean())
    assert corners["dark"] < 0.3 and corners["light"] > 0.7


def test_a_texture_of_choice(glb, tmp_path, capsys):
    red = torch.zeros(8, 8, 3)
    red[..., 0] = 1
    save_image(tmp_path / "red.png", red)
    args = (
        "render",
        glb,
        "--texture",
        tmp_path / "red.png",
        "--out",
        tmp_path / "a.png",
        "--width",
        48,
        "--height",
        48,
        "--channel",
        "albedo",
        "--theme",
        "dark",
    )
    assert run(capsys, *args)[0] == 0
    picture = load_image(tmp_path / "a.png", linear=False)
    assert float(picture[..., 0].max()) > 0.95
    assert float((picture[..., 1] > 0.2).float().mean()) == 0


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_to_every_format(glb, tmp_path, capsys):
    for suffix, textured in ((".glb", True), (".gltf", True), (".obj", True), (".ply", False)):
        out = tmp_path / f"a{suffix}"
        code, text, err = run(capsys, "export", glb, "--out", out, "--json")
        assert code == 0, err
        facts = json.loads(text)
        mesh = load_mesh(out)
        assert facts["triangles"] == len(mesh.faces) == 1152
        assert facts["textured"] is textured
        assert facts["colored"] is (mesh.colors is not None) is not textured
        original = torus()
        a, b = (m.vertices[m.faces.long()] for m in (mesh, original))
        assert torch.allclose(a, b, atol=1e-5)


def test_a_texture_is_baked_into_the_colours_of_a_ply(glb, tmp_path, capsys):
    assert (
        run(capsys, "export", glb, "--out", tmp_path / "a.ply")[1]
        == f"wrote {tmp_path / 'a.ply'} (1152 triangles, vertex colours)\n"
    )
    mesh, original = load_mesh(tmp_path / "a.ply"), torus()
    assert mesh.colors is not None and original.uv is not None and original.texture is not None
    # Off the seam, where two ends of the texture meet at a vertex, the colour is the texture's.
    flat = [
        linear_to_srgb(c)
        for c in (mesh.colors, dr.texture(original.texture[None], original.uv[None, None], filter_mode="linear")[0, 0])
    ]
    at = torch.cdist(mesh.vertices, original.vertices)
    place = at.argmin(1)
    inner = ((original.uv[place] > 0.01) & (original.uv[place] < 0.99)).all(1)
    assert int(inner.sum()) > 400
    assert float((flat[0] - flat[1][place])[inner].abs().max()) < 0.02


def test_every_material_is_padded_and_shared_pictures_stay_shared():
    """Two quads, each with a material of its own; both use one picture, and one a second picture."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    square = torch.tensor([[0, 1, 2], [0, 2, 3]]).int()
    uv = torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.25, 0.25], [0.0, 0.25]])
    picture, own = torch.zeros(16, 16, 3), torch.zeros(8, 8, 3)
    picture[:4, :4], picture[12:, 12:], own[:2, :2] = 0.25, 0.75, 0.5
    materials = [
        MaterialData(base_color_texture=picture),
        MaterialData(base_color_texture=picture, emissive_texture=own),
    ]
    mesh = Mesh(
        torch.cat([corners, corners + 2]),
        torch.cat([square, square + 4]),
        torch.cat([uv, uv + 0.75]),
        material_ids=torch.tensor([0, 0, 1, 1]).int(),
        materials=materials,
    )
    done, count = padded(mesh)
    assert count == (16 * 16 - 2 * 4 * 4) + (8 * 8 - 2 * 2)
    assert done.materials[0].base_color_texture is done.materials[1].base_color_texture
    filled = done.materials[0].base_color_texture
    assert filled is not None
    assert torch.equal(filled[:4, :4], picture[:4, :4]) and torch.equal(filled[12:, 12:], picture[12:, 12:])
    assert set(filled.unique().tolist()) == {0.25, 0.75}  # the nearest of the two charts
    assert mesh.materials[0].base_color_texture is picture  # what was given stays


def test_seams_are_padded(tmp_path, capsys):
    quad = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]]).int(),
        torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]),
        torch.zeros(16, 16, 3),
    )
    assert quad.texture is not None
    quad.texture[4:12, 4:12, 1] = 1.0
    save_mesh(tmp_path / "a.glb", quad)
    code, text, _ = run(capsys, "export", tmp_path / "a.glb", "--out", tmp_path / "b.glb", "--json")
    assert code == 0
    assert json.loads(text)["padded_texels"] == 16 * 16 - 8 * 8
    texture = load_mesh(tmp_path / "b.glb").texture
    assert texture is not None
    assert torch.allclose(texture, torch.tensor([0.0, 1.0, 0.0]).expand(16, 16, 3))
    run(capsys, "export", tmp_path / "a.glb", "--out", tmp_path / "c.glb", "--no-pad")
    kept = load_mesh(tmp_path / "c.glb").texture
    assert kept is not None
    assert torch.allclose(kept, quad.texture)


# --- make-dataset -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_data_set_is_read_back_with_its_cameras(glb, tmp_path, capsys, up):
    out = tmp_path / "photos"
    code, text, err = run(capsys, "make-dataset", glb, "--out", out, "--views", 5, "--size", 48, "--up", up, "--quiet")
    assert code == 0, err
    assert text == f"wrote 5 views to {out}\n"
    views = read_views(out)
    assert len(views) == 5
    mesh = torus()
    for view in views:
        pixels, depth = view.camera.project(mesh.vertices.double())
        assert (depth > 0).all()
        assert (pixels > 0).all()
        assert (pixels < 48).all()
        # The mask reaches exactly as far as the projected vertices do.
        rows, columns = (view.load_mask() > 0.5).nonzero().unbind(-1)
        low, high = pixels.amin(0), pixels.amax(0)
        assert float(columns.min()) == pytest.approx(float(low[0]), abs=1.0)
        assert float(columns.max() + 1) == pytest.approx(float(high[0]), abs=1.0)
        assert float(rows.min()) == pytest.approx(float(low[1]), abs=1.0)
        assert float(rows.max() + 1) == pytest.approx(float(high[1]), abs=1.0)
    ups = torch.stack([v.camera.world_to_camera[1, :3] for v in views]).mean(0)
    assert int(ups.argmax()) == {"y": 1, "z": 2}[up]
    code, _, err = run(capsys, "make-dataset", glb, "--out", out)
    assert code == 2
    assert "already holds a data set" in err


def test_unlit_photographs_show_the_texture(glb, tmp_path, capsys):
    green = torch.zeros(4, 4, 3)
    green[..., 1] = 0.5
    save_image(tmp_path / "green.png", green, linear=False)
    args = (
        "make-dataset",
        glb,
        "--texture",
        tmp_path / "green.png",
        "--out",
        tmp_path / "d",
        "--views",
        1,
        "--size",
        32,
        "--unlit",
        "--quiet",
    )
    assert run(capsys, *args)[0] == 0
    with Image.open(tmp_path / "d" / "train" / "r_000.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (32, 32, 4)
    assert (abs(pixels[pixels[..., 3] > 0][:, :3].astype(int) - [0, 128, 0]) <= 1).all()


def test_ctrl_c_keeps_the_photographs_that_are_done(glb, tmp_path, capsys, monkeypatch):
    real, calls = make_dataset.photograph, []

    def photograph(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(make_dataset, "photograph", photograph)
    code, out, err = run(capsys, "make-dataset", glb, "--out", tmp_path / "d", "--views", 9, "--size", 16, "--json")
    assert code == 130
    assert json.loads(out)["views"] == 3
    assert "stopped early: these are the photographs that were done" in err
    assert len(read_views(tmp_path / "d")) == 3
