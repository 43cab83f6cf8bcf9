"""Every command: its help and what it refuses; view, bench, gradcheck and doctor at work (all of them:
tests/test_readme.py)."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest
from helpers.commands import run
from helpers.viewing import torus, wait

from diffrast import cli
from diffrast import gradcheck as benchmark
from diffrast.commands import bench, command
from diffrast.gradcheck import SCENES, report
from diffrast.io import save_mesh
from diffrast.mesh import Mesh
from diffrast.reconstruct.options import DEFAULT_STEPS, Options, described


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    (example,) = re.findall(r"^Example: (.*?)(?: >.*)?$", text, re.MULTILINE)
    program, command, *rest = example.split()
    assert (program, command) == ("diffrast", name)
    assert isinstance(cli.parse([command, *rest]), cli.COMMANDS[name])  # exits if the example has no such option
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize("line", ["--help", "reconstruct --help", "completion bash", "completion fish"])
def test_help_and_completion_need_no_torch(line):
    code = (
        f"import sys; from diffrast import cli\ntry: cli.main({line.split()})\n"
        "finally: print({'torch', 'numpy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "set()", result.stderr


ELSEWHERE = """
import sys
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None  # an import of it fails, as on Windows
import importlib, pkgutil
import diffrast.commands, diffrast.viewer, diffrast.reconstruct.pipeline
for package in (diffrast.commands, diffrast.viewer):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


def test_commands_and_viewer_need_nothing_that_only_unix_has():
    result = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


BAD = {
    "a mesh that is missing": (["render", "nowhere.obj", "--out", "a.png"], "mesh nowhere.obj does not exist"),
    "a picture of no format": (["render", "MESH", "--out", "a.tga"], "must end in .png or .jpg or .jpeg; got a.tga"),
    "a picture of no size": (["render", "MESH", "--out", "a.png", "--width", "0"], "--width must be 1 to 16384; got 0"),
    "a camera upside down": (
        ["render", "MESH", "--out", "a.png", "--pitch", "120"],
        "--pitch must be -89 to 89; got 120",
    ),
    "a folder that is missing": (["render", "MESH", "--out", "no/a.png"], "the folder no does not exist"),
    "view: a mesh that is missing": (["view", "nowhere.glb"], "mesh nowhere.glb does not exist"),
    "view: a port that is none": (["view", "MESH", "--port", "99999"], "port must be 0 to 65535; got 99999"),
    "view: no picture": (["view", "MESH", "--size", "2"], "size must be 16 to 4096 pixels; got 2"),
    "export: no format": (["export", "MESH", "--out", "a.fbx"], "must end in .glb or .gltf or .obj or .ply; got a.fbx"),
    "export: no mesh": (["export", "TEXT", "--out", "a.glb"], "cannot be read"),
    "export: a texture without UVs": (
        ["export", "BARE", "--texture", "x.png", "--out", "a.glb"],
        "--texture needs UVs",
    ),
    "export: no texture": (["export", "MESH", "--texture", "x.png", "--out", "a.glb"], "image x.png does not exist"),
    "data set: no views": (["make-dataset", "MESH", "--out", "d", "--views", "0"], "--views must be 1 to 10000; got 0"),
    "data set: in the way": (["make-dataset", "MESH", "--out", "TEXT"], "a file is in the way"),
    "data set: a wide angle": (
        ["make-dataset", "MESH", "--out", "d", "--fov", "130"],
        "--fov must be 1 to 120; got 130",
    ),
    "gradcheck: no scene": (["gradcheck", "teapot"], "scenes must be among "),
    "gradcheck: no samples": (["gradcheck", "cube", "--samples", "0"], "--samples must be 1 to 1000; got 0"),
    "warmup: no architecture": (["warmup", "--arch", "hopper"], "--arch must be like sm_90; got hopper"),
    "warmup: half an architecture": (
        ["warmup", "--arch", "sm_90", "--arch", "90"],
        "--arch must be like sm_90; got 90",
    ),
    "texture: no photographs": (["texture", "MESH", "nowhere", "--out", "a.glb"], "data set nowhere is not a folder"),
    "texture: no steps": (
        ["texture", "MESH", "d", "--out", "a.glb", "--steps", "-1"],
        "--steps must be 0 to 1e+06; got -1",
    ),
    "pose: no photograph": (
        ["pose", "MESH", "nowhere.png", "--fov", "30", "--out", "a.json"],
        "image nowhere.png does not exist",
    ),
    "pose: no angle": (["pose", "MESH", "a.png", "--fov", "0", "--out", "a.json"], "--fov must be 1 to 150; got 0"),
    "reconstruct: no steps": (["reconstruct", "d", "--out", "o", "--steps", "0"], "--steps must be at least 1; got 0"),
    "reconstruct: no device": (
        ["reconstruct", "d", "--out", "o", "--device", "tpu"],
        "device must be cpu or cuda; got tpu",
    ),
    "bench: no pixels": (["bench", "--size", "1"], "--size must be 8 to 8192; got 1"),
    "bench: no device": (["bench", "--device", "abacus"], "device must be cpu or cuda; got abacus"),
}


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


UNPARSED = {
    "doctor now": "Unrecognized options: now",
    "doctor --loud": "Unrecognized options: --loud",
    "completion": "Missing from diffrast completion: SHELL",
    "completion tcsh": "invalid choice 'tcsh'",
    "render a.glb": "Missing from diffrast render: --out PATH",
    "render a.glb --out b.png --up x": "invalid choice 'x' for argument '--up'",
    "reconstruct d --out o --holdout some": "Error parsing --holdout: no type matching INT|{test}",
    "bench --repeats many": "Error parsing --repeats: invalid literal for int() with base 10: 'many'",
    "bench --repeats": "Missing value for argument '--repeats'",
}


