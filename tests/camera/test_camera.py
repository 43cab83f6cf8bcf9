"""Cameras: pixels and clip space agree, also after cropping, resizing and turning."""

import math

import pytest
import torch

import diffrast.torch as dr
from diffrast.camera import Camera, look_at, overlay
from diffrast.camera.camera import look_at_pose
from diffrast.camera.distortion import distort, load_undistorted, undistort, undistort_image
from diffrast.io import save_image
from diffrast.mesh import cube
from diffrast.optimize import CameraParameters
from diffrast.scene.passes import clip_matrices, to_clip


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


# --- Cameras that are optimized ---------------------------------------------------------------------------------------


def test_parameters_start_at_the_camera_and_reach_clip_space():
    camera = make_camera()
    for options in ({}, {"pivot": (0.1, 0.2, 0.3)}, {"square_pixels": False}):
        parameters = CameraParameters(camera, **options)
        torch.testing.assert_close(parameters().K, camera.K)
        torch.testing.assert_close(parameters().world_to_camera, camera.world_to_camera)
        parameters().to_clip(POINTS).sin().sum().backward()
        for name, p in parameters.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().min() > 0, name


@pytest.mark.parametrize("at", [0.0, 0.3])
def test_clip_space_gradcheck_into_every_parameter(at):
    parameters = CameraParameters(make_camera(), pivot=(0.1, 0.2, 0.3), square_pixels=False)
    names = [n for n, _ in parameters.named_parameters()]

    def clip(*values):
        camera = torch.func.functional_call(parameters, dict(zip(names, values, strict=True)))
        return camera.clip_matrix(0.5, 9.0), camera.project(POINTS[:5])[0], camera.center

    gen = torch.Generator().manual_seed(2)
    values = [
        (at * torch.randn(p.shape, dtype=p.dtype, generator=gen)).requires_grad_() for p in parameters.parameters()
    ]
    assert torch.autograd.gradcheck(clip, values)


def test_parameters_say_what_they_mean():
    camera = make_camera()
    parameters = CameraParameters(camera, pivot=(0.0, 0.0, 0.0))
    with torch.no_grad():
        parameters.focal.fill_(math.log(2))
        parameters.principal.copy_(torch.tensor([0.1, -0.05]))
        parameters.pose.copy_(torch.tensor([0.3, 1.0, -0.2, 0, 0, 0]))
    now = parameters()
    torch.testing.assert_close(now.K[:2, :2], 2 * camera.K[:2, :2])
    torch.testing.assert_close(now.K[:2, 2] - camera.K[:2, 2], torch.tensor([6.0, -3.0], dtype=torch.float64))
    origin = torch.zeros(3, dtype=torch.float64)
    assert now.project(origin)[1].item() == pytest.approx(float(camera.project(origin)[1]))  # turned about it
    assert torch.linalg.det(now.world_to_camera[:3, :3]).item() == pytest.approx(1)


def test_rebase_keeps_the_camera_and_the_pivot():
    parameters = CameraParameters(make_camera(), pivot=(0.1, 0.2, 0.3))
    with torch.no_grad():
        for p in parameters.parameters():
            p.uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(1))
        before = parameters()
        parameters.rebase()
        after = parameters()
        torch.testing.assert_close(after.K, before.K)
        torch.testing.assert_close(after.world_to_camera, before.world_to_camera)
        parameters.pose[0] = 0.5
        pivot = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        torch.testing.assert_close(parameters().project(pivot), before.project(pivot))


def test_parameters_are_a_module_as_people_expect():
    parameters = CameraParameters(make_camera(), optimize=("pose",)).float()
    assert [n for n, p in parameters.named_parameters() if p.requires_grad] == ["pose"]
    assert parameters().clip_matrix().dtype == torch.float32
    with torch.no_grad():
        parameters.pose += 0.1
    other = CameraParameters(look_at((0, 0, 3), (0, 0, 0), (0, 1, 0), fov_y=1.0, width=60, height=40)).float()
    other.load_state_dict(parameters.state_dict())
    torch.testing.assert_close(other().clip_matrix(), parameters().clip_matrix())
    with pytest.raises(ValueError, match=r"optimize must name some of pose, focal, principal; got \['zoom'\]"):
        CameraParameters(make_camera(), optimize=("zoom",))


