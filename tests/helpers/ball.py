"""A ball, photographed, in every layout of photographs with cameras."""

import json
import math
import struct

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from diffrast.camera import Camera, look_at

CENTER, RADIUS = np.array([0.3, -0.2, 0.1]), 0.8  # of the ball in every picture


def ball_cameras(count: int = 6, width: int = 48, height: int = 32) -> list[Camera]:
    cameras = []
    for i in range(count):
        a, e = 2 * math.pi * i / count, 0.9 * math.cos(1.7 * i)
        eye = CENTER + 4.0 * np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])
        cameras.append(
            look_at(eye, CENTER + np.array([0.1, 0.05, 0]), (0, 1, 0), fov_y=0.8, width=width, height=height)
        )
    return cameras


def ball_picture(camera: Camera) -> np.ndarray:
    """The ball's mask by ray casting, uint8 [H, W], row 0 at the top."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    pixels = np.stack([x, camera.height - y, np.ones_like(x)], -1)
    rays = pixels @ np.linalg.inv(camera.K.numpy()).T * [1, 1, -1] @ camera.world_to_camera[:3, :3].numpy()
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    to = CENTER - camera.center.numpy()
    off = (to @ to) - (rays @ to) ** 2
    return np.where(off < RADIUS**2, 255, 0).astype(np.uint8)


def write_nerf(folder, cameras, suffix=""):
    folder.mkdir(exist_ok=True)
    frames = []
    for i, camera in enumerate(cameras):
        mask = ball_picture(camera)
        rgba = np.dstack([mask // 2, mask // 3, 255 - mask // 2, mask])
        Image.fromarray(rgba).save(folder / f"v{i}.png")
        pose = torch.linalg.inv(camera.world_to_camera).tolist()
        frames.append({"file_path": f"./v{i}{suffix}", "transform_matrix": pose})
    scene = {"camera_angle_x": 2 * math.atan(cameras[0].width / 2 / float(cameras[0].K[0, 0])), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(scene))
    return folder


def write_middlebury(folder, cameras, turns=None):
    """Dark background, no masks; ``turns``: how often to turn each stored picture counter-clockwise by a quarter."""
    folder.mkdir(exist_ok=True)
    lines = [str(len(cameras))]
    rng = np.random.default_rng(0)
    for i, camera in enumerate(cameras):
        mask = ball_picture(camera)[..., None] > 0
        rgb = np.where(mask, [200, 170, 120], rng.integers(0, 12, (*mask.shape[:2], 3))).astype(np.uint8)
        Image.fromarray(np.rot90(rgb, turns[i] if turns else 0).copy()).save(folder / f"b{i:02d}.png")
        flip = np.diag([1.0, -1.0, -1.0])
        R, t = flip @ camera.world_to_camera[:3, :3].numpy(), flip @ camera.world_to_camera[:3, 3].numpy()
        K = camera.K.numpy().copy()
        K[1, 2] = camera.height - K[1, 2]
        K[:2, 2] -= PIXEL_CENTER
        lines.append(f"b{i:02d}.png " + " ".join(f"{x:.12g}" for x in [*K.ravel(), *R.ravel(), *t]))
    (folder / "ball_par.txt").write_text("\n".join(lines) + "\n")
    return folder


PIXEL_CENTER = 0.5  # Middlebury's pixel (0, 0) is the centre of the first pixel


def assert_same_camera(ours: Camera, theirs: Camera):
    points = torch.tensor(CENTER) + torch.rand(20, 3, dtype=torch.float64) - 0.5
    torch.testing.assert_close(ours.project(points)[0], theirs.project(points)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.project(points)[1], theirs.project(points)[1], atol=1e-6, rtol=0)


def edit(key, value):
    """A fault: set an entry of the scene or of frame 2 (``frame.`` first)."""

    def apply(folder):
        path = folder / "transforms_train.json"
        scene = json.loads(path.read_text())
        target = scene["frames"][2] if key.startswith("frame.") else scene
        if value is None:
            del target[key.removeprefix("frame.")]
        else:
            target[key.removeprefix("frame.")] = value
        path.write_text(json.dumps(scene))

    return apply


FLIP = np.diag([1.0, -1.0, -1.0])


def opencv(camera, centre):
    """K, R, t with y down; pixel centres at `centre`."""
    K = camera.K.numpy().copy()
    K[0, 2] -= 0.5 - centre
    K[1, 2] = camera.height - K[1, 2] - (0.5 - centre)
    view = camera.world_to_camera.numpy()
    return K, FLIP @ view[:3, :3], FLIP @ view[:3, 3]


def write_pictures(folder, cameras, masks=None, names="v{}.png"):
    folder.mkdir(parents=True)
    for i, camera in enumerate(cameras):
        mask = ball_picture(camera)
        Image.fromarray(np.dstack([mask // 2, mask // 3, mask // 4])).save(folder / names.format(i))
        if masks:
            masks.mkdir(exist_ok=True)
            Image.fromarray(mask).save(masks / f"{i:03d}.png")


def write_colmap(folder, cameras, binary, lens="PINHOLE", extra=()):
    write_pictures(folder / "images", cameras)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    K = opencv(cameras[0], 0.5)[0]
    parameters = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *extra]
    width, height = cameras[0].width, cameras[0].height
    shots = []
    for i, camera in enumerate(cameras):
        _, R, t = opencv(camera, 0.5)
        q = Rotation.from_matrix(R).as_quat()[[3, 0, 1, 2]]
        shots.append((i + 1, [*q, *t], f"v{i}.png"))
    if binary:
        number = {"PINHOLE": 1, "OPENCV": 4}[lens]
        lenses = struct.pack("<QiiQQ", 1, 7, number, width, height) + struct.pack(f"<{len(parameters)}d", *parameters)
        (model / "cameras.bin").write_bytes(lenses)
        data = struct.pack("<Q", len(shots))
        for i, pose, name in shots:
            points = struct.pack("<ddq", 1.0, 2.0, -1) * i
            data += struct.pack("<I7dI", i, *pose, 7) + name.encode() + b"\0" + struct.pack("<Q", i) + points
        (model / "images.bin").write_bytes(data)
        return folder
    numbers = " ".join(f"{x:.17g}" for x in parameters)
    (model / "cameras.txt").write_text(f"# cameras\n7 {lens} {width} {height} {numbers}\n")
    lines = ["# images"]
    for i, pose, name in shots:
        lines += [f"{i} " + " ".join(f"{x:.17g}" for x in pose) + f" 7 {name}", "1.0 2.0 -1" if i % 2 else ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_idr(folder, cameras, masks=True, sign=1.0):
    write_pictures(folder / "image", cameras, folder / "mask" if masks else None, "{:06d}.png")
    matrices = {}
    for i, camera in enumerate(cameras):
        K, R, t = opencv(camera, 0.0)
        P = np.eye(4)
        P[:3] = sign * 2.5 * K @ np.column_stack([R, t])
        matrices |= {f"world_mat_{i}": P, f"world_mat_inv_{i}": np.linalg.inv(P), f"scale_mat_{i}": 3 * np.eye(4)}
    np.savez(folder / "cameras.npz", **matrices)
    return folder
