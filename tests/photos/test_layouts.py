"""COLMAP's and IDR's layouts: the same cameras come back, and every fault is one sentence that names the file."""

import re

import numpy as np
import pytest
import torch
from helpers.ball import assert_same_camera, ball_cameras, ball_picture, write_colmap, write_idr
from PIL import Image
from scipy.spatial.transform import Rotation

from diffrast.photos.data import read_views
from diffrast.photos.layout_idr import decompose
from diffrast.photos.masks import add_masks


def assert_views(views, cameras):
    assert len(views) == len(cameras)
    for view, camera in zip(views, cameras, strict=True):
        assert_same_camera(view.camera, camera)
        mask = torch.from_numpy(ball_picture(camera)[::-1].copy()) > 0
        torch.testing.assert_close(view.load().rgb[..., 0], torch.where(mask, 127 / 255, 0.0))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_colmap(tmp_path, binary):
    cameras = ball_cameras()
    assert_views(read_views(write_colmap(tmp_path / "d", cameras, binary)), cameras)


def test_colmap_with_smaller_pictures(tmp_path):
    cameras = ball_cameras()
    folder = write_colmap(tmp_path / "d", cameras, binary=False)
    for path in (folder / "images").iterdir():
        Image.open(path).resize((24, 16)).save(path)
    for view, camera in zip(read_views(folder), cameras, strict=True):
        assert_same_camera(view.camera, camera.resized(24, 16))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_idr(tmp_path, sign):
    cameras = ball_cameras()
    views = read_views(write_idr(tmp_path / "d", cameras, sign=sign))
    assert_views(views, cameras)
    assert add_masks(views) == "files"
    for view, camera in zip(views, cameras, strict=True):
        assert torch.equal(view.load_mask() > 0.5, torch.from_numpy(ball_picture(camera)[::-1].copy()) > 0)


def test_masks_beside_the_pictures_are_found(tmp_path):
    cameras = ball_cameras()
    folder = write_colmap(tmp_path / "d", cameras, binary=True)
    (folder / "masks").mkdir()
    for i, camera in enumerate(cameras):
        Image.fromarray(255 - ball_picture(camera)).save(folder / "masks" / f"v{i}.png.png")  # COLMAP's way of naming
    views = read_views(folder)
    assert add_masks(views) == "files"
    inside = torch.from_numpy(ball_picture(cameras[0])[::-1].copy()) > 0
    assert torch.equal(views[0].load_mask() > 0.5, ~inside)
    (folder / "masks" / "v2.png.png").unlink()
    with pytest.raises(ValueError, match=r"v2\.png has no mask, though other photographs of the data set have one"):
        add_masks(read_views(folder))


def edit(path, change):
    path.write_text(change(path.read_text()))


BROKEN_TEXT = {
    "fisheye": (
        lambda d: edit(d / "sparse/0/cameras.txt", lambda s: s.replace("PINHOLE", "FOV").rstrip() + " 0.1\n"),
        r"the distortion of a FOV lens is not known here; undistort the images first, with `colmap "
        r"image_undistorter`",
    ),
    "distortion": (
        lambda d: edit(
            d / "sparse/0/cameras.txt", lambda s: s.replace("PINHOLE", "OPENCV").rstrip() + " 0.1 nan 0 0\n"
        ),
        r"the lens's distortion holds a number that is not finite",
    ),
    "focal": (
        lambda d: edit(d / "sparse/0/cameras.txt", lambda s: re.sub(r"(48 32) \S+", r"\1 -5", s)),
        r"focal lengths and sizes of lenses must be positive",
    ),
    "translation": (
        lambda d: edit(d / "sparse/0/images.txt", lambda s: re.sub(r"\S+ 7 v0", "inf 7 v0", s)),
        r"the translation of v0\.png holds a number that is not finite",
    ),
    "twice": (
        lambda d: edit(d / "sparse/0/images.txt", lambda s: s.replace("v1.png", "v0.png")),
        r"images\.txt lists .*v0\.png more than once",
    ),
    "unknown model": (
        lambda d: edit(d / "sparse/0/cameras.txt", lambda s: s.replace("PINHOLE", "PERISCOPE")),
        r"cameras\.txt is no COLMAP model, or is cut short: 'PERISCOPE'",
    ),
    "parameters": (
        lambda d: edit(d / "sparse/0/cameras.txt", lambda s: s.rstrip().rsplit(" ", 1)[0] + "\n"),
        r"camera 7 must have 4 parameters; got 3",
    ),
    "no camera": (
        lambda d: edit(d / "sparse/0/cameras.txt", lambda s: s.replace("7 PIN", "8 PIN")),
        r"image v0\.png has camera 7, which the model does not have",
    ),
    "no cameras": (lambda d: (d / "sparse/0/cameras.txt").unlink(), r"has no cameras\.txt"),
    "no picture": (lambda d: (d / "images/v3.png").unlink(), r"v3\.png does not exist \(listed in .*images\.txt\)"),
    "escape": (
        lambda d: edit(d / "sparse/0/images.txt", lambda s: s.replace("v0.png", "../../v0.png")),
        r"names an image outside the data set's folder: \.\./\.\./v0\.png",
    ),
    "quaternion": (
        lambda d: edit(d / "sparse/0/images.txt", lambda s: re.sub(r"\n1 \S+", "\n1 9.5", s)),
        r"the quaternion of v0\.png must have length 1",
    ),
}


