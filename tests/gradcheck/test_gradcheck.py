"""diffrast.gradcheck: the truth and the metrics themselves, and a few scenes with thresholds on our gradients."""

import json

import pytest
import torch

from diffrast import cli
from diffrast import gradcheck as bench
from diffrast.gradcheck import case, metrics, shapes, truth
from diffrast.io import load_image

# Scene -> least cosine, largest relative error, most that the length may be off, of mode "area".
REACHED = {
    "cube 16": (0.99, 0.10, 0.05),
    "bumpy 20k 64": (0.993, 0.10, 0.05),
    "sheets weak": (0.995, 0.03, 0.03),
    "sliver": (0.99, 0.12, 0.06),
    "slivers": (0.99, 0.10, 0.05),
    "rotation": (0.99, 0.10, 0.05),
    "occlusion": (0.99, 0.12, 0.10),
    "intrinsics": (0.999, 0.04, 0.03),
}
# Where both modes are right: only shading changes, or edges are long and straight.
# Scene -> largest relative error, draws (one draw's truth may be noisy).
BOTH = {"near plane": (0.06, 3), "texture": (0.02, 1), "material": (0.05, 1), "light": (0.02, 1), "shadow": (0.03, 1)}


@pytest.mark.parametrize("name", REACHED)
def test_gradients_agree_with_the_supersampled_truth(name):
    cosine, relative, length = REACHED[name]
    old, new = bench.gradients([name], samples=1)
    assert (old["adapter"], new["adapter"]) == ("silhouette", "area")
    assert new["floor"] < relative / 2
    assert new["cosine"] > cosine and new["relative"] < relative and abs(new["ratio"] - 1) < length
    assert new["relative"] < 0.6 * old["relative"]
    assert new["psnr_db"] > old["psnr_db"] + 2


@pytest.mark.parametrize("name", BOTH)
def test_both_modes_agree_with_the_supersampled_truth(name):
    relative, draws = BOTH[name]
    for row in bench.gradients([name], samples=draws):
        assert row["cosine"] > 0.999 and row["relative"] < relative and row["floor"] < relative / 2


def test_a_jump_within_the_shading_is_out_of_reach():
    for row in bench.gradients(["hard shadow"], samples=1):
        assert row["floor"] < 0.1 < 0.9 < row["relative"]


def test_more_samples_begin_with_the_same_ones():
    few, many = (bench.SCENES["vertices"](n) for n in (2, 5))
    assert torch.equal(few.starts, many.starts[:2]) and torch.equal(few.targets, many.targets[:2])


def test_a_guard_band_mends_the_border():
    """Cubes that leave the image."""
    rows = bench.gradients(["cube 16"], {str(n): bench.Primitives(mode="area", guard=n) for n in (0, 1)}, samples=4)
    assert rows[1]["worst_relative"] < rows[0]["worst_relative"] and rows[1]["cosine"] > 0.99


def test_optimization_problems():
    """One that can be solved in a test, and a cube that only starts."""
    (row,) = bench.problems(["shadow"], {"area": bench.OURS["area"]}, seeds=1)
    assert (
        row["problem"] == "shadow" and row["error"] < 0.1 and row["errors"] == [row["error"]] and row["found"] in (0, 1)
    )
    start, later = (bench.cube_from(8, steps=n, views=1)(bench.OURS["area"], 0)[0] for n in (1, 40))
    assert later < 0.9 * start
    with pytest.raises(ValueError, match=r"problems\(\): names must be among cube from 4x4, .*; got nothing"):
        bench.problems(["nothing"])


def test_pictures_of_derivatives(tmp_path):
    """Of two sheets in 10x10 pixels: one row of four images; only areas see the line where they intersect."""
    area, silhouette = bench.pictures(tmp_path / "a.png", [("sheets strong", "tz", 10)], side=24)
    assert area < 0.05 and silhouette == 1
    assert load_image(tmp_path / "a.png").shape == (32, 128, 3)


