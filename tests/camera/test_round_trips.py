"""Cameras to other conventions and back, and points to pixels and back, for any camera."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrast.camera import Camera, distort, se3_exp, se3_log, so3_exp, undistort

F64 = torch.float64


@st.composite
def cameras(draw: st.DrawFn, skew: bool = True) -> Camera:
    """Any pose, focal lengths of any ratio, and a principal point that may lie outside of the image."""

    def numbers(count: int, low: float, high: float) -> torch.Tensor:
        return torch.tensor([draw(st.floats(low, high, allow_subnormal=False)) for _ in range(count)], dtype=F64)

    width, height = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    axis = numbers(3, -1.7, 1.7)  # at most 2.95 radians: a logarithm is unique below pi
    (fx, fy), (cx, cy) = numbers(2, 0.2, 5.0) * max(width, height), numbers(2, -0.5, 1.5) * max(width, height)
    s = numbers(1, -0.3, 0.3)[0] * fx if skew else 0 * fx
    zero, one = torch.zeros((), dtype=F64), torch.ones((), dtype=F64)
    K = torch.stack([fx, s, cx, zero, fy, cy, zero, zero, one]).view(3, 3)
    view = torch.eye(4, dtype=F64)
    view[:3, :3], view[:3, 3] = so3_exp(axis), numbers(3, -10, 10)
    return Camera(K, view, width, height)


CASES = settings(max_examples=30, deadline=None)


def assert_same(got: Camera, want: Camera) -> None:
    assert got.size == want.size
    torch.testing.assert_close(got.K, want.K, atol=1e-9 * float(want.K.max()), rtol=1e-9)
    torch.testing.assert_close(got.world_to_camera, want.world_to_camera, atol=1e-8, rtol=0)


@CASES
@given(cameras(), st.sampled_from([0.0, 0.5, -0.25]))
def test_opencv(camera: Camera, first: float) -> None:
    assert_same(Camera.from_opencv(*camera.to_opencv(first_pixel=first), first_pixel=first), camera)


@CASES
@given(cameras(skew=False))
def test_colmap(camera: Camera) -> None:
    assert_same(Camera.from_colmap(*camera.to_colmap()), camera)


@CASES
@given(cameras(skew=False))
def test_opengl(camera: Camera) -> None:
    pose, focal, principal = camera.to_opengl()
    assert_same(Camera.from_opengl(pose, camera.size, focal=focal, principal=principal), camera)


@CASES
@given(cameras(skew=False), st.booleans())
def test_pytorch3d(camera: Camera, ndc: bool) -> None:
    assert_same(Camera.from_pytorch3d(*camera.to_pytorch3d(in_ndc=ndc), camera.size, in_ndc=ndc), camera)


@CASES
@given(cameras(), st.integers(0, 10**6))
def test_pixels_and_depths_are_points(camera: Camera, seed: int) -> None:
    """Projected, unprojected, and through the clip matrix, a point is the same point."""
    u = torch.rand(8, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)
    pixels, depth = u[:, :2] * torch.tensor(camera.size, dtype=F64), 0.1 + 50 * u[:, 2]
    points = camera.unproject(pixels, depth)
    back, z = camera.project(points)
    scale = 1e-9 * float(camera.K.max())
    torch.testing.assert_close(back, pixels, atol=scale, rtol=0)
    torch.testing.assert_close(z, depth, atol=1e-9, rtol=1e-9)
    clip = camera.to_clip(points)
    landed = (clip[:, :2] / clip[:, 3:] + 1) / 2 * torch.tensor(camera.size, dtype=F64)
    torch.testing.assert_close(landed, pixels, atol=scale, rtol=0)


@CASES
@given(cameras(), st.booleans(), st.integers(1, 500), st.integers(1, 500), st.integers(-50, 50), st.integers(-50, 50))
def test_changed_and_changed_back(camera: Camera, ccw: bool, width: int, height: int, x: int, y: int) -> None:
    assert_same(camera.turned(ccw).turned(not ccw), camera)
    assert_same(camera.resized(width, height).resized(*camera.size), camera)
    assert_same(camera.crop(x, y, width, height).crop(-x, -y, *camera.size), camera)


@CASES
@given(st.lists(st.floats(-1.7, 1.7, allow_subnormal=False), min_size=6, max_size=6))
def test_a_motion_and_its_logarithm(values: list[float]) -> None:
    motion = torch.tensor(values, dtype=F64)
    torch.testing.assert_close(se3_log(se3_exp(motion)), motion, atol=1e-7, rtol=0)


@CASES
@given(st.tuples(*[st.floats(-0.05, 0.05, allow_subnormal=False)] * 4), st.integers(0, 10**6))
def test_a_lens_and_its_inverse(coefficients: tuple[float, ...], seed: int) -> None:
    points = 1.2 * torch.rand(20, 2, generator=torch.Generator().manual_seed(seed), dtype=F64) - 0.6
    torch.testing.assert_close(undistort(distort(points, coefficients), coefficients), points, atol=1e-8, rtol=0)