@pytest.mark.parametrize("fault", BROKEN_TEXT)
def test_broken_colmap(tmp_path, fault):
    breaks, message = BROKEN_TEXT[fault]
    folder = write_colmap(tmp_path / "d", ball_cameras(), binary=False)
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        read_views(folder)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
@pytest.mark.parametrize("keep", [0, 5, 40, 60])
def test_binary_models_that_are_cut_short(tmp_path, name, keep):
    folder = write_colmap(tmp_path / "d", ball_cameras(), binary=True)
    path = folder / "sparse" / "0" / name
    path.write_bytes(path.read_bytes()[:keep])
    if name == "cameras.bin" and keep == 60:
        path.write_bytes(path.read_bytes()[:59])
    with pytest.raises(ValueError, match=rf"{name} is no COLMAP model, or is cut short"):
        read_views(folder)


def change_matrices(folder, change):
    with np.load(folder / "cameras.npz") as file:
        matrices = dict(file)
    change(matrices)
    np.savez(folder / "cameras.npz", **matrices)


BROKEN_IDR = {
    "no archive": (lambda d: (d / "cameras.npz").write_bytes(b"PK nonsense"), r"cameras\.npz cannot be read"),
    "too few matrices": (
        lambda d: change_matrices(d, lambda m: m.pop("world_mat_5")),
        r"has 5 world_mat_<i> but .*image has 6 images",
    ),
    "a gap": (
        lambda d: change_matrices(d, lambda m: m.update(world_mat_9=m.pop("world_mat_2"))),
        r"cameras\.npz has no world_mat_2",
    ),
    "not finite": (
        lambda d: change_matrices(d, lambda m: m["world_mat_1"].fill(np.nan)),
        r"world_mat_1 holds a number that is not finite",
    ),
    "singular": (
        lambda d: change_matrices(d, lambda m: m["world_mat_1"].fill(1.0)),
        r"world_mat_1 is not the projection of a camera",
    ),
    "masks": (lambda d: (d / "mask" / "003.png").unlink(), r"mask has 5 images but .*image has 6"),
}


@pytest.mark.parametrize("fault", BROKEN_IDR)
def test_broken_idr(tmp_path, fault):
    breaks, message = BROKEN_IDR[fault]
    folder = write_idr(tmp_path / "d", ball_cameras())
    breaks(folder)
    with pytest.raises(ValueError, match=message):
        read_views(folder)


def test_a_projection_is_taken_apart(tmp_path):
    K = torch.tensor([[500.0, 3, 310], [0, 480, 250], [0, 0, 1]], dtype=torch.float64)
    R = torch.from_numpy(Rotation.from_euler("xyz", [0.3, -1.2, 2.0]).as_matrix())
    t = torch.tensor([0.2, -0.4, 3.0], dtype=torch.float64)
    for scale in (1.0, 7.0, -0.01):
        parts = decompose(scale * K @ torch.cat([R, t[:, None]], 1), "P", tmp_path)
        for got, want in zip(parts, (K, R, t), strict=True):
            torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
