"""diagnose: each message in its situation, and none for a picture that is right."""

import math
import subprocess
import sys

import pytest
import torch

import diffrast
import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.mesh import Mesh, cube, icosphere, plane, sphere, torus

SIZE = {"width": 48, "height": 32}


def camera(eye=(2.0, 1.5, 2.5), target=(0.0, 0.0, 0.0), **rest) -> Camera:
    return Camera.look_at(eye, target, fov_y=0.7, **SIZE, **rest)


def found(*args, **options) -> set[str]:
    result = diffrast.diagnose(*args, **options)
    for finding in result:
        assert len(finding.message) > 30
        assert finding.code in str(result)
    return result.codes


@pytest.mark.parametrize("make", [cube, sphere, torus, icosphere, plane])
@pytest.mark.parametrize("cull", ["none", "back"])
def test_healthy_scenes(make, cull):
    mesh = make()
    mesh.colors = torch.rand(len(mesh.vertices), 3, generator=torch.Generator().manual_seed(0))
    result = diffrast.diagnose(mesh, camera(), cull=cull)
    assert not result, result
    pos = camera().to_clip(mesh.vertices)
    assert not diffrast.diagnose(pos, mesh.faces, (32, 48), cull=cull, matrix=camera().clip_matrix())
    assert not diffrast.diagnose(pos[None].expand(2, -1, -1), mesh.faces.long())


def test_healthy_cameras_of_every_kind():
    view = camera().world_to_camera
    parallel = Camera.orthographic(view_height=3.0, world_to_camera=view, **SIZE)
    for c in (parallel, camera().turned(True), camera().crop(5, 3, 30, 20), camera().resized(7, 9)):
        assert not diffrast.diagnose(cube(), c)


def test_behind_the_camera():
    result = diffrast.diagnose(cube(), camera(target=(4, 3, 5)))
    assert result.codes == {"behind"}
    assert "Camera.from_opencv" in str(result)
    # An OpenCV pose taken for ours looks the other way.
    K, R, t, _ = camera().to_opencv()
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3], view[:3, 3] = R, t
    assert "behind" in found(cube(), Camera(K, view, **SIZE))


def test_partly_behind():
    assert found(cube(), camera(eye=(0.1, 0.2, 0.3), target=(1, 0, 0))) == {"w-not-positive"}


def test_one_image_of_several_is_named():
    good, bad = (camera(target=t).to_clip(cube().vertices) for t in ((0, 0, 0), (4, 3, 5)))
    result = diffrast.diagnose(torch.stack([good, bad, bad]), cube().faces)
    assert result.codes == {"behind"}
    assert "in 2 of 3 images (first: 1)" in str(result)


@pytest.mark.parametrize(
    ("shift", "code"),
    [
        ((-9, 0, 0), "outside-left"),
        ((9, 0, 0), "outside-right"),
        ((0, -9, 0), "outside-below"),
        ((0, 9, 0), "outside-above"),
        ((0, 0, 5.2), "outside-near"),
        ((0, 0, -50), "outside-far"),
    ],
)
def test_outside_of_the_frustum(shift, code):
    mesh = cube()
    mesh.vertices = mesh.vertices + torch.tensor(shift, dtype=torch.float32)
    assert found(mesh, camera(eye=(0, 0, 6), near=1.5, far=20)) == {code}


def test_all_around_but_not_in_it():
    ring = torch.tensor([[9.0, 0, 0], [9, 1, 0], [8, 0, 0], [-9, 0, 0], [-9, 1, 0], [-8, 0, 0]])
    mesh = Mesh(ring, torch.tensor([[0, 1, 2], [3, 5, 4]], dtype=torch.int32))
    assert found(mesh, camera(eye=(0, 0, 6))) == {"outside"}


def test_world_coordinates_instead_of_clip_space():
    pixels = torch.nn.functional.pad(cube().vertices * 10 + 40, (0, 1), value=1.0)
    assert "All w are 1" in str(diffrast.diagnose(pixels, cube().faces, (32, 48)))


def test_too_small_for_a_pixel():
    result = diffrast.diagnose(cube(0.01), camera(eye=(0.03, 0.04, 6)))
    assert result.codes == {"nothing-covered"}
    assert "pixels" in str(result)


def test_winding():
    mesh = icosphere()
    mesh.faces = mesh.faces[:, [0, 2, 1]]
    assert found(mesh, camera()) == set()  # both faces are drawn
    result = diffrast.diagnose(mesh, camera(), cull="back")
    assert result.codes == {"winding"}
    assert "[0, 2, 1]" in str(result)
    assert found(icosphere(), camera(), cull="front") == {"winding"}
    assert found(mesh, camera(), cull="front") == set()


def test_not_finite():
    mesh = icosphere()
    mesh.vertices[5, 1] = math.nan
    result = diffrast.diagnose(mesh, camera())
    assert result.codes == {"not-finite"}
    assert "1 of" in str(result)
    assert "vertex 5" in str(result)
    mesh.vertices[:] = math.inf
    assert found(mesh, camera()) == {"not-finite"}