def test_the_truth_knows_the_derivative_of_an_area():
    """A white square on black that moves by dx, and the loss against black: its gradient is known."""
    vertices, tri = shapes.sheet()
    turn = case.rotation(torch.tensor([0.0, 0.0, 0.4], dtype=torch.float64))

    def geometry(theta):
        return torch.nn.functional.pad((1 + theta[0]) * 0.5 * vertices @ turn.T, (0, 1), value=1.0)

    square = case.Case(
        "square",
        "test",
        ("scale",),
        tri,
        torch.ones(4, 3, dtype=torch.float64),
        geometry,
        torch.zeros(1, 1, dtype=torch.float64),
        torch.full((1, 1), -0.999, dtype=torch.float64),
        background=(0.0, 0.0, 0.0),
    )
    found = truth.truth_of(square, 0)
    # The mean of the squares is nearly the area, a quarter of the image, times (1 + scale)^2; pixels at the border
    # weigh by their coverage, which is less than one in a quarter of a pixel along the border.
    assert abs(float(found.gradient) - 0.5) < 0.02
    assert found.floor < 0.01
    assert abs(float(found.image.mean()) - 0.25) < 1e-3


def test_metrics():
    truths = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])]
    exact = metrics.summary_of(truths, truths, ("a", "b"))
    assert (
        exact["cosine"] == exact["ratio"] == exact["worst_cosine"] == 1
        and exact["relative"] == exact["worst_relative"] == 0
    )
    assert exact["bias"] == {"a": 0, "b": 0} and exact["component_ratio"] == {"a": 1, "b": 1}
    half = metrics.summary_of([0.5 * t for t in truths], truths, ("a", "b"))
    assert (half["cosine"], half["relative"], half["ratio"]) == (1, 0.5, 0.5)
    assert half["component_ratio"] == {"a": 0.5, "b": 0.5}
    assert abs(half["bias"]["a"] + 0.25 * 2**0.5) < 1e-6
    assert metrics.error_of(torch.zeros(2), truths[0]).cosine == 0


def test_another_renderer_is_measured_through_three_functions():
    class Black:
        def prepare(self, scene):
            self.size = scene.size

        def render(self, theta):
            return torch.zeros(self.size, self.size, 3)

        def gradient(self, theta, cotangent):
            assert cotangent.shape == (self.size, self.size, 3)
            return torch.zeros_like(theta)

    (row,) = bench.gradients(["light"], {"black": Black()}, samples=1)
    assert row["adapter"] == "black" and row["relative"] == 1 and row["cosine"] == 0
    with pytest.raises(ValueError, match=r"gradients\(\): scenes must be among cube 16, .*; got nothing"):
        bench.gradients(["nothing"])
    assert [r["scene"] for r in bench.gradients(["sheets"], {"black": Black()}, samples=1)] == [
        "sheets strong",
        "sheets weak",
    ]


def test_command_writes_json_and_a_table(tmp_path, capsys):
    out = tmp_path / "a" / "rows.json"
    command = ["--mode", "area", "--samples", "1", "--components", "--out", str(out)]
    assert cli.main(["gradcheck", "texture", *command]) == 0
    (row,) = json.loads(out.read_text())
    assert (
        row["scene"] == "texture" and row["relative"] < 0.02 and set(row["bias"]) == {"du", "dv", "scale", "contrast"}
    )
    table = out.with_suffix(".md").read_text().splitlines()
    assert table[0].startswith("| scene") and table[2].startswith("| texture") and "contrast" in table[-1]
    assert any(line.startswith("Measured on") for line in table)
    assert cli.main(["gradcheck", "shadow", *command]) == 0  # the other scene's row stays
    assert [row["scene"] for row in json.loads(out.read_text())] == ["texture", "shadow"]
    assert "contrast +" in capsys.readouterr().out
