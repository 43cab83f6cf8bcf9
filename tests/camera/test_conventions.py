"""Cameras from other programs: known points are found in the rendered picture, and every conversion has an inverse."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.camera.lie import so3_exp, so3_log
from diffrast.io.image import to_uint8

SIZE = (150, 96)  # width, height
POINTS = np.random.default_rng(3).uniform(-0.5, 0.5, (12, 3)) * [1.4, 0.8, 1.0]
R = so3_exp(torch.tensor([2.9, 0.35, -0.2], dtype=torch.float64)).numpy()  # world to camera, OpenCV axes
T = np.array([0.1, -0.05, 3.0])
FX, FY, CX, CY = 150.0, 132.0, 81.3, 40.9  # in pixels from the top left corner, off-centre


# Every convention once more, in NumPy and by its own documentation: the camera from its parameters, and where a point
# lands in the stored picture, in pixels from the top left corner, y down.


def opencv() -> tuple[Camera, np.ndarray]:
    skew = 3.0
    K = np.array([[FX, skew, CX - 0.5], [0, FY, CY - 0.5], [0, 0, 1]])  # from the centre of the first pixel
    q = (POINTS @ R.T + T) @ K.T
    return Camera.from_opencv(K, R, T, SIZE), q[:, :2] / q[:, 2:] + 0.5


def colmap() -> tuple[Camera, np.ndarray]:
    w = so3_log(torch.tensor(R)).numpy()
    angle = np.linalg.norm(w)
    qvec = [math.cos(angle / 2), *(math.sin(angle / 2) * w / angle)]
    camera = Camera.from_colmap("PINHOLE", [FX, FY, CX, CY], qvec, T, SIZE)
    x, y, z = (POINTS @ R.T + T).T
    return camera, np.stack([FX * x / z + CX, FY * y / z + CY], axis=1)


def nerf() -> tuple[Camera, np.ndarray]:
    camera_angle_x = 0.9
    pose = np.eye(4)
    pose[:3, :3] = R.T @ np.diag([1, -1, -1])  # columns: right, up, backwards
    pose[:3, 3] = -R.T @ T
    camera = Camera.from_opengl(pose, SIZE, fov_x=camera_angle_x, principal=(CX, CY))
    right, up, back, eye = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
    focal = 0.5 * SIZE[0] / math.tan(0.5 * camera_angle_x)
    ahead = (POINTS - eye) @ -back
    x, y = (POINTS - eye) @ right / ahead, (POINTS - eye) @ up / ahead
    return camera, np.stack([CX + focal * x, CY - focal * y], axis=1)


def pytorch3d_ndc() -> tuple[Camera, np.ndarray]:
    focal, principal = np.array([2.9, 2.6]), np.array([0.08, -0.11])
    rows = R.T @ np.diag([-1, -1, 1])  # x left, y up, z ahead; points are rows
    shift = T * [-1, -1, 1]
    camera = Camera.from_pytorch3d(rows[None], shift[None], focal[None], principal[None], SIZE)
    seen = POINTS @ rows + shift
    ndc = focal * seen[:, :2] / seen[:, 2:] + principal  # +1 is the left edge of a square image, the top edge
    return camera, np.array(SIZE) / 2 - ndc * min(SIZE) / 2


def pytorch3d_screen() -> tuple[Camera, np.ndarray]:
    rows, shift = R.T @ np.diag([-1, -1, 1]), T * [-1, -1, 1]
    camera = Camera.from_pytorch3d(rows, shift, [FX, FY], [CX, CY], SIZE, in_ndc=False)
    seen = POINTS @ rows + shift
    return camera, np.stack([CX - FX * seen[:, 0] / seen[:, 2], CY - FY * seen[:, 1] / seen[:, 2]], axis=1)


def orthographic() -> tuple[Camera, np.ndarray]:
    view = torch.eye(4, dtype=torch.float64)
    view[:3, :3] = torch.tensor(np.diag([1.0, -1, -1]) @ R)
    view[:3, 3] = torch.tensor(T * [1, -1, -1])
    camera = Camera.orthographic(view_height=2.0, width=SIZE[0], height=SIZE[1], world_to_camera=view)
    camera = camera.crop(5, -3, *SIZE)
    x, y, _ = (POINTS @ R.T + T).T
    scale = SIZE[1] / 2.0
    return camera, np.stack([SIZE[0] / 2 - 5 + scale * x, SIZE[1] / 2 - 3 + scale * y], axis=1)


CONVENTIONS: list[Callable[[], tuple[Camera, np.ndarray]]] = [
    opencv,
    colmap,
    nerf,
    pytorch3d_ndc,
    pytorch3d_screen,
    orthographic,
]
conventions = pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda f: f.__name__)


def spot(camera: Camera, point: torch.Tensor, radius: float) -> torch.Tensor:
    """The rendered picture [H, W, 1] of a small disc around a world point that faces the camera's plane; box filter."""
    angle = torch.arange(48, dtype=torch.float64) * (2 * math.pi / 48)
    right, up = camera.world_to_camera[0, :3], camera.world_to_camera[1, :3]
    ring = point + radius * (angle.cos()[:, None] * right + angle.sin()[:, None] * up)
    vertices = torch.cat([point[None], ring])
    i = torch.arange(48, dtype=torch.int32)
    tri = torch.stack([torch.zeros_like(i), i + 1, (i + 1) % 48 + 1], dim=1)
    clip = camera.to_clip(vertices)[None].float()
    (h, w), n = camera.resolution, 8
    rast, _ = dr.rasterize(dr.RasterizeContext(), clip, tri, (n * h, n * w))
    return (rast[0, ..., 3] > 0).float().view(h, n, w, n).mean((1, 3))[..., None]