def test_pose_and_intrinsics_are_found_from_projections():
    truth = make_camera()
    wrong = CameraParameters(truth)
    with torch.no_grad():
        wrong.pose.copy_(torch.tensor([0.05, -0.04, 0.08, 0.1, -0.1, 0.2]))
        wrong.focal.fill_(0.1)
        wrong.rebase()
    target = truth.project(POINTS)[0]
    optimizer = torch.optim.LBFGS(wrong.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (wrong().project(POINTS)[0] - target).square().mean()
        loss.backward()
        return loss

    start = optimizer.step(closure).item()
    assert start > 1
    assert closure().item() < 1e-6


# --- Placing cameras --------------------------------------------------------------------------------------------------


def test_orbit_looks_at_the_target_from_where_it_says():
    camera = Camera.orbit(math.pi / 2, 0.0, 4.0, (1.0, 2.0, 3.0), fov_y=0.5, width=30, height=20)
    torch.testing.assert_close(camera.center, torch.tensor([5.0, 2.0, 3.0], dtype=torch.float64))
    pixel, depth = camera.project(torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(pixel, torch.tensor([[15.0, 10.0]]))
    assert float(depth[0]) == pytest.approx(4)
    high = Camera.orbit(0.0, 0.5, 2.0, fov_y=0.5, width=30, height=20)
    assert high.center.tolist() == pytest.approx([0, 2 * math.sin(0.5), 2 * math.cos(0.5)])


def test_placing_is_differentiable():
    eye = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    angle = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def place(eye, angle):
        look = Camera.look_at(eye, (0, 0.1, 0), fov_y=0.7, width=8, height=6)
        around = Camera.orbit(angle, 0.2, 3.0, fov_y=angle, width=8, height=6)
        return look.clip_matrix(), around.clip_matrix()

    assert torch.autograd.gradcheck(place, (eye, angle))


def test_orthographic_clip_space_and_near_far():
    view = look_at_pose((2, 1.5, 3), (0, 0, 0))
    camera = Camera.orthographic(view_height=2.5, width=60, height=40, world_to_camera=view, near=1.0, far=9.0)
    pixel, depth = camera.project(POINTS)
    torch.testing.assert_close(pixels_through_clip_space(camera), pixel)
    clip = camera.to_clip(POINTS)
    torch.testing.assert_close(clip[:, 3], torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(clip[:, 2], (depth - 5) / 4)
    turned = camera.turned(True)
    torch.testing.assert_close(pixels_through_clip_space(turned), turned.project(POINTS)[0])
    assert turned.parallel


def test_perspective_depth_is_minus_one_at_near_and_one_at_far():
    camera = Camera.perspective(fov_y=1.0, width=8, height=8, near=0.5, far=20.0)
    clip = camera.to_clip(torch.tensor([[0.0, 0, -0.5], [0, 0, -20]], dtype=torch.float64))
    torch.testing.assert_close(clip[:, 2] / clip[:, 3], torch.tensor([-1.0, 1.0], dtype=torch.float64))


def test_to_moves_everything():
    camera = make_camera().to(torch.float32)
    assert camera.clip_matrix().dtype == torch.float32
    assert camera.near == 0.01


# --- Overlay and distortion -------------------------------------------------------------------------------------------


def test_overlay_marks_the_points():
    camera = make_camera()
    image = torch.full((40, 60, 3), 0.5)
    behind = camera.center - camera.forward
    points = torch.stack([POINTS[0], behind, camera.unproject(torch.tensor([-50.0, 10.0]), torch.tensor(3.0))])
    drawn = overlay(camera, points, image, color=(0, 1, 0), radius=2.0)
    weight = 1 - drawn[..., 0] / 0.5
    assert 11 < float(weight.sum()) < 14  # one disc of area 12.6
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    middle = torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    torch.testing.assert_close(middle.double(), camera.project(POINTS[0])[0], atol=0.1, rtol=0)
    assert drawn[..., 1].max() == 1
    assert image.min() == image.max() == 0.5
    with pytest.raises(ValueError, match="image must have the camera's size 60x40; got 40x60"):
        overlay(camera, points, image.movedim(0, 1))


BENT = (-0.25, 0.08, 0.004, -0.006)


def test_distortion_against_its_definition_and_its_inverse():
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    radial = 1 - 0.25 * r2 + 0.08 * r2 * r2
    expected = [
        x * radial + 2 * 0.004 * x * y - 0.006 * (r2 + 2 * x * x),
        y * radial + 0.004 * (r2 + 2 * y * y) - 2 * 0.006 * x * y,
    ]
    point = torch.tensor([x, y], dtype=torch.float64)
    torch.testing.assert_close(distort(point, BENT), torch.tensor(expected, dtype=torch.float64))
    field = (torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5) * 1.6
    torch.testing.assert_close(undistort(distort(field, BENT), BENT), field)
    assert torch.autograd.gradcheck(
        distort, (field[:5].requires_grad_(), torch.tensor(BENT, dtype=torch.float64).requires_grad_())
    )
    with pytest.raises(ValueError, match="no inverse"):
        undistort(torch.tensor([[3.0, 3.0]]), (-0.3, 0, 0, 0))


def test_a_photograph_is_undistorted_when_it_is_loaded(tmp_path):
    lens = (-0.14, 0.04, 0.003, -0.004)
    camera = look_at((2, 1.5, 3), (0, 0, 0), (0, 1, 0), fov_y=0.9, width=150, height=96).crop(6, -4, 150, 96)
    inverse = torch.linalg.inv(camera.K)
    pixel = torch.tensor([[12.3, 11], [130.2, 14.6], [75, 48], [20, 80.7], [133, 82], [75.5, 84]]).double()
    # What the lens makes of it: a blob at each point's distorted place.
    flat = (torch.cat([pixel, torch.ones(6, 1)], dim=1) @ inverse.T)[:, :2] * torch.tensor([1.0, -1.0])
    bent = distort(flat, lens) * torch.tensor([1.0, -1.0])
    bent = (torch.cat([bent, torch.ones(6, 1)], dim=1) @ camera.K.T)[:, :2]
    assert (bent - pixel).norm(dim=1).max() > 1.5
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(150) + 0.5, indexing="ij")
    grid = torch.stack([x, y], dim=-1)
    for i in range(6):
        photo = (-(grid - bent[i]).square().sum(-1) / 2.5).exp()  # small: the centroid of a bent blob moves
        save_image(tmp_path / "photo.png", photo[..., None].float().expand(-1, -1, 3), linear=False)
        seen = load_undistorted(tmp_path / "photo.png", camera, lens, linear=False)[..., 0].double()
        seen = seen.where(seen > 0.02, 0.0)
        middle = (grid * seen[..., None]).sum((0, 1)) / seen.sum()
        torch.testing.assert_close(middle, pixel[i], atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="camera's size"):
        undistort_image(torch.zeros(150, 96, 3), camera, lens)


# --- Gradients through a picture --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_of_a_picture_against_differences_of_a_finer_one(seed):
    """All ten parameters at once, silhouettes and shading. Antialiased pixels are a sixth of the picture's, since the
    error of antialias goes with the size of its pixels; the differences are of 12x12 samples a pixel."""
    mesh = cube(1.5)
    colors = 0.7 + 0.2 * (mesh.vertices @ torch.tensor([[3.0, 1, 2], [1, 3, -2], [-2, 2, 4]])).sin()
    start = Camera.orbit(0.4 + seed, 0.3, 3.3, (0.1, 0.05, 0), fov_y=0.8, width=96, height=72)
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) - 0.3

    def loss(camera: Camera, samples: int, antialiased: bool) -> torch.Tensor:
        seen = camera.resized(96 * samples, 72 * samples)
        pos, tri = seen.to_clip(mesh.vertices)[None], mesh.faces
        rast, _ = dr.rasterize(dr.RasterizeContext(), pos, tri, seen.resolution)
        color, _ = dr.interpolate(colors, rast, tri)
        picture = torch.where(rast[..., 3:] > 0, color, torch.tensor([0.1, 0.2, 0.05]))
        if antialiased:
            picture = dr.antialias(picture, rast, pos, tri)
        weight = torch.nn.functional.interpolate(coarse, size=seen.resolution, mode="bilinear").movedim(1, -1)
        return 1e3 * (picture * weight).mean()

    parameters = CameraParameters(start, pivot=(0, 0, 0), square_pixels=False)
    loss(parameters(), 6, True).backward()
    exact = torch.cat([p.grad for p in parameters.parameters() if p.grad is not None])
    differences = []
    with torch.no_grad():
        for p in parameters.parameters():
            for i in range(len(p)):
                ends = []
                for step in (5e-3, -5e-3):
                    p[i] = step
                    ends.append(loss(parameters(), 12, False).item())
                p[i] = 0
                differences.append((ends[0] - ends[1]) / 1e-2)
    numeric = torch.tensor(differences, dtype=exact.dtype)
    assert torch.cosine_similarity(exact, numeric, dim=0) > 0.99
    assert (exact - numeric).norm() < 0.1 * numeric.norm()
