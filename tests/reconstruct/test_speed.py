"""benchmarks/reconstruct_speed.py: its stand-in for a viewer has what a reconstruction asks of one."""

import json
import runpy
from pathlib import Path

from helpers.commands import run
from helpers.viewing import torus

from diffrast.io import save_mesh

BENCH = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "reconstruct_speed.py"))


def test_the_first_mesh_is_announced_and_steps_are_counted(tmp_path, capsys, monkeypatch):
    save_mesh(tmp_path / "torus.glb", torus())
    make = ("make-dataset", tmp_path / "torus.glb", "--out", tmp_path / "d", "--views", 8, "--size", 48)
    assert run(capsys, *make, "--quiet")[0] == 0
    monkeypatch.setattr("diffrast.torch.keep_freed_memory", lambda: None)  # of the whole process
    BENCH["child"](str(tmp_path / "d"), steps=8)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mesh"
    measured = json.loads(lines[-1])
    assert measured["faces"] > 100
    assert measured["times"] == sorted(measured["times"])
    assert len(measured["times"]) >= 2
