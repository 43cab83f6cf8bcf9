"""Cameras, exposures: what they change in pictures, and that wrong ones are found."""

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.ring import CPU, new_run

import diffrast.torch as dr
from diffrast.fitting.appearance import Textured, unwrap
from diffrast.fitting.descent import Descent, fit
from diffrast.fitting.exposure import Exposed
from diffrast.fitting.geometry import Shape
from diffrast.fitting.targets import SAMPLES, make_targets
from diffrast.io.image import linear_to_srgb, srgb_to_linear
from diffrast.photos import Pixels, View
from diffrast.photos.agreement import common_point
from diffrast.photos.calibration import Calibration, correct_cameras
from diffrast.reconstruct.cameras import LOCATE, _wide_hull, agree, aim, gather, locate, widened
from diffrast.reconstruct.hull import bounds

BENCH = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "cameras.py"))
disturbed, misjudged, rotation_errors = (BENCH[n] for n in ("disturbed", "misjudged", "rotation_errors"))


def some_calibration(count: int, box) -> Calibration:
    found = Calibration.none(count, torch.from_numpy(box))
    generator = torch.Generator().manual_seed(0)
    for part in found.parts().values():
        part.copy_(0.05 * torch.randn(part.shape, generator=generator))
    return found


# --- What a calibration is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("about_eye", [False, True])
def test_corrected_cameras_see_what_targets_draw(views, about_eye):
    box = bounds(views)
    found = some_calibration(len(views), box)
    found = replace(found, center=None) if about_eye else found
    targets = make_targets(views, box, 1, CPU, found)
    index = torch.tensor([1, 7])
    points = torch.rand(20, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    clip = targets.clip(points, index)
    height, width = targets.resolution
    pixels = (clip[..., :2] / clip[..., 3:] + 1) / 2 * torch.tensor([width, height])
    for i, row in zip(index.tolist(), pixels, strict=True):
        window, full = targets.cameras[i], views[i].camera
        corner = full.K[:2, 2] - 2 * window.K[:2, 2]  # of the window in the photograph, whose pixels are twice as small
        there = found.camera(full, i).project(points.double())[0]
        torch.testing.assert_close(2 * row.double() + corner, there, atol=2e-3, rtol=0)


def test_an_offset_moves_pictures_by_pixels(views):
    targets = make_targets(views, bounds(views), 1, CPU)
    index, points = torch.tensor([2, 5]), torch.rand(20, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    offset = torch.tensor([[0.5, -0.25], [-0.4, 0.1]])
    height, width = targets.resolution

    def pixels(clip: torch.Tensor) -> torch.Tensor:
        return clip[..., :2] / clip[..., 3:] / 2 * torch.tensor([width, height])

    moved = pixels(targets.clip(points, index, offset)) - pixels(targets.clip(points, index))
    torch.testing.assert_close(moved, offset[:, None].expand(2, 20, 2), atol=1e-4, rtol=0)


def test_turning_about_the_eye_keeps_the_eye(views):
    found = replace(Calibration.none(1, torch.tensor([[-1.0, -1, -1], [1, 1, 1]])), center=None)
    found.turn[0] = torch.tensor([0.0, 0.1, 0.0])
    camera = found.camera(views[0].camera, 0)
    torch.testing.assert_close(camera.center, views[0].camera.center, atol=1e-6, rtol=0)
    angle = math.acos(float(camera.forward @ views[0].camera.forward))
    assert angle == pytest.approx(0.1, abs=1e-4)


def test_gradients_reach_every_part(views):
    targets = make_targets(views, bounds(views), 1, CPU)
    parts = targets.calibration.parts()
    for part in parts.values():
        part.requires_grad_()
    index = torch.tensor([0, 3])
    clip = targets.clip(torch.rand(30, 3) - 0.5, index)
    picture = torch.rand(2, *targets.resolution, 4)
    ((clip / clip[..., 3:]).square().sum() + targets.residual(picture, index).square().sum()).backward()
    for name, part in parts.items():
        assert part.grad is not None and bool((part.grad != 0).any()), name


def test_exposure_is_a_factor_on_light(views):
    light = torch.rand(2, 4, 5, 3, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.1
    found = Calibration.none(3, torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    found.gain[:] = torch.tensor([[0.3, 0.0, -0.2], [-0.3, 0.0, 0.2], [0.0, 0.0, 0.0]])
    full = torch.cat([linear_to_srgb(light), torch.ones(2, 4, 5, 1)], dim=-1)
    shown = found.expose(full, torch.tensor([0, 1]), 1.0)[..., :3]
    expected = linear_to_srgb(light * found.gain[:2].exp()[:, None, None])
    torch.testing.assert_close(shown, expected, atol=1e-5, rtol=1e-4)
    # What lies behind the object is nobody's exposure.
    empty = torch.cat([torch.ones(2, 4, 5, 3), torch.zeros(2, 4, 5, 1)], dim=-1)
    torch.testing.assert_close(found.expose(empty, torch.tensor([0, 1]), 1.0), empty)
    # A photograph divided by its factor is as if it had none.
    back = Exposed(Pixels(shown[0]), found.gain[0])
    assert back.shape == (4, 5)
    torch.testing.assert_close(back.load().rgb, full[0, ..., :3], atol=1e-5, rtol=0)


# --- Wrong cameras are found ------------------------------------------------------------------------------------------


def test_similarity_does_not_count_as_an_error(views):
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    rotation = rotation * torch.linalg.det(rotation)
    moved = []
    for view in views:
        matrix = view.camera.world_to_camera.clone()
        eye = 2.5 * rotation @ view.camera.center + torch.tensor([1.0, 2, 3])
        matrix[:3, :3] = matrix[:3, :3] @ rotation.T
        matrix[:3, 3] = -matrix[:3, :3] @ eye
        moved.append(replace(view, camera=replace(view.camera, world_to_camera=matrix)))
    assert float(rotation_errors(moved, views).max()) < 1e-5
    assert float(rotation_errors(disturbed(views, 2.0), views).mean()) == pytest.approx(2.0, abs=1e-6)


def test_wrong_poses_are_brought_to_agree_and_refined(views):
    ctx, run = dr.RasterizeContext(), new_run()
    given = disturbed(views, 3.0)
    assert agree(ctx, views, CPU) and not agree(ctx, given, CPU)
    assert gather(ctx, run, views, CPU) is views  # nothing to do
    found = gather(ctx, run, given, CPU)
    assert not run.losses
    rough = [widened(v, 0.03) for v in found]
    box = bounds(rough)

    shape, _ = _wide_hull(found, 0.03, CPU)
    targets = make_targets(found, box, 0, CPU)
    fit(ctx, run, shape, targets, Descent(1e-2, 0.03, {"turn": 3e-3, "move": 3e-3}), steps=150)
    errors = rotation_errors(targets.calibration.apply(found), views)
    assert float(errors.mean()) < 0.6  # of 3 degrees, from 14 pictures of 72 pixels


def test_aimed_cameras_have_one_point_in_the_middle_of_their_masks(views):
    given = disturbed(views, 8.0)
    point = common_point(given)
    for before, after in zip(given, aim(given), strict=True):
        middle = (after.load_mask() > 0.5).nonzero().double().mean(dim=0).flip(0) + 0.5
        torch.testing.assert_close(after.camera.project(point)[0], middle, atol=1e-6, rtol=0)
        torch.testing.assert_close(after.camera.center, before.camera.center)


def textured(views: list[View], shape: Shape, steps: int) -> Textured:
    ctx = dr.RasterizeContext()
    targets = make_targets(views, bounds(views), 0, CPU)
    return fit(ctx, new_run(), unwrap(ctx, shape, 128), targets, Descent(0.0, 0.05, squared=True), steps=steps)


@pytest.mark.parametrize("means", [False, True])
def test_pixels_are_compared_at_points_all_over_them_and_at_last_in_the_mean(views, true_shape, means):
    targets, drawn = make_targets(views[:1], bounds(views), 0, CPU), []
    vertices = true_shape.vertices

    class Recorded(Shape):
        def render(self, ctx, clip, colors, resolution, samples=1):
            drawn.append((clip.detach(), samples))
            return (colors.mean() + 0 * clip.sum()).expand(1, *resolution, 4)

    fit(
        dr.RasterizeContext(),
        new_run(),
        Recorded(**vars(true_shape)),
        targets,
        Descent(0.0, 0.0, means=means),
        steps=200,
    )
    assert [samples for _, samples in drawn] == [1] * 150 + [SAMPLES if means else 1] * 50
    middles, moved = targets.clip(vertices, torch.tensor([0])), torch.cat([clip for clip, _ in drawn])
    height, width = targets.resolution
    offset = (moved - middles)[..., :2] / middles[..., 3:] / 2 * torch.tensor([width, height])
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), atol=1e-3, rtol=0)  # the picture as a whole
    assert float(offset.abs().max()) < 0.501
    assert float(offset[:150, 0].std(dim=0).min()) == pytest.approx(1 / 12**0.5 if means else 0.0, abs=0.03)
    assert float(offset[150:].abs().max()) < 1e-3


@pytest.mark.parametrize("pixels", [(1.5, 0.0), (-0.8, 1.2)])
def test_the_principal_point_of_a_view_is_found_by_its_picture(views, true_shape, pixels):
    model, camera = textured(views, true_shape, 60), views[3].camera
    K = camera.K.clone()
    K[:2, 2] += torch.tensor(pixels, dtype=K.dtype)
    given = [replace(views[3], camera=replace(camera, K=K))]
    (found,) = locate(dr.RasterizeContext(), model, given, bounds(views), {"shift": LOCATE["shift"]})
    torch.testing.assert_close(found.camera.K, camera.K, atol=0.2, rtol=0)


def test_a_view_is_located_by_its_picture(views, true_shape):
    model, given = textured(views, true_shape, 60), disturbed(views[:2], 2.0)
    found = locate(dr.RasterizeContext(), model, given, bounds(views), {"turn": 5e-3, "move": 5e-3})
    for view, truth in zip(found, views, strict=False):
        turn = view.camera.world_to_camera[:3, :3] @ truth.camera.world_to_camera[:3, :3].T
        degrees = math.degrees(math.acos(min(1.0, (float(turn.diagonal().sum()) - 1) / 2)))
        assert degrees < 0.5  # of 2


def test_exposures_are_found(views, true_shape):
    generator = torch.Generator().manual_seed(0)
    gains = 0.3 * torch.randn(len(views), 3, generator=generator)
    gains -= gains.mean(dim=0)
    given = []
    for view, gain in zip(views, gains, strict=True):
        pixels = view.load()
        rgb = linear_to_srgb((srgb_to_linear(pixels.rgb) * 0.4 * gain.exp()).clamp(0, 1))
        given.append(replace(view, source=replace(pixels, rgb=rgb)))
    ctx = dr.RasterizeContext()
    targets = make_targets(given, bounds(views), 0, CPU)
    fit(ctx, new_run(), unwrap(ctx, true_shape, 128), targets, Descent(0.0, 0.03, {"gain": 0.03}), steps=200)
    found = targets.calibration.gain - targets.calibration.gain.mean(dim=0)
    assert float((found - gains).abs().mean()) < 0.01  # of a mean of 0.24
    corrected = correct_cameras(given, [], targets.calibration)
    assert all(c.camera.K.equal(g.camera.K) for c, g in zip(corrected, given, strict=True))
