"""The commands render, view, export, make-dataset and bench: what they write, what they refuse, what they print for machines."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from viewing import torus, wait

import diffrast.torch as dr
from diffrast import cli
from diffrast.bench import SCENES, report
from diffrast.commands import gradcheck, make_dataset, reconstruct
from diffrast.reconstruct.data import read_views
from diffrast.reconstruct.options import DEFAULT_STEPS, Options
from diffrast.scene import Mesh, linear_to_srgb, load_image, load_mesh, save_image, save_mesh
from diffrast.scene.bake_textures import padded
from diffrast.scene.gltf_material import MaterialData


@pytest.fixture(scope="module")
def glb(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mesh") / "torus.glb"
    save_mesh(path, torus())
    return path


def run(capsys, *args) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    example = cli.COMMANDS[name].example.partition(" >")[0]
    assert f"example: {example}" in text
    program, command, *rest = example.split()
    assert (program, command) == ("diffrast", name)
    import argparse

    parser = argparse.ArgumentParser()
    cli.COMMANDS[name].add_options(parser)
    parser.parse_args(rest)  # exits with 2 if the example has an option that does not exist


def test_help_needs_no_torch():
    code = "import sys; from diffrast import cli\ntry: cli.main(['render', '-h'])\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip().endswith("False"), result.stderr


BAD = {
    "a mesh that is missing": (["render", "nowhere.obj", "--out", "a.png"], "mesh nowhere.obj does not exist"),
    "a picture of no format": (["render", "MESH", "--out", "a.tga"], "must end in .png or .jpg or .jpeg; got a.tga"),
    "a picture of no size": (["render", "MESH", "--out", "a.png", "--width", "0"], "--width must be 1 to 16384; got 0"),
    "a camera upside down": (["render", "MESH", "--out", "a.png", "--pitch", "120"], "--pitch must be -89 to 89; got 120"),
    "a folder that is missing": (["render", "MESH", "--out", "no/a.png"], "the folder no does not exist"),
    "view: a mesh that is missing": (["view", "nowhere.glb"], "mesh nowhere.glb does not exist"),
    "view: a port that is none": (["view", "MESH", "--port", "99999"], "port must be 0 to 65535; got 99999"),
    "view: no picture": (["view", "MESH", "--size", "2"], "size must be 16 to 4096 pixels; got 2"),
    "export: no format": (["export", "MESH", "--out", "a.fbx"], "must end in .glb or .gltf or .obj or .ply; got a.fbx"),
    "export: no mesh": (["export", "TEXT", "--out", "a.glb"], "cannot be read"),
    "export: a texture without UVs": (["export", "BARE", "--texture", "x.png", "--out", "a.glb"], "--texture needs UVs"),
    "export: no texture": (["export", "MESH", "--texture", "x.png", "--out", "a.glb"], "image x.png does not exist"),
    "data set: no views": (["make-dataset", "MESH", "--out", "d", "--views", "0"], "--views must be 1 to 10000; got 0"),
    "data set: in the way": (["make-dataset", "MESH", "--out", "TEXT"], "a file is in the way"),
    "data set: a wide angle": (["make-dataset", "MESH", "--out", "d", "--fov", "130"], "--fov must be 1 to 120; got 130"),
    "gradcheck: no scene": (["gradcheck", "teapot"], "scenes must be among "),
    "gradcheck: no samples": (["gradcheck", "cube", "--samples", "0"], "--samples must be 1 to 1000; got 0"),
    "warmup: no architecture": (["warmup", "--arch", "hopper"], "--arch must be like sm_90; got hopper"),
    "reconstruct: no steps": (["reconstruct", "d", "--out", "o", "--steps", "0"], "--steps must be at least 1; got 0"),
    "reconstruct: no device": (["reconstruct", "d", "--out", "o", "--device", "tpu"], "--device must be cpu or cuda; got tpu"),
    "bench: no pixels": (["bench", "--size", "1"], "--size must be 8 to 8192; got 1"),
    "bench: no device": (["bench", "--device", "abacus"], "--device must be cpu or cuda; got abacus"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(name, glb, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ply").write_text("a text\n")
    bare = torus(4)
    save_mesh(tmp_path / "bare.ply", Mesh(bare.vertices, bare.faces))
    stand_ins = {"MESH": glb, "TEXT": "text.ply", "BARE": "bare.ply"}
    args, message = BAD[name]
    code, out, err = run(capsys, *[stand_ins.get(a, a) for a in args])
    assert code == 2
    assert out == ""
    assert err.startswith("diffrast: error: ")
    assert message in err
    assert err.count("\n") == 1


# --- render --------------------------------------------------------------------------------------------------------------------


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
        capsys,
        "render",
        glb,
        "--out",
        tmp_path / "b.png",
        "--width",
        80,
        "--height",
        60,
        "--yaw",
        200,
        "--json",
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


def test_a_texture_of_choice(glb, tmp_path, capsys):
    red = torch.zeros(8, 8, 3)
    red[..., 0] = 1
    save_image(tmp_path / "red.png", red)
    args = ("render", glb, "--texture", tmp_path / "red.png", "--out", tmp_path / "a.png", "--width", 48, "--height", 48,
            "--channel", "albedo", "--theme", "dark")  # fmt: skip
    assert run(capsys, *args)[0] == 0
    picture = load_image(tmp_path / "a.png", linear=False)
    assert float(picture[..., 0].max()) > 0.95
    assert float((picture[..., 1] > 0.2).float().mean()) == 0


# --- view ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent differently on Windows")
def test_view_serves_until_ctrl_c(glb):
    command = [sys.executable, "-m", "diffrast", "view", str(glb), "--port", "0", "--no-open", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reader.start()
        wait(lambda: lines or process.poll() is not None, "the address", 60)
        facts = json.loads(lines[0])
        assert facts["triangles"] == 1152
        with urllib.request.urlopen(facts["url"], timeout=20) as page:
            assert b"<canvas" in page.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert "Traceback" not in process.communicate()[1]
    finally:
        process.kill()


# --- export --------------------------------------------------------------------------------------------------------------------


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
        for c in (
            mesh.colors,
            dr.texture(original.texture[None], original.uv[None, None], filter_mode="linear")[0, 0],
        )
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
    mesh = Mesh(torch.cat([corners, corners + 2]), torch.cat([square, square + 4]), torch.cat([uv, uv + 0.75]),
                material_ids=torch.tensor([0, 0, 1, 1]).int(), materials=materials)  # fmt: skip
    done, count = padded(mesh)
    assert count == (16 * 16 - 2 * 4 * 4) + (8 * 8 - 2 * 2)
    assert done.materials[0].base_color_texture is done.materials[1].base_color_texture
    filled = done.materials[0].base_color_texture
    assert filled is not None
    assert torch.equal(filled[:4, :4], picture[:4, :4]) and torch.equal(filled[12:, 12:], picture[12:, 12:])
    assert set(filled.unique().tolist()) == {0.25, 0.75}  # the nearest of the two charts
    assert mesh.materials[0].base_color_texture is picture  # what was given stays


def test_seams_are_padded(tmp_path, capsys):
    quad = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]).int(),
                torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]), torch.zeros(16, 16, 3))  # fmt: skip
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


# --- make-dataset --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_data_set_is_read_back_with_its_cameras(glb, tmp_path, capsys, up):
    out = tmp_path / "photos"
    code, text, err = run(
        capsys, "make-dataset", glb, "--out", out, "--views", 5, "--size", 48, "--up", up, "--quiet"
    )
    assert code == 0, err
    assert text == f"wrote 5 views to {out}\n"
    views = read_views(out)
    assert len(views) == 5
    mesh = torus()
    for view in views:
        assert view.alpha is not None
        pixels, depth = view.camera.project(mesh.vertices.double())
        assert (depth > 0).all()
        assert (pixels > 0).all()
        assert (pixels < 48).all()
        # The mask reaches exactly as far as the projected vertices do.
        rows, columns = (view.alpha > 0.5).nonzero().unbind(-1)
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
    args = ("make-dataset", glb, "--texture", tmp_path / "green.png", "--out", tmp_path / "d", "--views", 1, "--size", 32,
            "--unlit", "--quiet")  # fmt: skip
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
    code, out, err = run(
        capsys, "make-dataset", glb, "--out", tmp_path / "d", "--views", 9, "--size", 16, "--json"
    )
    assert code == 130
    assert json.loads(out)["views"] == 3
    assert "stopped early: these are the photographs that were done" in err
    assert len(read_views(tmp_path / "d")) == 3


# --- bench ---------------------------------------------------------------------------------------------------------------------


def test_bench(capsys):
    args = ("bench", "--size", 16, "--size", 32, "--triangles", 100, "--repeats", 1)
    code, text, err = run(capsys, *args)
    assert code == 0, err
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == [
        "rasterize", "interpolate", "texture", "antialias", "step with gradients"]  # fmt: skip
    code, text, _ = run(capsys, *args, "--json")
    facts = json.loads(text)
    assert list(facts["milliseconds"]) == ["16", "32"]
    assert all(t > 0 for row in facts["milliseconds"].values() for t in row.values())


# --- gradcheck, doctor, reconstruct --------------------------------------------------------------------------------------------


def test_gradcheck(capsys):
    assert {"cube 16", "rotation"} <= set(SCENES)
    assert gradcheck._beginning(SCENES, "cube") == ["cube 16", "cube 64", "cube 256"]
    args = ("gradcheck", "cube 16", "--samples", 1, "--mode", "silhouette")
    code, text, err = run(capsys, *args)
    assert code == 0, err
    lines = text.splitlines()
    assert lines[0].split() == report.header().split()
    assert len(lines) == 2 and lines[1].startswith("cube 16")
    code, text, err = run(capsys, *args, "--json", "--fail-under", 1)
    (row,) = json.loads(text)["rows"]
    assert code == 1
    assert f"cosine {row['cosine']:.4f} is below 1" in err


def test_doctor_for_machines(capsys):
    code, text, _ = run(capsys, "doctor", "--json")
    assert code == 0
    states = {state["name"]: state for state in json.loads(text)["backends"]}
    assert states["cpu"]["works"] is True


def test_defaults_of_reconstruct_are_those_of_the_library():
    """Help says what the dataclass does: the options themselves have no defaults."""
    for name, how in reconstruct.FIELDS.items():
        value = DEFAULT_STEPS if name == "steps" else getattr(Options(), name)
        said = re.search(r"default: ([\w.]+)\)", how["help"])
        if said:
            assert said[1] == (value if isinstance(value, str) else f"{value:g}"), name
        else:  # chosen from the data, or a switch
            assert value in (None, False), name
    assert set(reconstruct.FIELDS) < {field.name for field in fields(Options)}


# --- completion ----------------------------------------------------------------------------------------------------------------

# Words before the cursor -> what Tab must offer, and must not.
COMPLETIONS = {
    "diffrast re": ("reconstruct render", "export"),
    "diffrast render --cha": ("--channel", "--yaw"),
    "diffrast render scene.glb --channel n": ("normal", "nearest"),
    "diffrast completion z": ("zsh", "bash"),
    "diffrast make-dataset a.obj --vi": ("--views", "--out"),
}


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: its completion is not tested")
    return path


def script(capsys, name: str) -> str:
    code, text, _ = run(capsys, "completion", name)
    assert code == 0
    return text


def test_bash_completes_subcommands_options_and_choices(capsys):
    tab = 'tab() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _diffrast; echo "${COMPREPLY[@]}"; }\n'
    calls = "\n".join(f"tab {words}" for words in [*COMPLETIONS, "diffrast render sce"])
    result = subprocess.run(
        [shell("bash"), "-c", script(capsys, "bash") + tab + calls],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    *offers, files = result.stdout.splitlines()
    for (wanted, unwanted), offer in zip(COMPLETIONS.values(), offers, strict=True):
        assert set(wanted.split()) <= set(offer.split())
        assert unwanted not in offer.split()
    assert files == ""  # bash itself completes file names then


def test_fish_completes_subcommands_options_and_choices(capsys):
    calls = "\n".join(f"complete -C '{words}'; echo ---" for words in COMPLETIONS)
    result = subprocess.run(
        [shell("fish"), "--no-config", "-c", script(capsys, "fish") + calls],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    for (wanted, unwanted), offer in zip(COMPLETIONS.values(), result.stdout.split("---"), strict=False):
        words = {line.split("\t")[0] for line in offer.strip().splitlines()}
        assert set(wanted.split()) <= words
        assert unwanted not in words


def test_zsh_takes_the_completion(capsys):
    code = script(capsys, "zsh") + "print -r -- $_comps[diffrast]\n"
    result = subprocess.run([shell("zsh"), "-f", "-c", code], capture_output=True, text=True, timeout=60)
    assert "_bash_complete -o default -F _diffrast" in result.stdout, result.stderr
