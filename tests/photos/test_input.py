"""Input that is wrong in part: what cannot be used is left out and named, as long as the rest suffices."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.ball import ball_cameras, ball_picture, edit, write_nerf
from PIL import Image

from diffrast.camera import look_at
from diffrast.photos.agreement import common_point, without_blind
from diffrast.photos.data import _factor, load, read_views
from diffrast.photos.photo import Kept, Photo, Pixels, box_around, read_reduced
from diffrast.photos.views import View
from diffrast.reconstruct.preflight import contact_sheet, examine, odd


def paint(folder, name, alpha):
    picture = np.array(Image.open(folder / name))
    picture[..., 3] = alpha
    Image.fromarray(picture).save(folder / name)


def cut(folder, name, share=0.4):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])


LEFT_OUT = {
    "missing": (lambda f: (f / "v2.png").unlink(), r"image .*v2 does not exist \(listed in .*transforms_train\.json\)"),
    "no picture": (
        lambda f: (f / "v2.png").write_text("hello"),
        r"image .*v2\.png cannot be read \(corrupt or not an image\)",
    ),
    "empty file": (lambda f: (f / "v2.png").write_bytes(b""), r"image .*v2\.png cannot be read"),
    "cut short": (lambda f: cut(f, "v2.png"), r"image .*v2\.png cannot be read \(corrupt or not an image\)"),
    "all background": (lambda f: paint(f, "v2.png", 0), r"the mask of .*v2\.png is empty: the object is nowhere in it"),
    "all object": (lambda f: paint(f, "v2.png", 255), r"v2\.png has an alpha of one everywhere, unlike the others"),
    "nearly all": (lambda f: paint(f, "v2.png", 254), r"the mask of .*v2\.png is all object: it shows no outline"),
}


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_a_photograph_that_cannot_be_used_is_left_out_and_named(tmp_path, fault):
    breaks, message = LEFT_OUT[fault]
    folder = write_nerf(tmp_path / "d", ball_cameras())
    breaks(folder)
    found = load(folder)
    assert [v.name for v in found.views] == ["v0", "v1", "v3", "v4", "v5"]
    assert len(found.left_out) == 1
    assert re.search(message, found.left_out[0])


def test_too_few_that_can_be_used(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    for i in range(4):
        cut(folder, f"v{i}.png")
    with pytest.raises(
        ValueError, match=r"only 2 of 6 photographs can be used: image .*v0\.png cannot be read.*\(and 3 more\)"
    ):
        load(folder)


def test_one_view(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras()[:1])
    for read in (load, read_views):
        with pytest.raises(ValueError, match=r"lists 1 views; a reconstruction needs at least 3"):
            read(folder)


REFUSED = {
    "sizes": (
        lambda f: Image.new("RGBA", (20, 10)).save(f / "v4.png"),
        r"image sizes disagree: .*v0\.png is 48x32 and .*v4\.png is 20x10",
    ),
    "twice": (edit("frame.file_path", "v1"), r"lists .*v1\.png more than once"),
    "not finite": (edit("frame.transform_matrix", [[math.inf] * 4] * 4), r"holds a number that is not finite"),
    "outside": (edit("frame.file_path", "../secret"), r"names an image outside the data set's folder: \.\./secret"),
    "outside, masked": (edit("frame.mask_path", "/etc/passwd"), r"outside the data set's folder: /etc/passwd"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_calibration_that_is_wrong_is_refused(tmp_path, fault):
    breaks, message = REFUSED[fault]
    folder = write_nerf(tmp_path / "d", ball_cameras())
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        load(folder)


# --- Cameras ----------------------------------------------------------------------------------------------------------


def turned_away(camera):
    target = camera.center - camera.forward
    return look_at(camera.center, target, (0, 1, 0), fov_y=0.8, width=48, height=32)


def views_with(folder, cameras, poses):
    """Pictures as ``cameras`` take them, with the poses of others."""
    write_nerf(folder, cameras)
    scene = json.loads((folder / "transforms_train.json").read_text())
    for frame, camera in zip(scene["frames"], poses, strict=True):
        frame["transform_matrix"] = torch.linalg.inv(camera.world_to_camera).tolist()
    (folder / "transforms_train.json").write_text(json.dumps(scene))
    return load(folder).views


def test_cameras_look_at_a_common_place(tmp_path):
    views = views_with(tmp_path / "d", ball_cameras(8), ball_cameras(8))
    np.testing.assert_allclose(common_point(views).numpy(), [0.3, -0.2, 0.1], atol=0.05)
    seeing, sentences = without_blind(views)
    assert seeing == views
    assert sentences == []


def test_cameras_that_do_not_see_the_object_are_left_out_and_named(tmp_path):
    cameras = ball_cameras(10)
    aside = look_at(
        cameras[5].center, cameras[5].center + torch.tensor([0.0, 5, 1]), (1, 0, 0), fov_y=0.8, width=48, height=32
    )
    poses = [turned_away(c) if i == 2 else aside if i == 5 else c for i, c in enumerate(cameras)]
    seeing, sentences = without_blind(views_with(tmp_path / "d", cameras, poses))
    assert [v.name for v in seeing] == ["v0", "v1", "v3", "v4", "v6", "v7", "v8", "v9"]
    assert sentences[0].endswith("v2.png looks away from where the others look")
    assert "v5.png " in sentences[1]


def test_poses_with_other_axes_are_refused(tmp_path):
    cameras = ball_cameras(8)
    poses = [turned_away(c) for c in cameras]
    views = views_with(tmp_path / "d", cameras, poses)
    with pytest.raises(
        ValueError, match=r"cameras do not see the object: .*; are the poses camera to world, with the axes"
    ):
        without_blind(views)


# --- Pre-flight -------------------------------------------------------------------------------------------------------


def test_preflight_says_what_there_is(tmp_path):
    box = np.array([[-0.5, -1, -0.7], [1.1, 0.6, 0.9]])
    views = views_with(tmp_path / "d", ball_cameras(12), ball_cameras(12))
    facts = dict(examine(views, 1, box, "alpha", 2))
    assert facts["views"] == "12 photographs of 48x32, reduced by 2 from 96x64; 1 are held out"
    assert "from alpha" in facts["masks"]
    assert "cameras 4 to 4 units" in facts["poses"]
    assert "1.6 x 1.6 x 1.6 units" in facts["scale"]
    assert "varies by 0.0 stops" in facts["exposure"]
    assert list(odd(views, box)) == []


def test_preflight_warns_of_what_is_odd(tmp_path):
    box = np.array([[-0.5, -1, -0.7], [1.1, 0.6, 0.9]])
    views = views_with(tmp_path / "d", ball_cameras(12), ball_cameras(12))
    views[3].source = Pixels(views[3].load().rgb * 0.3, views[3].load_mask())
    speck = torch.zeros(views[7].shape)
    speck[14:18, 22:26] = 1
    views[7] = views[7].with_mask(speck)
    sentences = list(odd(views, box))
    assert len(sentences) == 2
    assert "v3.png is" in sentences[0]
    assert "darker than the median photograph" in sentences[0]
    assert "the mask of" in sentences[1]
    assert "v7.png is 0." in sentences[1]
    one_side = list(odd(views[:1] * 3, box))
    assert "no camera looks within" in one_side[0]


def test_the_overlay_shows_outline_and_box(tmp_path):
    cameras = ball_cameras(5, width=96, height=64)
    views = views_with(tmp_path / "d", cameras, cameras)
    sheet = contact_sheet(views, np.array([[-0.5, -1, -0.7], [1.1, 0.6, 0.9]]), size=96)
    assert sheet.shape == (2 * (64 + 4), 3 * (96 + 4), 3)
    tile = sheet[68 : 68 + 64, :96]  # the first, top left
    green = (tile - torch.tensor([0.1, 0.9, 0.2])).abs().amax(-1) < 1e-3
    orange = (tile[..., 0] > 0.8) & ((tile[..., 1] - 0.5).abs() < 0.2) & (tile[..., 2] < 0.3)
    mask = torch.from_numpy(ball_picture(cameras[0])[::-1].copy()) > 0
    assert bool(mask[green].all())
    assert int(green.sum()) > 20
    assert int(orange.sum()) > 100


# --- Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [4, 6])
def test_reduced_pictures_are_means(tmp_path, factor):
    levels = np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    smooth = np.add.outer(np.arange(67), np.arange(98)).astype(np.uint8)
    Image.fromarray(np.dstack([smooth] * 3)).save(tmp_path / "b.jpg", quality=98)
    for name, source, tolerance in (("a.png", levels, 0.6), ("b.jpg", np.dstack([smooth] * 3), 2.5)):
        h, w = source.shape[0] // factor, source.shape[1] // factor
        whole = source[: h * factor, : w * factor].reshape(h, factor, w, factor, 3)
        expected = torch.from_numpy(whole.mean((1, 3))[::-1].copy() / 255).float()
        image = read_reduced(tmp_path / name, factor)
        torch.testing.assert_close(image, expected, atol=tolerance / 255, rtol=0)


def test_the_camera_of_a_reduced_picture_sees_the_same():
    camera = ball_cameras(1, width=50, height=35)[0]
    photo = Photo(Path("a.png"), 50, 35).reduced(4)
    reduced = photo.taken_by(camera)[1]
    assert reduced.resolution == photo.shape == (8, 12)
    point = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    pixel, small = camera.project(point)[0][0], reduced.project(point)[0][0]
    assert float(small[0]) == pytest.approx(float(pixel[0]) / 4)
    assert float(8 - small[1]) == pytest.approx(float(35 - pixel[1]) / 4)  # what is left over is cut off at the bottom


def test_a_view_keeps_what_lies_around_its_object():
    alpha = torch.zeros(60, 80)
    alpha[20:30, 50:60] = 1.0
    rgb = torch.rand(60, 80, 3, generator=torch.Generator().manual_seed(0))
    view = View("a", Path("a.png"), ball_cameras(1)[0], Kept.of(rgb, alpha))
    assert view.source.rgb.levels.shape == (10 + 32, 10 + 32, 3)
    assert box_around(alpha) == (34, 4, 76, 46)
    pixels = view.load()
    torch.testing.assert_close(pixels.alpha, alpha)
    assert torch.equal(view.load_mask(), pixels.alpha)
    assert pixels.doubt is None
    assert view.load_doubt() is None
    assert view.shape == (60, 80)
    on = alpha > 0
    torch.testing.assert_close(pixels.rgb[on], rgb[on], atol=0.51 / 255, rtol=0)
    assert float(pixels.rgb[0, 0].sum()) == 0
    assert replace(view, turn=1).source is view.source  # nothing is decoded for it


@pytest.mark.parametrize(
    ("count", "size", "resolution", "factor"),
    [
        (36, (400, 400), None, 1),
        (36, (400, 400), 100, 4),
        (24, (1920, 1080), None, 2),
        (300, (5472, 3648), None, 8),
        (2000, (5472, 3648), None, 24),
        (2000, (1600, 1200), 1600, 1),
    ],
)
def test_how_much_photographs_are_reduced(count, size, resolution, factor):
    photo = Photo(Path("a.png"), *size)
    camera = look_at((0, 0, 1), (0, 0, 0), (0, 1, 0), fov_y=1.0, width=size[0], height=size[1])
    assert _factor([View.of("a", photo, camera)] * count, resolution) == factor


LOAD = """
import resource, sys
from diffrast.photos.data import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = load(sys.argv[1], resolution=400)
kept = sum(getattr(v.source, part).levels.nbytes for v in found.views for part in ("rgb", "alpha"))
print(len(found.views), found.factor, kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_many_large_photographs_take_little_memory(tmp_path):
    """40 photographs of 6 megapixels would be 3.8 GB as float32 with masks."""
    cameras = ball_cameras(5, width=300, height=200)
    folder = write_nerf(tmp_path / "d", cameras * 8)
    for i in range(40):
        path = folder / f"v{i}.png"
        if i < 5:
            mask = Image.fromarray(ball_picture(cameras[i])).resize((3000, 2000), Image.Resampling.NEAREST)
            Image.merge("RGB", [mask.point(lambda level, k=k: k * level) for k in (0.8, 0.7, 0.5)]).save(
                folder / f"v{i}.jpg"
            )
        else:
            (folder / f"v{i}.jpg").hardlink_to(folder / f"v{i % 5}.jpg")
        path.unlink()
    result = subprocess.run([sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    count, factor, kept, growth = map(int, result.stdout.split())
    assert (count, factor) == (40, 8)
    assert kept < 40 * 4 * 375 * 250
    assert growth * (1 if sys.platform == "darwin" else 1024) < 150e6