def test_degenerate():
    mesh = icosphere()
    mesh.faces[7, 1] = mesh.faces[7, 0]
    result = diffrast.diagnose(mesh, camera())
    assert result.codes == {"degenerate"}
    assert "1 of 1280 triangles have no area (1 name a vertex twice)" in str(result)
    line = Mesh(
        torch.tensor([[0.0, 0, 0], [0.1, 0.2, 0.3], [0.2, 0.4, 0.6], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 1, 3]])
    )
    assert "1 of 2 triangles have no area (0 name a vertex twice)" in str(diffrast.diagnose(line, camera()))


def test_triangles_seen_edge_on_are_no_fault():
    view = Camera.look_at((0, 0, 3), fov_y=0.7, **SIZE).world_to_camera
    assert found(cube(), Camera.orthographic(view_height=3.0, world_to_camera=view, **SIZE)) == set()
    assert found(cube(), Camera.look_at((0.5, 0.5, 3), (0.5, 0.5, 0), fov_y=0.7, **SIZE)) == set()


def test_a_parallel_camera_is_not_taken_for_missing_clip_space():
    far = Camera.orthographic(view_height=3.0, **SIZE).crop(500, 0, 48, 32)
    mesh = cube()
    mesh.vertices = mesh.vertices - torch.tensor([0.0, 0, 3])
    result = diffrast.diagnose(mesh, far)
    assert result.codes == {"outside-left"}
    assert "All w are 1" not in str(result)


def test_duplicated_vertices():
    single = sphere(segments=12, rings=6).single_index()
    result = diffrast.diagnose(single, camera())
    assert result.codes == {"duplicated-vertices"}
    assert "Mesh.welded()" in str(result)
    assert found(single.welded(), camera()) == set()


def test_indices_and_nothing_to_draw():
    mesh = cube()
    mesh.faces = mesh.faces + 1
    assert found(mesh, camera()) == {"index-range"}
    assert found(Mesh(cube().vertices, torch.zeros(0, 3, dtype=torch.int32)), camera()) == {"no-triangles"}


def test_color_range():
    levels = torch.randint(0, 256, (8, 3), generator=torch.Generator().manual_seed(0))
    for color in (levels.to(torch.uint8), levels.float(), levels * 0.99):
        mesh = cube()
        assert found(mesh, camera(), color=color) == {"color-range"}
        assert found(mesh, camera(), texture=color) == {"color-range"}
    bright = torch.rand(8, 3) * 0.5
    bright[0] = 40.0  # a lamp in linear light is no mistake
    assert found(cube(), camera(), color=bright) == set()
    assert found(cube(), camera(), color=bright * math.nan) == {"not-finite"}


def picture(mesh: Mesh, c: Camera) -> torch.Tensor:
    clip = c.to_clip(mesh.vertices)[None]
    rast, _ = dr.rasterize(dr.RasterizeContext(), clip, mesh.faces, c.resolution)
    return dr.interpolate(mesh.vertices + 0.6, rast, mesh.faces)[0]


def test_flipped_y():
    image = picture(cube(), camera())
    noisy = image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    assert found(cube(), camera(), image=image, target=noisy) == set()
    assert found(cube(), camera(), image=image, target=noisy.flip(1)) == {"flipped-y"}
    assert found(cube(), camera(), image=image[0], target=noisy[0].flip(0)) == {"flipped-y"}
    assert found(cube(), camera(), image=image, target=torch.rand(image.shape)) == set()
    with pytest.raises(ValueError, match="target must have the shape of image"):
        diffrast.diagnose(cube(), camera(), image=image, target=image[0])


def test_blank_image():
    assert found(cube(), camera(), image=torch.zeros(1, 32, 48, 3)) == {"blank-image"}


def test_mirrored_matrix():
    c = camera()
    matrix = torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64)) @ c.clip_matrix()
    pos = torch.nn.functional.pad(cube().vertices.double(), (0, 1), value=1.0) @ matrix.T
    assert found(pos, cube().faces, matrix=matrix) == {"mirrored"}
    assert found(pos, cube().faces) == set()


def test_bad_arguments():
    with pytest.raises(TypeError, match="after a mesh a camera must follow; got Tensor"):
        diffrast.diagnose(cube(), cube().faces)
    with pytest.raises(TypeError, match="needs pos and tri as tensors"):
        diffrast.diagnose([1, 2], [3])
    with pytest.raises(ValueError, match=r"expected pos \[B, V, 4\] or \[V, 4\] and tri \[F, 3\] but got"):
        diffrast.diagnose(torch.zeros(4, 3), cube().faces)


def test_importing_the_package_stays_light():
    code = "import sys, diffrast; assert 'torch' not in sys.modules; diffrast.diagnose; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'diagnosis_of'"):
        _ = diffrast.diagnosis_of  # type: ignore[attr-defined]
