"""What data sets do differently: lenses that distort, intrinsics per frame, masks of many kinds, cameras in plain text
files."""

import json
import math

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
    opencv,
    write_colmap,
    write_nerf,
    write_pictures,
)
from PIL import Image

from diffrast.camera import look_at
from diffrast.camera.distortion import undistort
from diffrast.photos.data import load, read_views
from diffrast.photos.masks import add_masks

LENS = (-0.4, 0.1, 0.004, -0.003)


def corner_cameras():
    """The ball away from the middle, where a lens bends most."""
    cameras = []
    for i in range(6):
        a = 2 * math.pi * i / 6
        eye = CENTER + 4.0 * np.array([math.sin(a), 0.3, math.cos(a)])
        aim = CENTER + 1.4 * np.array([math.cos(a), 0.4, -math.sin(a)])
        cameras.append(look_at(eye, aim, (0, 1, 0), fov_y=1.0, width=192, height=128))
    return cameras


def scene(folder):
    return json.loads((folder / "transforms_train.json").read_text())


def rewrite(folder, **changes):
    (folder / "transforms_train.json").write_text(json.dumps({**scene(folder), **changes}))


def bent_picture(camera):
    """The ball's mask as the lens LENS takes it, by ray casting, uint8 [H, W], row 0 at the top."""
    K = camera.K
    y, x = torch.meshgrid(*(torch.arange(n).double() + 0.5 for n in camera.resolution), indexing="ij")
    bent = torch.stack([(x - K[0, 2]) / K[0, 0], (y - (camera.height - K[1, 2])) / K[1, 1]], dim=-1)
    flat = undistort(bent, LENS).numpy()  # y down
    rays = (
        np.stack([flat[..., 0], -flat[..., 1], -np.ones_like(flat[..., 0])], -1)
        @ camera.world_to_camera[:3, :3].numpy()
    )
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    to = CENTER - camera.center.numpy()
    return np.where((to @ to) - (rays @ to) ** 2 < RADIUS**2, 255, 0).astype(np.uint8)


def assert_masks(views, cameras, tolerance=0.0015):
    for view, camera in zip(views, cameras, strict=True):
        assert_same_camera(view.camera, camera)
        mask = torch.from_numpy(ball_picture(camera)[::-1].copy()) > 0
        assert ((view.load_mask() > 0.5) != mask).float().mean() < tolerance


