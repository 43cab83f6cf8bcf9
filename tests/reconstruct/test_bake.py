"""Photographs onto a known mesh: the texture comes back, unseen places are filled, seams are padded."""

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from helpers.viewing import torus

from diffrast import cli
from diffrast.io import linear_to_srgb, load_mesh
from diffrast.mesh import Mesh, unwrap
from diffrast.mesh.bake_textures import atlas
from diffrast.reconstruct import bake as module
from diffrast.reconstruct.bake import bake


def plain(mesh: Mesh, **changes) -> Mesh:
    return replace(mesh, texture=None, **changes)


def test_the_texture_comes_back(unlit_views):
    truth = torus()
    assert truth.texture is not None
    baked = bake(plain(truth), unlit_views, size=64, steps=60)
    assert baked.seen > 0.95
    assert not baked.interrupted
    assert len(baked.figures) == 9
    assert min(f["psnr"] for f in baked.figures) > 30
    assert baked.mesh.texture is not None
    difference = linear_to_srgb(baked.mesh.texture) - linear_to_srgb(truth.texture)
    covered, _ = atlas(truth, (64, 64))
    assert float(difference[covered].abs().median()) < 0.01
    assert torch.equal(baked.mesh.uv, truth.uv)
    # The descent sharpens what the weighted mean has blurred.
    mean = bake(plain(truth), unlit_views, size=64, steps=0)
    assert sum(f["psnr_object"] for f in baked.figures) > sum(f["psnr_object"] for f in mean.figures)


def test_a_mesh_without_uvs_gets_some(unlit_views):
    baked = bake(Mesh(torus().vertices, torus().faces), unlit_views, size=128, steps=20)
    assert baked.mesh.uv is not None
    assert float(baked.mesh.uv.min()) >= 0 and float(baked.mesh.uv.max()) <= 1
    assert min(f["psnr"] for f in baked.figures) > 28


def test_unseen_places_take_the_colour_of_what_is_near_on_the_surface(unlit_views):
    """Seen from one side, the other side is still no darker than the photographs."""
    truth = torus()
    above = sorted(unlit_views, key=lambda v: -float(v.camera.center[1]))[:2]
    baked = bake(plain(truth), above, size=64, steps=0)
    assert 0.2 < baked.seen < 0.9
    assert baked.mesh.texture is not None
    low = torch.stack([v.load().rgb[v.load_mask() > 0.99].amin(0) for v in above]).amin(0)
    assert bool((linear_to_srgb(baked.mesh.texture) >= low - 1e-3).all())


def test_charts_across_the_border_and_repeated_textures():
    mesh = unwrap(Mesh(torus(8).vertices, torus(8).faces), size=64)
    assert mesh.uv is not None
    inside, places = atlas(mesh, (64, 64))
    moved, _ = atlas(replace(mesh, uv=mesh.uv + torch.tensor([0.5, -0.25])), (64, 64))
    assert torch.equal(moved, inside.roll((-16, 32), (0, 1)))
    ring = torch.hypot(torch.hypot(places[..., 0], places[..., 2]) - 1, places[..., 1])[inside]
    assert float((ring - 0.4).abs().max()) < (1.4 + 0.4) * (1 - math.cos(math.pi / 8))  # chords of both circles
    with pytest.raises(ValueError, match=r"at most 16 copies of 0..1; these repeat the texture \d+ times"):
        atlas(replace(mesh, uv=mesh.uv * 9), (64, 64))


def test_a_mesh_that_no_photograph_shows(unlit_views):
    far = torus()
    with pytest.raises(ValueError, match="no photograph shows the mesh"):
        bake(plain(far, vertices=far.vertices + 50), unlit_views, size=32, steps=1)


# --- The command ------------------------------------------------------------------------------------------------------


def test_command(unlit_photos, tmp_path, capsys):
    args = [
        "texture",
        unlit_photos / "torus.glb",
        unlit_photos / "set",
        "--out",
        tmp_path / "a.glb",
        "--size",
        64,
        "--steps",
        5,
        "--quiet",
    ]
    assert cli.main([str(a) for a in args]) == 0
    out, err = capsys.readouterr()
    assert out.count(" PSNR ") == 9 + 1
    assert "mean of 9 views" in out
    assert f"wrote {tmp_path / 'a.glb'} (64 x 64 texels, " in out
    assert err == ""
    texture = load_mesh(tmp_path / "a.glb").texture
    assert texture is not None and texture.shape == (64, 64, 3)
    assert cli.main([str(a) for a in [*args, "--json"]]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["size"] == 64 and len(facts["views"]) == 9 and facts["mean"]["psnr"] > 25


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent differently on Windows")
def test_ctrl_c_writes_what_there_is(unlit_photos, tmp_path, capsys, monkeypatch):
    real, calls = module.render_textured, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 12:  # after the means of nine views
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(module, "render_textured", interrupted)
    args = [
        "texture",
        unlit_photos / "torus.glb",
        unlit_photos / "set",
        "--out",
        tmp_path / "a.glb",
        "--size",
        32,
        "--steps",
        100_000,
    ]
    assert cli.main([str(a) for a in args]) == 130
    assert "stopped early: this is the texture at Ctrl-C" in capsys.readouterr().err
    assert load_mesh(tmp_path / "a.glb").texture is not None
    assert len(calls) < 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MESH": "nowhere.obj"}, "mesh nowhere.obj does not exist"),
        ({"SET": "nowhere"}, "data set nowhere is not a folder"),
        ({"OUT": "a.stl"}, "must end in .glb or .gltf or .obj; got a.stl"),
        ({"SIZE": "3"}, "--size must be 16 to 8192; got 3"),
    ],
)
def test_bad_input(unlit_photos, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    words = {"MESH": unlit_photos / "torus.glb", "SET": unlit_photos / "set", "OUT": "a.glb", "SIZE": "64", **change}
    args = ["texture", words["MESH"], words["SET"], "--out", words["OUT"], "--size", words["SIZE"], "--quiet"]
    assert cli.main([str(a) for a in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