@conventions
def test_points_are_found_in_the_rendered_picture(convention):
    camera, expected = convention()
    assert camera.size == SIZE
    found = []
    for point in torch.tensor(POINTS):
        levels = to_uint8(spot(camera, point, 0.06), linear=False).astype(float)[
            ..., 0
        ]  # as a file holds it: top row first
        total = levels.sum()
        assert total > 255 * 10
        rows, columns = (np.arange(n) + 0.5 for n in levels.shape)
        found.append([(levels.sum(0) * columns).sum() / total, (levels.sum(1) * rows).sum() / total])
    assert (np.abs(expected - np.array(SIZE) / 2) < np.array(SIZE) / 2 - 4).all(), "the test points leave the picture"
    np.testing.assert_allclose(np.array(found), expected, atol=0.02)


@conventions
def test_project_and_unproject(convention):
    camera, expected = convention()
    points = torch.tensor(POINTS)
    pixel, depth = camera.project(points)
    np.testing.assert_allclose(pixel[:, 0], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(SIZE[1] - pixel[:, 1], expected[:, 1], atol=1e-9)
    torch.testing.assert_close(camera.unproject(pixel, depth), points)


def same(a: Camera, b: Camera) -> None:
    torch.testing.assert_close(a.K, b.K, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.world_to_camera, b.world_to_camera, atol=1e-6, rtol=0)
    assert (a.width, a.height) == (b.width, b.height)


@pytest.mark.parametrize("convention", [colmap, nerf, pytorch3d_ndc, pytorch3d_screen], ids=lambda f: f.__name__)
def test_round_trips(convention):
    camera, _ = convention()
    for first in (0.0, 0.5):
        same(Camera.from_opencv(*camera.to_opencv(first_pixel=first), first_pixel=first), camera)
    same(Camera.from_colmap(*camera.to_colmap()), camera)
    pose, focal, principal = camera.to_opengl()
    same(Camera.from_opengl(pose, camera.size, focal=focal, principal=principal), camera)
    same(Camera.from_opengl(pose[:3], camera.size, focal=focal, principal=principal), camera)
    for in_ndc in (True, False):
        same(Camera.from_pytorch3d(*camera.to_pytorch3d(in_ndc=in_ndc), camera.size, in_ndc=in_ndc), camera)


def test_round_trip_with_skew():
    camera, _ = opencv()
    same(Camera.from_opencv(*camera.to_opencv()), camera)
    with pytest.raises(ValueError, match="no skew"):
        camera.to_colmap()


def test_rotation_vectors_and_columns_as_opencv_gives_them():
    camera, _ = opencv()
    K, rotation, t, size = camera.to_opencv()
    same(Camera.from_opencv(K, so3_log(rotation)[:, None], t[:, None], size), camera)


def test_gradients_reach_the_parameters_of_each_convention():
    K, rotation, t, size = (x.clone() if isinstance(x, torch.Tensor) else x for x in opencv()[0].to_opencv())
    points = torch.tensor(POINTS)

    def clip(K, w, t):
        return Camera.from_opencv(K, so3_exp(w), t, size).to_clip(points)

    w = so3_log(rotation)
    inputs = [K.requires_grad_(), w.requires_grad_(), t.clone().requires_grad_()]
    last = torch.tensor([[0.0, 0, 1]], dtype=torch.float64)  # what it is in every camera; only its last number is read
    assert torch.autograd.gradcheck(lambda k, w, t: clip(torch.cat([k[:2], last]), w, t), inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Camera.from_opencv(np.eye(2), R, T, SIZE), r"from_opencv\(\): K must be \[3, 3\]; got \[2, 2\]"),
        (lambda: Camera.from_opencv(np.eye(3), R * 1.01, T, SIZE), "R must be a rotation matrix; it is off by"),
        (lambda: Camera.from_opencv(np.eye(3), -R, T, SIZE), r"rotation matrix; it mirrors"),
        (lambda: Camera.from_opencv(np.eye(3), R, T * np.nan, SIZE), "t must be finite"),
        (lambda: Camera.from_opencv(-np.eye(3), R, T, SIZE), "positive focal lengths"),
        (lambda: Camera.from_opencv(np.eye(3), R, T, (0, 4)), r"size must be \(width, height\)"),
        (lambda: Camera.from_colmap("FISHEYE", [1], [1, 0, 0, 0], T, SIZE), "model must be one of SIMPLE_PINHOLE"),
        (lambda: Camera.from_colmap("PINHOLE", [1, 1], [1, 0, 0, 0], T, SIZE), "PINHOLE has 4 parameters; got 2"),
        (lambda: Camera.from_colmap("PINHOLE", [1, 1, 1, 1], [0, 0, 0, 0], T, SIZE), "qvec must not be zero"),
        (
            lambda: Camera.from_colmap("SIMPLE_RADIAL", [1, 1, 1, 0.1], [1, 0, 0, 0], T, SIZE),
            "SIMPLE_RADIAL distorts the picture .*load_undistorted",
        ),
        (lambda: Camera.from_opengl(np.eye(4), SIZE), "give either fov_x or focal"),
        (lambda: Camera.from_opengl(np.eye(4), SIZE, fov_x=50), "fov_x must lie between 0 and pi radians"),
        (lambda: Camera.from_pytorch3d(np.eye(3), T, 1.0, [0, 0, 0], SIZE), r"principal_point must be \[2\]"),
        (lambda: orthographic()[0].to_opencv(), "orthographic camera has no pinhole form"),
        (lambda: opencv()[0].clip_matrix(2.0, 1.0), r"expected 0 < near < far but got near=2.0, far=1.0"),
        (lambda: Camera.perspective(fov_y=60, width=4, height=4), "fov_y must lie between 0 and pi radians"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
