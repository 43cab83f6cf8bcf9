"""What README.md shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import torch
from helpers.viewing import torus

from diffrast import cli
from diffrast.checks import machine as doctor
from diffrast.io import save_mesh
from diffrast.viewer import Viewer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_program_finds_its_triangle(capsys):
    (program,) = (text for text in PROGRAMS if "optimizer" in text)
    names: dict = {}
    exec(program, names)
    expected = torch.tensor([[-0.8, -0.6], [0.7, -0.7], [0.1, 0.8]])
    assert (names["xy"].detach() - expected).norm(dim=1).max() < 0.005
    assert "tensor(" in capsys.readouterr().out


def test_the_other_programs_run():
    """Each in a process of its own; the import of existing code follows the alias."""
    others = [text for text in PROGRAMS if "optimizer" not in text]
    assert len(others) >= 3
    for program in others:
        check = (
            "\nimport nvdiffrast.torch as old, diffrast.torch\nassert old.rasterize is diffrast.torch.rasterize"
            if "compat" in program
            else ""
        )
        result = subprocess.run(
            [sys.executable, "-c", program + check], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_make_targets_exist():
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))  # as a command, not as a word of a sentence
    offered = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= offered


def test_reconstruct_options_exist():
    section = README[README.index("## Photographs to a mesh") : README.index("## Speed")]
    command = [sys.executable, "-m", "diffrast", "reconstruct", "--help"]
    usage = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout
    options = set(re.findall(r"--[a-z][a-z-]*", section))
    assert {"--holdout", "--masks"} <= options
    assert options <= set(re.findall(r"--[a-z][a-z-]*", usage))


# What makes the README's commands quick enough for a test: options given later win.
QUICK = {
    "make-dataset": "--views 9 --size 64",
    "reconstruct": "--steps 3 --faces 400 --texture 64 --frames 0",
    "texture": "--size 64 --steps 4",
    "pose": "--orientations 300",
    "bench": "--triangles 100 --repeats 1",
    "gradcheck": "--samples 1 --mode silhouette",
}


def interrupted(_) -> None:
    """Ctrl-C, which is how a viewer ends."""
    raise KeyboardInterrupt


def test_the_command_lines_run(tmp_path, monkeypatch, capsys):
    section = README[README.index("## Command line") : README.index("## Choosing a backend")]
    lines = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert lines
    commands = [line.partition("#")[0].split()[1:] for line in lines[1].splitlines()]
    assert sorted(words[0] for words in commands) == sorted(cli.COMMANDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFRAST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "usual_kernels", list)  # the kernels themselves: tests/checks/test_machine.py
    monkeypatch.setattr(Viewer, "wait", interrupted)
    save_mesh("scene.glb", torus())
    for words in commands:
        code = cli.main([*words, *QUICK.get(words[0], "").split()])
        assert code == 0, (words, capsys.readouterr().err)
    written = {p.name for p in tmp_path.iterdir()} - {"cache"}
    assert written == {"scene.glb", "photos", "made", "painted.glb", "pose.json", "pose.png", "scene.png", "scene.ply"}
