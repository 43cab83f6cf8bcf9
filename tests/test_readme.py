"""What README.md shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import torch

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
    assert len(others) == 2
    for program in others:
        check = (
            "\nimport nvdiffrast.torch as old, diffrast.torch\nassert old is diffrast.torch"
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
    named = set(
        re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    )  # as a command, not as a word of a sentence
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
