"""What README.md and the pages of docs/ show works as it stands there."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from helpers.viewing import torus

from diffrast import cli, compat
from diffrast.checks import machine as doctor
from diffrast.io import save_mesh
from diffrast.viewer import Viewer

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs" / "guides"
ROOT_PAGES = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "recipes/README.md"]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ROOT_PAGES} | {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if not {"_build", "generated"} & set(path.parts)
}
PROGRAMS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in TEXTS.items()}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_the_first_program_finds_its_triangle(capsys):
    (program,) = PROGRAMS["README.md"]
    assert [program] == PROGRAMS["docs/start.md"]
    names: dict = {}
    exec(program, names)
    expected = torch.tensor([[-0.8, -0.6], [0.7, -0.7], [0.1, 0.8]])
    assert (names["xy"].detach() - expected).norm(dim=1).max() < 0.005
    assert "tensor(" in capsys.readouterr().out


# What the programs of a page claim in their comments.
CLAIMS = {
    "docs/guides/existing_code.md": """
import nvdiffrast.torch as old, diffrast.torch
assert old.rasterize is diffrast.torch.rasterize
""",
    "docs/guides/outlines.md": """
assert lens.image.shape == (1, 16, 16, 1) and lens.vertices.shape == (3, 3)
assert (solution.x - target).norm() < 1e-3
""",
    "docs/guides/primitives.md": """
assert image.shape == (1, 96, 128, 3) and albedo.grad.abs().max() > 0
assert bool((layers[0][..., 3] == 1).any()) and bool((layers[1] == 0).all())
""",
    "docs/guides/scenes.md": """
assert result.image.shape == (1, 96, 128, 4) and lamp.position.grad.norm() > 0
""",
    "docs/guides/troubleshooting.md": """
assert [f.code for f in diffrast.diagnose(cube(), camera)] == ["behind"]
assert [f.code for f in diffrast.lint(loss, pos)] == ["not-antialiased"]
""",
}


@pytest.mark.parametrize("page", [name for name, programs in PROGRAMS.items() if programs and name != "README.md"])
def test_the_programs_of_a_page_run(page, tmp_path, monkeypatch):
    """One after the other with the same names, as a reader would."""
    monkeypatch.chdir(tmp_path)
    try:
        exec("\n".join([*PROGRAMS[page], CLAIMS.get(page, "")]), {"__name__": page})
    finally:
        compat.uninstall()


def test_the_notebook_runs():
    options = ["-q", "-p", "no:cacheprovider", "--nbmake"]
    result = run([sys.executable, "-m", "pytest", *options, "docs/first_steps.ipynb"])
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout


def test_the_notebook_has_no_outputs():
    text = (ROOT / "docs" / "first_steps.ipynb").read_text(encoding="utf-8")
    assert '"outputs": []' in text
    assert re.findall(r'"outputs": \[[^]]', text) == []
    assert re.findall(r'"execution_count": \d', text) == []


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_images_are_there(page):
    """Pages that are generated are checked by Sphinx."""
    text = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL) if page in ROOT_PAGES else TEXTS[page]
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r"(?:\{image\}|:file:) (\S+)", text)
    files = [target for target in targets if "://" not in target and "generated/" not in target]
    assert [target for target in files if not ((ROOT / page).parent / target).exists()] == []


def test_make_targets_exist():
    text = "\n".join(TEXTS.values())
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))  # as a command, not as a word of a sentence
    offered = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "docs"} <= named
    assert named <= offered


def test_named_files_exist():
    """Paths in backticks, except patterns, placeholders and what programs write."""
    folders = "assets|benchmarks|cuda|diffrast|docs|shaders|tests"
    paths = {p for text in TEXTS.values() for p in re.findall(rf"`((?:{folders})/[\w./-]+)`", text)}
    missing = {p for p in paths if not (ROOT / p).exists() and "NAME" not in p and "OP." not in p}
    assert len(paths) > 20
    assert missing <= {"docs/_build/html/index.html", "docs/generated/"}


def test_the_introduction_is_short():
    assert TEXTS["README.md"].count("\n") <= 150


def test_reconstruct_options_exist():
    section = TEXTS["docs/guides/reconstruction.md"]
    section = section[section.index("## Options") : section.index("## What it writes")]
    usage = run([sys.executable, "-m", "diffrast", "reconstruct", "--help"]).stdout
    options = set(re.findall(r"--[a-z][a-z-]*", section))
    assert {"--holdout", "--masks"} <= options
    assert options <= set(re.findall(r"--[a-z][a-z-]*", usage))


FACADES = ["torch", "mesh", "io", "camera", "optimize", "photos", "scene", "checks", "gradcheck", "viewer"]


@pytest.mark.parametrize("name", [*FACADES, "fitting", "reconstruct"])
def test_public_names_are_documented(name):
    module = import_module(f"diffrast.{name}")
    things = {n: getattr(module, n) for n in getattr(module, "__all__", dir(module)) if n[0] != "_"}
    assert [n for n, thing in things.items() if callable(thing) and not (thing.__doc__ or "").strip()] == []


# What makes the guide's commands quick enough for a test: options given later win.
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
    lines = re.search(r"```\n(.*?)```", TEXTS["docs/guides/command_line.md"], re.DOTALL)
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
    assert written == {"scene.glb", "photos", "made", "textured.glb", "pose.json", "pose.png", "scene.png", "scene.ply"}