@pytest.mark.parametrize("line", UNPARSED)
def test_a_wrong_command_line_is_explained_with_exit_code_2(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    name = line.split()[0]
    usage, error = err.splitlines()
    assert usage.startswith(f"usage: diffrast {name} [-h]")
    assert error.startswith(f"diffrast {name}: error: {UNPARSED[line]}")
    assert error.endswith(f" (see diffrast {name} --help)")


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "which command?"), (["paint"], "there is no command 'paint'"), (["rander"], "is 'render' meant?")],
)
def test_a_command_that_does_not_exist(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_every_command_is_given_two_bad_inputs_or_more():
    lines = [args for args, _ in BAD.values()] + [line.split() for line in UNPARSED]
    assert [name for name in cli.COMMANDS if sum(line[0] == name for line in lines) < 2] == []


# --- view -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent differently on Windows")
def test_view_serves_until_ctrl_c(glb):
    command = [sys.executable, "-m", "diffrast", "view", str(glb), "--port", "0", "--no-open", "--json"]
    # Where the tests themselves run in the background, Ctrl-C is ignored, and a child would inherit that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
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


# --- bench ------------------------------------------------------------------------------------------------------------


def test_bench(capsys):
    args = ("bench", "--size", 16, "--size", 32, "--triangles", 100, "--repeats", 1)
    code, text, err = run(capsys, *args)
    assert code == 0, err
    assert [line.split("  ")[0] for line in text.splitlines()[2:]] == [
        "rasterize",
        "interpolate",
        "texture",
        "antialias",
        "step with gradients",
    ]
    code, text, _ = run(capsys, *args, "--json")
    facts = json.loads(text)
    assert list(facts["milliseconds"]) == ["16", "32"]
    assert all(t > 0 for row in facts["milliseconds"].values() for t in row.values())


def interrupted_at(count: int, work):
    """As if somebody pressed Ctrl-C in that call of it."""
    calls: list[int] = []

    def called(*args):
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return work(*args)

    return called


def test_ctrl_c_keeps_the_sizes_that_were_measured(capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", interrupted_at(2, lambda *_: {"rasterize": 1.0}))
    code, out, err = run(capsys, "bench", "--size", 16, "--size", 32, "--json")
    assert code == 130
    assert json.loads(out)["milliseconds"] == {"16": {"rasterize": 1.0}}
    assert "stopped early: these are the sizes that were done" in err


def test_ctrl_c_keeps_the_scenes_that_were_judged(capsys, monkeypatch):
    def judge(scenes, adapters, samples, show):
        row = {"scene": "cube 16", "adapter": "area", "cosine": 1.0}
        one = interrupted_at(2, show)
        one(row), one(row)

    monkeypatch.setattr(benchmark, "gradients", judge)
    code, out, err = run(capsys, "gradcheck", "cube", "--json")
    assert code == 130
    assert [row["scene"] for row in json.loads(out)["rows"]] == ["cube 16"]
    assert "stopped early: these are the rows that were done" in err


def test_ctrl_c_where_there_is_nothing_to_keep(glb, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command.MeshFile, "load", interrupted_at(1, command.MeshFile.load))
    code, out, err = run(capsys, "render", glb, "--out", tmp_path / "a.png")
    assert (code, out, err) == (130, "", "diffrast: interrupted\n")
    assert list(tmp_path.iterdir()) == []


# --- gradcheck, doctor, reconstruct -----------------------------------------------------------------------------------


def test_gradcheck(capsys):
    assert {"cube 16", "rotation"} <= set(SCENES)
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


def test_gradcheck_solves_problems_and_draws_derivatives(tmp_path, capsys, monkeypatch):
    given: list[tuple] = []
    row = {"problem": "light", "adapter": "area", "error": 0.1, "mean": 0.1, "worst": 0.1, "found": 1.0, "seconds": 2.0}
    monkeypatch.setattr(
        benchmark, "problems", lambda names, ours, seeds, show: given.append((names, seeds)) or show(row)
    )
    monkeypatch.setattr(benchmark, "pictures", lambda path, shown: given.append((path, list(shown))))
    code, out, err = run(capsys, "gradcheck", "light", "--problems", "--seeds", 2)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["problem", "light"]
    assert run(capsys, "gradcheck", "light", "--images", tmp_path / "a.png")[0] == 0
    (problem, (path, shown)) = given
    assert problem == (("light",), 2)
    assert path == tmp_path / "a.png" and {name for name, _, _ in shown} == {"light"} and len(shown) > 1


def test_doctor_for_machines(capsys):
    code, text, _ = run(capsys, "doctor", "--json")
    assert code == 0
    states = {state["name"]: state for state in json.loads(text)["backends"]}
    assert states["cpu"]["works"] is True


def test_every_option_of_reconstruct_has_help_that_says_its_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reconstruct", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, value, about in described(Options()):
        if name == "progress":  # --quiet
            continue
        assert re.search(rf"--{name.replace('_', '-')}[ ,]", text) and about in text, name
        if value not in (None, False):
            assert f"{about} (default: {value})" in text
    assert f"of all stages together (default: {DEFAULT_STEPS})" in text
