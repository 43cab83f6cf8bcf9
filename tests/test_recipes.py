"""The recipes, small: they run, their loss goes down, their pictures show something, and the cube is found."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffrast.io import load_image
from diffrast.mesh import Mesh

ROOT = Path(__file__).resolve().parents[1]
PICTURES = {
    "triangle": ["triangle.png", "triangle_fit.png"],
    "cube": ["cube.png", "cube.gif"],
    "earth": ["earth.png", "earth_steps.png", "earth_maps.png"],
    "pose": ["pose.png"],
    "shadow": ["shadow.png"],
    "envphong": ["envphong.png"],
    "material": ["material.png"],
    "adversarial": ["adversarial.png"],
    "camera": ["camera.png"],
    "morph": ["morph.png"],
    "neural_shader": ["neural_shader", "neural_shader.png"],
}


def recipe(name: str) -> dict:
    """The names that a recipe defines."""
    return runpy.run_path(str(ROOT / "recipes" / f"{name}.py"))


@pytest.fixture(autouse=True)
def threads():
    """Some recipes choose the number of threads; give back what was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PICTURES)
def test_smoke(name: str, tmp_path: Path) -> None:
    # --smoke exits with an error where the loss does not go down.
    command = [sys.executable, str(ROOT / "recipes" / f"{name}.py"), "--smoke", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(PICTURES[name])
    assert done.stdout.strip()
    for picture in PICTURES[name]:
        if picture.endswith(".png"):
            image = load_image(tmp_path / picture)[..., :3]
            assert image.flatten(0, 1).std(0).min() > 0.02, f"{picture} is blank"
            assert len(image.flatten(0, 1).unique(dim=0)) > 100


def test_a_recipe_says_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the loss did not go down"):
        recipe("cube")["main"](["--smoke", "--steps", "2", "--out", str(tmp_path)])


def test_first_picture() -> None:
    triangle = recipe("triangle")
    image = triangle["draw"](triangle["CORNERS"], 64)
    # Half of base 1.7 times height 1.55, of a picture of area 4.
    assert image[..., 3].mean().item() == pytest.approx(1.7 * 1.55 / 2 / 4, abs=2e-3)
    red, green, blue = image[10, 7, :3], image[10, 56, :3], image[55, 31, :3]
    assert [int(c.argmax()) for c in (red, green, blue)] == [0, 1, 2]  # row 0 is the bottom row
    assert torch.all(image[0] == 0)


@pytest.mark.parametrize(("size", "steps", "limit"), [(16, 300, 2e-3), (8, 400, 2e-3)])
def test_cube_is_found(size: int, steps: int, limit: float) -> None:
    torch.set_num_threads(1)
    cube = recipe("cube")
    corners, colours, errors = cube["fit"](size, steps, seed=0)
    assert cube["vertex_error"](cube["CORNERS"] + 0.01) == pytest.approx(0.01 * 3**0.5, rel=1e-5)
    assert cube["vertex_error"](corners) < limit
    assert (colours - cube["SIDE_COLOURS"]).abs().median() < 0.01
    assert errors[-1] < 0.05 * errors[0]


def test_cube_repeats_exactly() -> None:
    torch.set_num_threads(1)
    cube = recipe("cube")
    first, second = (cube["fit"](8, 20, seed=3)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, cube["fit"](8, 20, seed=4)[0])


def test_planet_mesh_is_closed_and_faces_outwards() -> None:
    earth = recipe("earth")
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
    earth = recipe("earth")
    truth = earth["planet"](128)
    _, rows, _, _ = earth["learn"](earth["Globe"]("cpu"), truth, 48, 120, [True, False], [])
    _, with_mipmaps, without = rows[-1]
    assert with_mipmaps > without + 0.5


def test_quaternions() -> None:
    pose = recipe("pose")
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
    figures = recipe("pose")["main"](options)
    assert figures["solved"] == 1.0
    assert figures["worst_degrees"] < 0.5


def test_the_camera_is_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    figures = recipe("camera")["main"](["--problems", "1", "--seed", "3", "--steps", "120", "--out", str(tmp_path)])
    assert figures["worst_corner_pixels"] < 0.1  # from about 20
    assert figures["worst_degrees"] < 0.5  # from 10
    assert figures["worst_focal_percent"] < 1  # from 15


def test_one_pixel_moves_move_points_by_one_pixel() -> None:
    torch.set_num_threads(1)
    camera = recipe("camera")
    mesh = camera["objects"]()
    _, guess = camera["problem"](torch.Generator().manual_seed(0))
    parameters = camera["CameraParameters"](guess, pivot=(0, 0.3, 0))
    moves = camera["one_pixel_moves"](parameters, mesh)
    points = mesh.vertices.double()
    before = guess.project(points)[0]
    motions = []
    for way in moves.T:
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(1e-3 * way, parameters.parameters())
            motions.append((parameters().project(points)[0] - before) / 1e-3)
    rms = torch.stack(motions).square().sum(-1).mean(-1).sqrt()
    torch.testing.assert_close(rms[-5:], torch.ones(5, dtype=torch.float64), atol=0.05, rtol=0)
    assert rms.max() < 1.05  # what hardly shows is limited, so that it moves less


def test_a_head_is_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    options = ["--heads", "1", "--steps", "200", "--resolution", "64", "--seed", "1", "--out", str(tmp_path)]
    figures = recipe("morph")["main"](options)
    assert figures["vertex_percent"] < 0.6 * figures["mean_head_percent"]
    assert figures["coefficients"] < 0.5  # of their standard deviation
    assert figures["degrees"] < 2


def test_the_head_model() -> None:
    morph = recipe("morph")
    model = morph["heads"]()
    assert len(morph["NAMES"]) == len(model.shapes)
    for coefficients in (torch.zeros(10), torch.full((10,), 2.0), torch.full((10,), -2.0)):
        mesh = Mesh(model.vertices(coefficients), model.faces)
        assert mesh.report().closed
        assert (mesh.normals() * mesh.vertices).sum(1).gt(0).float().mean() > 0.99  # nothing has turned inside out
    colors = model.colors(torch.tensor([0.6, 0.4, 0.3]))
    assert colors.min() >= 0
    assert colors.max() <= 1
