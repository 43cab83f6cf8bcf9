"""Where a known mesh stands before a camera, from one photograph: a search that goes from coarse to fine, then
Gauss-Newton.

1. Orientations evenly over all (Alexa 2022, "Super-Fibonacci Spirals"), each moved so that its outline fills the box of
the mask;
   judged by the overlap of outlines in a small picture, the best ones then by colour as well.
2. The best that differ are refined by Gauss-Newton with Levenberg and Marquardt's damping, in pictures that grow: the
residuals
   are those of the antialiased picture, which changes evenly with the pose, and light is eliminated (pose_model.py).
   Its Jacobian has six columns, each a central difference of two pictures a pixel apart. (The backward pass gives one
   row at a time, of which there are thousands: the same matrix at a thousand times the cost. tests/fitting/test_pose.py
   compares the two.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from ..camera.camera import Camera
from ..camera.conventions import rigid
from ..camera.lie import so3_exp
from ..mesh.mesh import Mesh
from ..optimize.least_squares import least_squares
from .pose_model import PosedMesh, Poses, Window, window

COARSE = 32  # pixels along the window's side, while orientations are searched
SHORTLIST = 384  # orientations of the best outlines, judged by colour too
CHUNK = 96  # pictures drawn at once
# Refinement: pixels along the window's side, bands of light, candidates that enter, steps at most.
LEVELS = ((40, 2, 24, 3), (40, 2, 8, 5), (80, 2, 4, 6), (192, 3, 2, 12))
DIFFERENT = math.radians(12)  # candidates closer than this are one
STEP = 0.5  # pixels between a pose and its neighbours, for the Jacobian


@dataclass
class Found:
    """`camera` with its pose; `rms`: root mean square difference of colour and coverage, linear, in the window around
    the object; `iou`: intersection over union of outlines; `rivals`: other poses, more than 12 degrees away, whose
    difference is less than a tenth larger (a symmetric object has some); `interrupted`: stopped with Ctrl-C before the
    last refinement."""

    camera: Camera
    rms: float
    iou: float
    rivals: list[Camera]
    interrupted: bool


def find_pose(
    mesh: Mesh, image: Tensor, mask: Tensor, camera: Camera, *, orientations: int = 4608, progress: bool = False
) -> Found:
    """The pose of `camera` that makes `mesh` look like the photograph.

    Args:
        image: linear colours `[H, W, 3]`, straight, row 0 at the bottom.
        mask: coverage of the object `[H, W]` in 0..1.
        camera: its intrinsics and size; the pose is not looked at.
        orientations: where to start from; 4608 are about 15 degrees apart.

    Not differentiable. The object should lie inside of the photograph; if its border crops it, a search may fail. Matt
    surfaces under any distant light are explained; what is glossy or in shadow counts as noise.

    Raises `ValueError` for a photograph of another size than the camera's or an empty mask.
    """
    if image.shape != (*camera.resolution, 3) or mask.shape != camera.resolution:
        raise ValueError(
            f"find_pose(): image and mask must be [H, W, 3] and [H, W] of the camera, {camera.height}x{camera.width}; "
            f"got {list(image.shape)} and {list(mask.shape)}"
        )
    box, extent = _box(mask)
    model = PosedMesh(mesh)
    views = [window(image, mask, camera, box, min(n, box[2])) for n in (COARSE, *(n for n, *_ in LEVELS))]
    steps = math.ceil(orientations / CHUNK) + math.ceil(SHORTLIST / CHUNK) + sum(count for *_, count, _ in LEVELS)
    with tqdm(total=steps, desc="pose", disable=not progress, leave=False) as bar:
        poses = place(model, camera, extent, sphere(orientations))
        poses = poses[_best(model, poses, views[0], 0, SHORTLIST, bar)]
        poses = poses[_best(model, poses, views[0], 2, len(poses), bar)]
        loss: Tensor | None = None
        interrupted = False
        try:
            for view, (_, bands, count, most) in zip(views[1:], LEVELS, strict=True):
                if view is views[-1] and loss is not None:  # the dearest pictures are for likely poses only
                    poses = poses[loss < 2 * loss[0]]
                poses, loss = refine(model, poses[distinct(poses, count)], view, bands, most, bar)
        except KeyboardInterrupt:
            if loss is None:  # nothing is worth showing yet
                raise
            interrupted = True
    assert loss is not None
    close = distinct(poses, len(poses))
    cameras = [_camera(poses[i], model, camera) for i in close if loss[i] < 1.21 * loss[0]]
    covered = model.draw(poses[:1], views[-1])[0, ..., 3]
    return Found(
        cameras[0], float(loss[0].sqrt()), float(_overlap(covered[None], views[-1])[0]), cameras[1:], interrupted
    )


def overlay(mesh: Mesh, image: Tensor, mask: Tensor, camera: Camera) -> Tensor:
    """The proof for people, linear `[H, W, 3]`: the photograph, half of it the mesh where that stands, and its
    outline."""
    height, width = camera.resolution
    side, model = max(height, width), PosedMesh(mesh)
    view = window(image, mask, camera, (0, 0, side), side)
    pose = camera.world_to_camera
    poses = Poses(pose[None, :3, :3], (pose[:3, :3] @ model.middle + pose[:3, 3])[None])
    drawn = model.draw(poses, view)[0, :height, :width].clamp(0, 1)
    cover = drawn[None, None, ..., 3]
    pool = torch.nn.functional.max_pool2d
    edge = pool(cover, 5, stride=1, padding=2) + pool(-cover, 3, stride=1, padding=1)
    line = edge[0, 0, ..., None].clamp(0, 1)
    mixed = torch.lerp(image, drawn[..., :3] + image * (1 - drawn[..., 3:]), 0.5)
    return torch.lerp(mixed, mixed.new_tensor([0.9, 0.0, 0.25]).expand_as(mixed), line)


# --- The search -------------------------------------------------------------------------------------------------------


def sphere(count: int) -> Tensor:
    """`count` rotations `[count, 3, 3]`, float64, spread evenly over all: Super-Fibonacci spirals (Alexa 2022)."""
    s = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (s / count).sqrt(), (1 - s / count).sqrt()
    a, b = 2 * math.pi * s / math.sqrt(2), 2 * math.pi * s / 1.533751168755204288118041
    x, y, z, w = inner * a.sin(), inner * a.cos(), outer * b.sin(), outer * b.cos()
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def _box(mask: Tensor) -> tuple[tuple[int, int, int], Tensor]:
    """A square around the mask with room to move, (left, bottom, side), and the mask's own box `[2, 2]`: low and high
    x, y."""
    y, x = (mask > 0.5).nonzero().unbind(-1)
    if not len(x):
        raise ValueError("find_pose(): the mask is empty: the object is nowhere in the photograph")
    low, high = torch.stack([x.min(), y.min()]), torch.stack([x.max(), y.max()]) + 1
    side = math.ceil(1.3 * int((high - low).max())) + 4
    left, bottom = ((low + high - side) // 2).tolist()
    return (left, bottom, side), torch.stack([low, high]).double()


def place(model: PosedMesh, camera: Camera, extent: Tensor, R: Tensor) -> Poses:
    """Poses with rotations R `[N, 3, 3]` whose outlines fill the box `extent` `[2, 2]` in pixels."""
    # What reaches farthest in one of many directions is all that an outline's box can depend on.
    directions = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = model.vertices.double()
    points = points[(points @ directions).argmax(0).unique()]
    focal, middle, size = camera.K.diagonal()[:2], extent.mean(0), (extent[1] - extent[0]).norm()
    depth = torch.full((len(R), 1), float(focal.mean() * 2 * model.radius / size), dtype=torch.float64)
    ray = (middle - camera.K[:2, 2]) / focal
    t = torch.cat([ray * depth, -depth], dim=1)
    for first in range(0, len(R), 512):
        part = slice(first, first + 512)
        turned = points @ R[part].mT
        for _ in range(4):
            p = turned + t[part, None]
            p[..., 2] = p[..., 2].clamp(max=-1e-3 * model.radius)
            pixels = focal * p[..., :2] / -p[..., 2:] + camera.K[:2, 2]
            low, high = pixels.amin(1), pixels.amax(1)
            t[part] *= ((high - low).norm(dim=1) / size)[:, None]
            shift = middle - 0.5 * (low + high)
            t[part, :2] += shift * -t[part, 2:] / focal
    return Poses(R, t)


def _best(model: PosedMesh, poses: Poses, view: Window, bands: int, count: int, bar: tqdm) -> Tensor:
    """Indices of the best poses, best first: by overlap of outlines, with `bands` of light by colour as well."""
    scores = []
    for first in range(0, len(poses), CHUNK):
        some = poses[first : first + CHUNK]
        if bands:
            pictures = model.draw(some, view, bands, smooth=False)
            scores.append(-_loss(pictures, view))
        else:
            scores.append(_overlap(model.outlines(some, view.camera).float(), view))
        bar.update()
    return torch.cat(scores).argsort(descending=True)[:count]


def _overlap(covered: Tensor, view: Window) -> Tensor:
    """Intersection over union `[N]` of coverages `[N, n, n]` with the mask."""
    mask, known = view.image[..., 3], view.known
    both, either = torch.minimum(covered, mask) * known, torch.maximum(covered, mask) * known
    return both.sum((1, 2)) / either.sum((1, 2)).clamp_min(1e-9)


def _residual(pictures: Tensor, view: Window) -> Tensor:
    return ((pictures - view.image) * view.known[..., None]).flatten(1)


def _loss(pictures: Tensor, view: Window) -> Tensor:
    return _residual(pictures, view).square().mean(1)


def distinct(poses: Poses, count: int) -> list[int]:
    """Indices of the first `count` poses that differ from those before by more than 12 degrees."""
    kept: list[int] = []
    for i in range(len(poses)):
        traces = (poses.R[kept] * poses.R[i]).sum((1, 2))
        if bool((traces < 1 + 2 * math.cos(DIFFERENT)).all()):
            kept.append(i)
        if len(kept) == count:
            break
    return kept


def _camera(pose: Poses, model: PosedMesh, camera: Camera) -> Camera:
    return replace(camera, world_to_camera=rigid(pose.R, pose.t - pose.R @ model.middle))


# --- Gauss-Newton -----------------------------------------------------------------------------------------------------


def moved(poses: Poses, by: Tensor) -> Poses:
    """Poses N turned about the object's middle and shifted by N twists `[N, 6]`: radians, world units, in camera
    axes."""
    return Poses(so3_exp(by[:, :3]) @ poses.R, poses.t + by[:, 3:])


def units(model: PosedMesh, poses: Poses, view: Window) -> Tensor:
    """Twists `[N, 6]` each of whose entries alone moves the picture by about `STEP` pixels."""
    depth = -poses.t[:, 2:].clamp(max=-1e-6)
    turn = STEP * depth / (view.camera.K.diagonal()[:2].mean() * model.radius)
    return torch.cat([turn.expand(-1, 3), (turn * model.radius).expand(-1, 2), turn * depth], dim=1)


def around(model: PosedMesh, pose: Poses, view: Window, bands: int = 3) -> Callable[[Tensor], Tensor]:
    """The residuals `[N, P]` of one pose after twists `[N, 6]` in `units`, as a function of those."""
    unit = units(model, pose, view)

    def residuals(twists: Tensor) -> Tensor:
        turned = moved(Poses(pose.R.expand(len(twists), 3, 3), pose.t.expand(len(twists), 3)), twists * unit)
        return _residual(model.draw(turned, view, bands), view)

    return residuals


def jacobian(residuals: Callable[[Tensor], Tensor], twist: Tensor) -> tuple[Tensor, Tensor]:
    """What `around` returns at a twist `[6]`, and its derivatives `[P, 6]` there."""
    axes = torch.eye(6, dtype=twist.dtype)
    r = residuals(twist + torch.cat([torch.zeros_like(axes[:1]), axes, -axes]))
    return r[0], (0.5 * (r[1:7] - r[7:])).mT


def refine(model: PosedMesh, poses: Poses, view: Window, bands: int, steps: int, bar: tqdm) -> tuple[Poses, Tensor]:
    """Poses after at most `steps` steps of Gauss-Newton each, and their losses `[N]`, the best first."""
    ends, losses = [], []
    for k in range(len(poses)):
        residuals = around(model, poses[k : k + 1], view, bands)
        found = least_squares(
            lambda twist, r=residuals: r(twist[None])[0],
            torch.zeros(6, dtype=torch.float64),
            steps=steps,
            damping=1e-2,
            tolerance=0.0,
            smallest=4e-3,  # two thousandths of a pixel
            derivatives=partial(jacobian, residuals),
        )
        ends.append(moved(poses[k : k + 1], found.x * units(model, poses[k : k + 1], view)))
        losses.append(2 * found.costs[-1] / view.image.numel())
        bar.update()
    loss = torch.tensor(losses)
    after = Poses(torch.cat([p.R for p in ends]), torch.cat([p.t for p in ends]))
    order = loss.argsort()
    return after[order], loss[order]