# --- Lenses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_colmap_with_a_lens_that_distorts(tmp_path, binary):
    cameras = corner_cameras()
    bent = [bent_picture(c) for c in cameras]
    assert np.mean([(b != ball_picture(c)).mean() for b, c in zip(bent, cameras, strict=True)]) > 0.005
    folder = write_colmap(tmp_path / "d", cameras, binary, "OPENCV", LENS)
    for i, mask in enumerate(bent):
        Image.fromarray(np.dstack([mask // 2, mask // 3, mask // 4, mask])).save(folder / "images" / f"v{i}.png")
    found = load(folder)
    assert found.source == "alpha"
    assert_masks(found.views, cameras)


@pytest.mark.parametrize("masks", ["alpha", "folder"])
def test_nerf_with_a_lens_that_distorts(tmp_path, masks):
    cameras = corner_cameras()
    folder = write_nerf(tmp_path / "d", cameras)
    rewrite(folder, **dict(zip(("k1", "k2", "p1", "p2"), LENS, strict=True)))
    (folder / "masks").mkdir()
    for i, camera in enumerate(cameras):
        mask = bent_picture(camera)
        layers = [mask // 2, mask // 3, mask // 4, mask]
        Image.fromarray(np.dstack(layers if masks == "alpha" else layers[:3])).save(folder / f"v{i}.png")
        if masks == "folder":
            Image.fromarray(mask).save(folder / "masks" / f"v{i}.png")
    found = load(folder)
    assert found.source == ("alpha" if masks == "alpha" else "files")
    assert_masks(found.views, cameras)


def test_what_a_lens_did_not_see_is_in_doubt(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    rewrite(folder, k1=0.4)  # a pincushion: the corners of the flat picture lie outside of the photograph
    view = load(folder).views[0]
    pixels = view.load()
    assert bool(pixels.doubt[0, 0])
    assert not bool(pixels.doubt[16, 24])
    assert not bool((pixels.alpha[pixels.doubt] > 0).any())


# --- NeRF-synthetic and its relatives ---------------------------------------------------------------------------------


def test_intrinsics_per_frame_and_of_larger_pictures(tmp_path):
    folder = write_nerf(tmp_path / "d", ball_cameras())
    frames = scene(folder)["frames"]
    frames[1] |= {"fl_x": 100.0, "fl_y": 120.0, "cx": 40.0, "cy": 20.0}
    frames[2] |= {"camera_angle_x": 1.0, "camera_angle_y": 0.5}
    rewrite(folder, frames=frames, fl_x=90.0, w=96, h=64)
    K = [v.camera.K for v in read_views(folder)]
    assert K[0].tolist() == [[45, 0, 24], [0, 45, 16], [0, 0, 1]]  # the photographs have half the size
    assert K[1].tolist() == [[50, 0, 20], [0, 60, 32 - 10], [0, 0, 1]]
    assert float(K[2][0, 0]) == 45  # pixels go before angles
    assert float(K[2][1, 1]) == pytest.approx(16 / math.tan(0.25))


@pytest.mark.parametrize("where", ["masks", "mask", "mask_path"])
def test_rgb_and_masks(tmp_path, where):
    cameras = ball_cameras()
    folder = write_nerf(tmp_path / "d", cameras)
    out = folder / ("own" if where == "mask_path" else where)
    out.mkdir()
    frames = scene(folder)["frames"]
    for i, camera in enumerate(cameras):
        Image.open(folder / f"v{i}.png").convert("RGB").save(folder / f"v{i}.png")
        Image.fromarray(ball_picture(camera)).save(out / f"v{i}.png")
        if where == "mask_path":
            frames[i]["mask_path"] = f"own/v{i}.png"
    rewrite(folder, frames=frames)
    found = load(folder)
    assert found.source == "files"
    assert_masks(found.views, cameras, 1e-9)


def test_the_same_name_in_two_folders(tmp_path):
    cameras = ball_cameras()
    folder = write_nerf(tmp_path / "d", cameras)
    frames = scene(folder)["frames"]
    for i in range(6):
        target = folder / f"cam{i % 2}" / f"{i // 2}.png"
        target.parent.mkdir(exist_ok=True)
        (folder / f"v{i}.png").rename(target)
        frames[i]["file_path"] = f"cam{i % 2}/{i // 2}"
    rewrite(folder, frames=frames)
    views = load(folder).views
    assert [v.name for v in views] == ["cam0/0", "cam1/0", "cam0/1", "cam1/1", "cam0/2", "cam1/2"]
    assert_masks(views, cameras, 1e-9)


FAULTS = {
    "k1": (edit("k1", "much"), r"k1 must be a finite number; got 'much'"),
    "k2": (edit("k2", math.inf), r"k2 must be a finite number; got inf"),
    "p1": (edit("p1", True), r"p1 must be a finite number; got True"),
    "p2": (edit("frame.p2", []), r"p2 must be a finite number; got \[\]"),
    "k3": (edit("k3", 0.1), r"of lens distortion k1, k2, p1 and p2 are known; got k3: undistort the images first"),
    "fisheye": (edit("camera_model", "OPENCV_FISHEYE"), r"got a fisheye lens: undistort"),
    "w": (edit("w", 0), r"w and h must be positive; got w=0"),
    "h": (edit("frame.h", -3), r"w and h must be positive; got w=48, h=-3"),
    "cx": (edit("cx", math.nan), r"cx must be a finite number"),
    "fl_y": (edit("fl_y", -1), r"focal lengths must be positive; got fl_x=.*, fl_y=-1"),
    "angle of a frame": (edit("frame.camera_angle_x", 7), r"camera_angle_x \(radians, between 0 and pi\).*got 7"),
    "mask is no text": (edit("frame.mask_path", 3), r"frame 2 has no text as mask_path"),
    "mask outside": (edit("frame.mask_path", "../m.png"), r"names an image outside the data set's folder: \.\./m\.png"),
    "mask is missing": (edit("frame.mask_path", "m.png"), r"image .*m\.png cannot be read"),
    "twice": (edit("frame.file_path", "v1"), r"transforms_train\.json lists .*v1\.png more than once"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_variants(tmp_path, fault):
    breaks, message = FAULTS[fault]
    folder = write_nerf(tmp_path / "d", ball_cameras())
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        add_masks(read_views(folder))


# --- K, R, t in text files --------------------------------------------------------------------------------------------


def write_krt(folder, cameras, suffix=".jpg", lens=()):
    write_pictures(folder, cameras, names="v{}" + suffix)
    for i, camera in enumerate(cameras):
        K, R, t = opencv(camera, 0.0)
        rows = [*K, *np.column_stack([R, t]), np.array(lens)]
        text = "\n".join(", ".join(f"{x:.17g}" for x in row) for row in rows)
        (folder / f"v{i}.txt").write_text(f"# K, [R | t]\n{text}  # a lens perhaps\n")
    (folder / "README.txt").write_text("Photographs of a ball, and their cameras.")
    return folder


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_plain_text_cameras(tmp_path, suffix):
    cameras = ball_cameras()
    found = load(write_krt(tmp_path / "d", cameras, suffix))
    assert found.source == "threshold"
    assert [v.name for v in found.views] == [f"v{i}" for i in range(6)]
    assert_masks(found.views, cameras, 0.05)


def test_plain_text_cameras_with_a_lens(tmp_path):
    cameras = corner_cameras()
    folder = write_krt(tmp_path / "d", cameras, ".png", LENS)
    for i, camera in enumerate(cameras):
        mask = bent_picture(camera)
        Image.fromarray(np.dstack([mask // 2, mask // 3, mask // 4, mask])).save(folder / f"v{i}.png")
    assert_masks(load(folder).views, cameras)


def word(index, value):
    """Replace a number of v2.txt, or leave it out."""

    def apply(folder):
        lines = (folder / "v2.txt").read_text().split("\n", 1)[1].split("#")[0].replace(",", " ").split()
        lines[index : index + 1] = [value] if value else []
        (folder / "v2.txt").write_text(" ".join(lines))

    return apply


KRT_FAULTS = {
    "short": (word(5, ""), r"v2\.txt must hold K \(9 numbers\), \[R \| t\] \(12\) .* got 20 numbers"),
    "text": (word(5, "wide"), r"v2\.txt must hold numbers and comments only: .*'wide'"),
    "focal": (word(0, "-40"), r"v2\.txt: K must be upper triangular with positive focal lengths"),
    "K": (word(3, "7"), r"v2\.txt: K must be upper triangular"),
    "R": (word(9, "5"), r"v2\.txt: the rotation part of \[R \| t\] is not a rotation"),
    "t": (word(12, "nan"), r"v2\.txt: the camera holds a number that is not finite"),
}


@pytest.mark.parametrize("fault", KRT_FAULTS)
def test_broken_text_cameras(tmp_path, fault):
    breaks, message = KRT_FAULTS[fault]
    folder = write_krt(tmp_path / "d", ball_cameras())
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_text_files_without_pictures_are_no_layout(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ValueError, match="has no known layout"):
        load(tmp_path)
