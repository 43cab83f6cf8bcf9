"""Reading data sets: conventions proved by a known scene, and one clear sentence for every fault."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from helpers.ball import (
    CENTER,
    RADIUS,
    assert_same_camera,
    ball_cameras,
    ball_picture,
    edit,
    write_middlebury,
    write_nerf,
)
from PIL import Image

from diffrast.photos.data import held_out, kept_out, load, read_views
from diffrast.photos.masks import add_masks
from diffrast.reconstruct.hull import bounds
from diffrast.reconstruct.orient import undo_turns


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_nerf_layout(tmp_path, suffix):
    cameras = ball_cameras()
    views = read_views(write_nerf(tmp_path / "d", cameras, suffix))
    assert [v.name for v in views] == [f"v{i}" for i in range(6)]
    for view, camera in zip(views, cameras, strict=True):
        assert_same_camera(view.camera, camera)
        mask = torch.from_numpy(ball_picture(camera)[::-1].copy()) / 255
        torch.testing.assert_close(view.load_mask(), mask)
        torch.testing.assert_close(view.load().rgb[..., 0][mask > 0], torch.full((int(mask.sum()),), 127 / 255))
    assert add_masks(views) == "alpha"


def with_test_views(folder):
    """Of six views the last two in transforms_test.json."""
    scene = json.loads((write_nerf(folder, ball_cameras()) / "transforms_train.json").read_text())
    for name, frames in (("train", scene["frames"][:4]), ("test", scene["frames"][4:])):
        (folder / f"transforms_{name}.json").write_text(json.dumps({**scene, "frames": frames}))
    return folder


def test_views_that_the_data_set_brings_to_judge_by(tmp_path):
    folder = with_test_views(tmp_path / "d")
    assert [v.name for v in load(folder).views] == ["v0", "v1", "v2", "v3"]
    views = load(folder, resolution=24, test=True).views
    assert [v.name for v in views if v.test] == ["v4", "v5"]
    assert kept_out(views, "test") == [4, 5]
    with pytest.raises(ValueError, match="holdout test leaves 2 views"):
        kept_out(views[2:], "test")


def test_without_views_to_judge_by(tmp_path):
    folder = with_test_views(tmp_path / "d")
    (folder / "transforms_test.json").unlink()
    with pytest.raises(ValueError, match=r"holdout test: .* has no transforms_test\.json"):
        load(folder, test=True)


def test_nerf_layout_with_intrinsics_in_pixels(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    scene = json.loads((folder / "transforms_train.json").read_text())
    del scene["camera_angle_x"]
    scene.update(fl_x=50.0, fl_y=60.0, cx=20.0, cy=10.0)
    (folder / "transforms.json").write_text(json.dumps(scene))
    (folder / "transforms_train.json").unlink()
    K = read_views(folder)[0].camera.K
    assert K.tolist() == [[50, 0, 20], [0, 60, 32 - 10], [0, 0, 1]]


def test_middlebury_layout(tmp_path):
    cameras = ball_cameras()
    views = read_views(write_middlebury(tmp_path / "d", cameras))
    assert add_masks(views) == "threshold"
    for view, camera in zip(views, cameras, strict=True):
        assert_same_camera(view.camera, camera)
        mask = torch.from_numpy(ball_picture(camera)[::-1].copy()) > 0
        assert ((view.load_mask() > 0.5) != mask).float().mean() < 0.03
    assert undo_turns(views) is views


def test_pictures_turned_since_calibration_are_found_out(tmp_path):
    # Every camera lies on its side, one way or the other; pictures are stored upright.
    cameras, turns = [], []
    for i, camera in enumerate(ball_cameras(8)):
        ccw = i % 3 != 0
        cameras.append(camera.turned(ccw))
        turns.append(-1 if ccw else 1)
    views = read_views(write_middlebury(tmp_path / "d", cameras, turns))
    add_masks(views)
    fixed = undo_turns(views)
    assert [v.turn for v in fixed] == turns
    for view, camera in zip(fixed, ball_cameras(8), strict=True):
        assert_same_camera(view.camera, camera)


def test_bounds_hold_the_ball(tmp_path):
    views = read_views(write_nerf(tmp_path / "d", ball_cameras(12)))
    box = bounds(views)
    assert (box[0] < CENTER - 0.98 * RADIUS).all()
    assert (box[1] > CENTER + 0.98 * RADIUS).all()
    assert (box[1] - box[0] < 1.6 * 2 * RADIUS).all()


def test_views_from_one_side_do_not_bound(tmp_path):
    camera = ball_cameras()[0]
    views = read_views(write_nerf(tmp_path / "d", [camera] * 4))
    with pytest.raises(ValueError, match="views do not surround the object"):
        bounds(views)


def test_masks_from_a_folder(tmp_path):
    folder = write_middlebury(tmp_path / "d", ball_cameras())
    masks = tmp_path / "m"
    masks.mkdir()
    for i, camera in enumerate(ball_cameras()):
        Image.fromarray(ball_picture(camera)).save(masks / f"b{i:02d}.png")
    views = read_views(folder)
    assert add_masks(views, masks) == "files"
    torch.testing.assert_close(
        views[0].load_mask(), torch.from_numpy(ball_picture(ball_cameras()[0])[::-1].copy()) / 255
    )
    (masks / "b03.png").unlink()
    with pytest.raises(ValueError, match=r"mask folder .* has no mask for b03\.png"):
        add_masks(read_views(folder), masks)
    Image.new("L", (8, 8)).save(masks / "b03.png")
    with pytest.raises(ValueError, match=r"b03\.png is 8x8 but its photograph is 48x32"):
        add_masks(read_views(folder), masks)
    Image.new("L", (48, 32)).save(masks / "b03.png")
    with pytest.raises(ValueError, match=r"mask of .*b03\.png is empty"):
        add_masks(read_views(folder), masks)
    with pytest.raises(ValueError, match="is not a folder"):
        add_masks(read_views(folder), tmp_path / "nowhere")


def test_no_alpha_and_no_contrast(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    for i in range(6):
        Image.fromarray(np.random.default_rng(i).integers(90, 110, (32, 48, 3), dtype=np.uint8)).save(
            folder / f"v{i}.png"
        )
    with pytest.raises(ValueError, match=r"v0\.png has no alpha and its object does not stand out .* needs a mask"):
        add_masks(read_views(folder))


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def size(folder):
    Image.new("RGBA", (20, 10)).save(folder / "v4.png")


def corrupt(folder):
    data = (folder / "v4.png").read_bytes()
    (folder / "v4.png").write_bytes(data[: len(data) // 3])


EYE = torch.eye(4).tolist()
NERF_FAULTS = {
    "missing image": (
        lambda f: (f / "v3.png").unlink(),
        r"image .*v3 does not exist \(listed in .*transforms_train\.json\)",
    ),
    "corrupt image": (corrupt, r"image .*v4\.png cannot be read"),
    "sizes": (size, r"image sizes disagree: .*v0\.png is 48x32 and .*v4\.png is 20x10"),
    "not json": (write("transforms_train.json", "{broken"), r"transforms_train\.json is not valid JSON"),
    "no frames": (edit("frames", None), r"transforms_train\.json: 'frames' must be a list"),
    "frames": (edit("frames", {"a": 1}), r"'frames' must be a list of objects"),
    "no views": (edit("frames", []), r"lists 0 views; a reconstruction needs at least 3"),
    "no pose": (edit("frame.transform_matrix", None), r"frame 2 has no transform_matrix"),
    "no path": (edit("frame.file_path", None), r"frame 2 has no file_path"),
    "path is no text": (edit("frame.file_path", 7), r"frame 2 has no text as file_path"),
    "ragged pose": (
        edit("frame.transform_matrix", [[1, 2], [3]]),
        r"transform_matrix of frame 2 .* must hold 3x4 numbers",
    ),
    "nan pose": (edit("frame.transform_matrix", [[math.nan] * 4] * 4), r"frame 2 .* holds a number that is not finite"),
    "scaled pose": (edit("frame.transform_matrix", [[3 * x for x in r] for r in EYE]), r"frame 2 .* is not a rotation"),
    "mirrored pose": (edit("frame.transform_matrix", [[-x for x in r] for r in EYE]), r"frame 2 .* is not a rotation"),
    "no angle": (edit("camera_angle_x", None), r"camera_angle_x \(radians, between 0 and pi\) or fl_x"),
    "angle": (edit("camera_angle_x", 4.0), r"camera_angle_x \(radians, between 0 and pi\)"),
    "angle is text": (edit("camera_angle_x", "wide"), r"camera_angle_x must be a finite number; got 'wide'"),
    "focal": (edit("fl_x", -5), r"focal lengths must be positive"),
    "outside": (
        edit("frame.file_path", "../../secret"),
        r"names an image outside the data set's folder: \.\./\.\./secret",
    ),
    "absolute": (edit("frame.file_path", "/etc/passwd"), r"names an image outside the data set's folder: /etc/passwd"),
    "hidden outside": (edit("frame.file_path", "a/../../x"), r"outside the data set's folder"),
}


@pytest.mark.parametrize("name", NERF_FAULTS)
def test_nerf_faults(tmp_path, name):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    fault, message = NERF_FAULTS[name]
    fault(folder)
    with pytest.raises(ValueError, match=message) as caught:
        add_masks(read_views(folder))
    assert "\n" not in str(caught.value).split(": ")[0]


def replace_line(index, edit_line):
    def apply(folder):
        path = folder / "ball_par.txt"
        lines = path.read_text().splitlines()
        lines[index] = edit_line(lines[index].split())
        path.write_text("\n".join(lines))

    return apply


MIDDLEBURY_FAULTS = {
    "count": (replace_line(0, lambda _: "9"), r"first line says 9 images but 6 lines follow"),
    "no count": (replace_line(0, lambda _: "hello"), r"first line must be the number of images"),
    "short line": (replace_line(2, lambda f: " ".join(f[:-1])), r"the line of b01\.png must hold 21 numbers"),
    "text": (replace_line(2, lambda f: " ".join([*f[:-1], "x"])), r"the line of b01\.png must hold 21 numbers"),
    "inf": (
        replace_line(2, lambda f: " ".join([*f[:-1], "inf"])),
        r"line of b01\.png holds a number that is not finite",
    ),
    "R": (replace_line(2, lambda f: " ".join([*f[:10], "5", *f[11:]])), r"R in the line of b01\.png is not a rotation"),
    "focal": (replace_line(2, lambda f: " ".join([f[0], "-1", *f[2:]])), r"focal lengths in the line of b01\.png"),
    "missing": (lambda folder: (folder / "b04.png").unlink(), r"b04\.png does not exist"),
    "outside": (replace_line(2, lambda f: " ".join(["../b01.png", *f[1:]])), r"outside the data set's folder"),
}


@pytest.mark.parametrize("name", MIDDLEBURY_FAULTS)
def test_middlebury_faults(tmp_path, name):
    folder = write_middlebury(tmp_path / "d", ball_cameras())
    fault, message = MIDDLEBURY_FAULTS[name]
    fault(folder)
    with pytest.raises(ValueError, match=rf"ball_par\.txt.*{message}|{message}"):
        read_views(folder)


def test_folders_without_a_layout(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a folder"):
        read_views(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no known layout: expected one of transforms_train\.json"):
        read_views(tmp_path)


def test_held_out_views_are_spread():
    assert held_out(36, 4) == [4, 13, 22, 31]
    assert held_out(10, 0) == []
    with pytest.raises(ValueError, match="holdout must lie between 0 and 7 for 10 views; got 8"):
        held_out(10, 8)
    with pytest.raises(ValueError, match="holdout must lie"):
        held_out(10, -1)


def test_real_data_is_read(data_folder):
    views = read_views(data_folder / "templeRing")
    assert add_masks(views) == "threshold"
    views = undo_turns(views)
    assert {v.turn for v in views} == {1, -1}
    box = bounds(views)
    # The box that comes with the data (README.txt) is tight; ours must hold it, and not be much larger.
    known = np.array([[-0.023121, -0.038009, -0.091940], [0.078626, 0.121636, -0.017395]])
    assert (box[0] < known[0]).all()
    assert (box[1] > known[1]).all()
    assert np.linalg.norm(box[1] - box[0]) < 1.3 * np.linalg.norm(known[1] - known[0])


def test_data_set_can_be_copied_anywhere(tmp_path):
    folder = write_nerf(tmp_path / "a", ball_cameras())
    shutil.copytree(folder, tmp_path / "b with spaces")
    assert len(read_views(tmp_path / "b with spaces")) == 6
