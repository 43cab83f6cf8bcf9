"""The recipes, small: they run, their loss goes down, their pictures show something, and the cube is found."""

import os
import subprocess
import sys
from pathlib import Path

import budget
import pytest
import torch
from helpers.recipes import RECIPES, recipe

from diffrast.io import load_image
from diffrast.mesh import Mesh

# What each leaves in its folder.
OUTPUTS = {
    "01_cube": ["cube.png", "cube.gif"],
    "02_earth": ["earth.png", "earth_steps.png", "earth_maps.png"],
    "03_pose": ["pose.png"],
    "04_camera": ["camera.png"],
    "05_envphong": ["envphong.png"],
    "06_shadow": ["shadow.png"],
    "07_material": ["material.png"],
    "08_morph": ["morph.png"],
    "09_adversarial": ["adversarial.png"],
    "10_neural_shader": ["neural_shader", "neural_shader.png"],
    "11_make_demo_dataset": ["demo"],
}

pytestmark = pytest.mark.usefixtures("threads")


def run(path: Path, *words: str, folder: Path) -> str:
    """What the recipe prints; it runs in `folder`."""
    command = [sys.executable, str(path), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(RECIPES.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_shows_something(path: Path) -> None:
    image = load_image(path)[..., :3]
    assert image.flatten(0, 1).std(0).min() > 0.02, f"{path.name} is blank"
    assert len(image.flatten(0, 1).unique(dim=0)) > 100


def test_every_recipe_is_tested() -> None:
    assert {path.stem for path in RECIPES.glob("[0-9]*.py")} == {"00_triangle", *OUTPUTS}


def test_the_first_program_is_short_and_finds_its_triangle(tmp_path: Path) -> None:
    path = RECIPES / "00_triangle.py"
    assert len(budget.code_lines(path)) <= 20
    assert run(path, folder=tmp_path).startswith("corners off by 0.0")
    assert [p.name for p in tmp_path.iterdir()] == ["triangle.png"]
    image = load_image(tmp_path / "triangle.png")
    size = image.shape[0]
    start, found, target = image.split(size, dim=1)
    assert (found - target).abs().max() < 0.02 < (start - target).abs().max()
    # Half of base 1.7 times height 1.55, of an image of area 4; red, green and blue at the corners, row 0 the lowest.
    assert (target.sum(-1) > 0).float().mean() == pytest.approx(1.7 * 1.55 / 2 / 4, abs=6e-3)
    corners = [target[round(size * y), round(size * x)] for x, y in ((0.11, 0.16), (0.88, 0.16), (0.49, 0.87))]
    assert [int(c.argmax()) for c in corners] == [0, 1, 2]


@pytest.mark.parametrize("name", OUTPUTS)
def test_smoke(name: str, tmp_path: Path) -> None:
    # --smoke exits with an error where the loss does not go down.
    assert run(RECIPES / f"{name}.py", "--smoke", "--out", str(tmp_path), folder=tmp_path).strip()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(OUTPUTS[name])
    for path in tmp_path.glob("*.png"):
        assert_shows_something(path)


def test_a_recipe_says_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the loss did not go down"):
        recipe("01_cube")["main"](["--smoke", "--steps", "2", "--out", str(tmp_path)])


@pytest.mark.parametrize(("size", "steps", "limit"), [(16, 300, 2e-3), (8, 400, 2e-3)])
def test_cube_is_found(size: int, steps: int, limit: float) -> None:
    torch.set_num_threads(1)
    cube = recipe("01_cube")
    corners, colors, errors = cube["fit"](size, steps, seed=0)
    assert cube["vertex_error"](cube["CORNERS"] + 0.01) == pytest.approx(0.01 * 3**0.5, rel=1e-5)
    assert cube["vertex_error"](corners) < limit
    assert (colors - cube["COLORS"]).abs().median() < 0.01
    assert errors[-1] < 0.05 * errors[0]


def test_cube_repeats_exactly() -> None:
    torch.set_num_threads(1)
    cube = recipe("01_cube")
    first, second = (cube["fit"](8, 20, seed=3)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, cube["fit"](8, 20, seed=4)[0])


def test_planet_mesh_is_closed_and_faces_outwards() -> None:
    earth = recipe("02_earth")
    positions, uv, tri, uv_tri = earth["sphere"](12)
    edges = torch.cat([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]])
    forward = {tuple(edge) for edge in edges.tolist()}
    assert len(forward) == len(edges)
    assert all((b, a) in forward for a, b in forward)
    a, b, c = positions[tri.long()].unbind(1)
    assert (torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(-1).min() > 0
    # Both index sets name the same points: the map's longitude and latitude of every corner, away from the poles.
    point, coordinate = positions[tri.long()].flatten(0, 1), uv[uv_tri.long()].flatten(0, 1)
    torch.testing.assert_close(point[:, 1], ((coordinate[:, 1] - 0.5) * torch.pi).sin(), atol=1e-5, rtol=0)
    flat = point[:, [0, 2]].norm(dim=1)
    longitude = coordinate[:, 0] * 2 * torch.pi
    torch.testing.assert_close(point[:, 0], flat * longitude.sin(), atol=1e-5, rtol=0)
    torch.testing.assert_close(point[:, 2], flat * longitude.cos(), atol=1e-5, rtol=0)


def test_mipmaps_learn_a_planet_faster() -> None:
    earth = recipe("02_earth")
    truth = earth["planet"](128)
    _, rows, _, _ = earth["learn"](earth["Globe"]("cpu"), truth, 48, 120, [True, False], [])
    _, with_mipmaps, without = rows[-1]
    assert with_mipmaps > without + 0.5


def test_quaternions() -> None:
    pose = recipe("03_pose")
    generator = torch.Generator().manual_seed(0)
    a, b = pose["random_turns"](2 * 5, 1.0, generator).view(2, 5, 4).double()
    a, b = (q / q.norm(dim=-1, keepdim=True) for q in (a, b))
    turn = pose["rotation"]
    torch.testing.assert_close(turn(pose["multiply"](a, b)), turn(a) @ turn(b))
    torch.testing.assert_close(turn(a) @ turn(a).mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))
    cosine = (turn(a).mT @ turn(b)).diagonal(dim1=1, dim2=2).sum(-1) / 2 - 0.5
    torch.testing.assert_close(pose["angle_between"](a, b), torch.rad2deg(cosine.acos()))


def test_poses_are_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    options = ["--problems", "4", "--steps", "150", "--resolution", "48", "--out", str(tmp_path)]
    figures = recipe("03_pose")["main"](options)
    assert figures["solved"] == 1.0
    assert figures["worst_degrees"] < 0.5


def test_the_camera_is_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    figures = recipe("04_camera")["main"](["--problems", "1", "--seed", "3", "--steps", "120", "--out", str(tmp_path)])
    assert figures["worst_corner_pixels"] < 0.1  # from about 20
    assert figures["worst_degrees"] < 0.5  # from 10
    assert figures["worst_focal_percent"] < 1  # from 15


def test_one_pixel_changes_shift_points_by_one_pixel() -> None:
    torch.set_num_threads(1)
    camera = recipe("04_camera")
    mesh = camera["objects"]()
    _, guess = camera["problem"](torch.Generator().manual_seed(0))
    parameters = camera["CameraParameters"](guess, pivot=(0, 0.3, 0))
    changes = camera["one_pixel_changes"](parameters, mesh)
    points = mesh.vertices.double()
    before = guess.project(points)[0]
    motions = []
    for way in changes.T:
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(1e-3 * way, parameters.parameters())
            motions.append((parameters().project(points)[0] - before) / 1e-3)
    rms = torch.stack(motions).square().sum(-1).mean(-1).sqrt()
    torch.testing.assert_close(rms[-5:], torch.ones(5, dtype=torch.float64), atol=0.05, rtol=0)
    assert rms.max() < 1.05  # what hardly shows is limited, so that it moves less


def test_a_head_is_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    options = ["--heads", "1", "--steps", "200", "--resolution", "64", "--seed", "1", "--out", str(tmp_path)]
    figures = recipe("08_morph")["main"](options)
    assert figures["vertex_percent"] < 0.6 * figures["mean_head_percent"]
    assert figures["coefficients"] < 0.5  # of their standard deviation
    assert figures["degrees"] < 2


def test_the_head_model() -> None:
    morph = recipe("08_morph")
    model = morph["heads"]()
    assert len(morph["NAMES"]) == len(model.shapes)
    for coefficients in (torch.zeros(10), torch.full((10,), 2.0), torch.full((10,), -2.0)):
        mesh = Mesh(model.vertices(coefficients), model.faces)
        assert mesh.report().closed
        assert (mesh.normals() * mesh.vertices).sum(1).gt(0).float().mean() > 0.99  # nothing has turned inside out
    colors = model.colors(torch.tensor([0.6, 0.4, 0.3]))
    assert colors.min() >= 0
    assert colors.max() <= 1
