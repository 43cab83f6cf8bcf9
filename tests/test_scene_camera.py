"""Cameras: pixels and clip space agree, also after cropping, resizing and turning."""

import math

import pytest
import torch

from diffrast.scene import Camera, look_at
from diffrast.scene.render import clip_matrices, to_clip


def make_camera() -> Camera:
    camera = look_at((2, 1.5, 3), (0.1, 0, -0.2), (0, 1, 0), fov_y=0.7, width=60, height=40)
    camera.K[0, 1] = 1.5  # skew, and an off-centre principal point, so that nothing cancels
    camera.K[0, 2] += 3
    camera.K[1, 2] -= 2
    return camera


POINTS = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5


def pixels_through_clip_space(camera: Camera) -> torch.Tensor:
    clip = torch.nn.functional.pad(POINTS, (0, 1), value=1.0) @ camera.clip_matrix(0.1, 10).T
    ndc = clip[:, :3] / clip[:, 3:]
    assert bool((ndc[:, 2].abs() < 1).all())
    return (ndc[:, :2] + 1) / 2 * torch.tensor([camera.width, camera.height])


def test_clip_space_lands_on_the_projected_pixels():
    camera = make_camera()
    pixel, depth = camera.project(POINTS)
    torch.testing.assert_close(pixels_through_clip_space(camera), pixel)
    torch.testing.assert_close(depth, (POINTS - camera.center) @ camera.forward)


def test_target_is_in_the_middle_and_up_is_up():
    camera = look_at((0, 0, 5), (0, 0, 0), (0, 1, 0), fov_y=math.pi / 2, width=200, height=100)
    pixel, depth = camera.project(torch.tensor([[0.0, 0, 0], [0, 5, 0], [1, 0, 0]]))
    torch.testing.assert_close(pixel, torch.tensor([[100.0, 50], [100, 100], [110, 50]]))
    torch.testing.assert_close(depth, torch.full((3,), 5.0))


def test_crop_and_resize_move_pixels_as_they_move_the_picture():
    camera = make_camera()
    pixel, _ = camera.project(POINTS)
    cropped, _ = camera.crop(7, -3, 30, 50).project(POINTS)
    torch.testing.assert_close(cropped, pixel - torch.tensor([7.0, -3.0]))
    resized, _ = camera.resized(30, 80).project(POINTS)
    torch.testing.assert_close(resized, pixel * torch.tensor([0.5, 2.0]))


@pytest.mark.parametrize("ccw", [True, False])
def test_turned_camera_sees_the_turned_picture(ccw):
    camera = make_camera()
    turned = camera.turned(ccw)
    assert (turned.width, turned.height) == (40, 60)
    (x, y), _ = (t.unbind(-1) if t.ndim == 2 else t for t in camera.project(POINTS))
    expected = torch.stack([40 - y, x] if ccw else [y, 60 - x], dim=-1)
    torch.testing.assert_close(turned.project(POINTS)[0], expected)
    torch.testing.assert_close(pixels_through_clip_space(turned), expected)
    torch.testing.assert_close(turned.center, camera.center)
    assert torch.linalg.det(turned.world_to_camera[:3, :3]) == pytest.approx(1)
    back = turned.turned(not ccw)
    torch.testing.assert_close(back.K, camera.K)


def test_near_and_far_hold_the_box():
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    corners = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]),) * 3)
    for eye in ((3, 1, 2), (0.5, 0, 0.1)):  # outside, and inside of the box
        camera = look_at(eye, (0, 0, 0), (0, 1, 0), fov_y=0.8, width=8, height=8)
        clip = to_clip(corners, clip_matrices([camera], box))[0]
        ahead = clip[:, 3] > 0
        assert bool((clip[ahead, 2] <= clip[ahead, 3]).all())
        assert bool((clip[ahead, 2] >= -clip[ahead, 3]).all()) or eye == (0.5, 0, 0.1)


def test_up_along_the_view_is_refused():
    with pytest.raises(ValueError, match=r"look_at\(\): up must not be parallel"):
        look_at((0, 5, 0), (0, 0, 0), (0, 1, 0), fov_y=0.5, width=8, height=8)
