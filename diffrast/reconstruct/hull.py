"""The start: bounds of the object from its outlines, and its visual hull as a mesh.

The hull's field is a distance, not a yes or no: at a point, each view's signed distance to its outline in pixels
(2-D distance transform of the mask) times the size of a pixel there. The smallest over the views is negative outside
of the hull; marching cubes on it gives a surface finer than the voxels. With `spare` votes the (spare+1)-th smallest
counts, so that as many masks may be wrong at a point.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import linprog
from skimage.measure import marching_cubes

from ..mesh.remesh import drop_unused
from ..mesh.topology import part_volumes, parts_of
from ..photos.data import View
from ..scene.passes import clip_matrices, to_clip


def bounds(views: list[View], margin: float = 0.02) -> np.ndarray:
    """The box `[2, 3]` around everything that all outlines' bounding rectangles allow.

    Each side of a view's rectangle is a plane through its eye; the box of their common inside is six linear programs.
    Where the outline touches the image's border the object may go on: that side gives no plane. Raises `ValueError`
    when the cones have no common inside (poses and masks do not fit), naming the view that is alone in that if there is
    one, or do not close it.
    """
    planes = [_cone(view) for view in views]
    anywhere = np.zeros(3)
    if _least(planes, anywhere) is None:
        alone = [v for i, v in enumerate(views) if _least(planes[:i] + planes[i + 1 :], anywhere) is not None]
        advice = (
            f"all but {alone[0].path} have one, its pose or its mask must be wrong"
            if len(alone) == 1
            else "masks of your own (masks) or refine_cameras may help"
        )
        raise ValueError(f"the outlines have no common inside: camera poses and masks do not fit together; {advice}")
    box = np.empty((2, 3))
    for axis, end in np.ndindex(3, 2):
        found = _least(planes, (1.0 - 2 * end) * np.eye(3)[axis])
        if found is None:
            raise ValueError("the views do not surround the object: its extent cannot be bounded from them")
        box[end, axis] = found[axis]
    grow = margin * np.linalg.norm(box[1] - box[0])
    return box + np.array([[-grow], [grow]])


def _cone(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The half spaces `normals [K, 3] @ x <= offsets [K]` that the rectangle around a view's mask leaves."""
    camera = view.camera
    P = camera.K.numpy() @ (np.diag([1.0, 1.0, -1.0]) @ camera.world_to_camera[:3].numpy())
    planes = [np.append(-P[2, :3], P[2, 3])]  # in front of the eye
    inside = view.load_mask().numpy() > 0.5
    for row, on in ((P[0], inside.any(axis=0)), (P[1], inside.any(axis=1))):
        lowest, highest = np.flatnonzero(on)[[0, -1]]
        for limit, sign in ((lowest - 1.0, -1.0), (highest + 2.0, 1.0)):
            if 0 <= limit <= np.size(on):  # sign * (row . x - limit * P[2] . x) <= 0
                plane = sign * (row - limit * P[2])
                planes.append(np.append(plane[:3], -plane[3]) / np.linalg.norm(plane[:3]))
    return np.array(planes)[:, :3], np.array(planes)[:, 3]


def _least(planes: list[tuple[np.ndarray, np.ndarray]], cost: np.ndarray) -> np.ndarray | None:
    """The point in all of them where `cost` is least; None where there is no such point."""
    normals, offsets = (np.concatenate(part) for part in zip(*planes, strict=True))
    found = linprog(cost, A_ub=normals, b_ub=offsets, bounds=(None, None))
    return found.x if found.status == 0 else None


def _outline_distance(alpha: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the outline of `alpha [H, W]`, positive inside, to a fraction of a pixel."""
    inside = alpha > 0.5
    # Between the centres of the two pixels beside the outline alpha says where it runs; further off, the distance
    # transform measures to the centre of the nearest pixel on the other side, half a pixel beyond the outline.
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    distance -= 0.5 * np.sign(distance)
    near = np.abs(distance) < 1
    distance[near] = alpha[near] - 0.5
    return distance.astype(np.float32)


def _permitted(view: View) -> np.ndarray:
    """Coverage `[H, W]` as far as it may carve: a pixel in doubt removes nothing."""
    alpha, doubt = view.load_mask().numpy(), view.load_doubt()
    return alpha if doubt is None else np.where(doubt.numpy(), 1, alpha)


class HullField:
    """The hull's distance at points `[N, 3]`: see the module. Points that no view sees are outside."""

    def __init__(self, views: list[View], spare: int = 0):
        self.spare = spare
        self.views = [(v.camera, torch.from_numpy(_outline_distance(_permitted(v)))[None, None]) for v in views]

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        smallest = points.new_full((self.spare + 1, len(points)), float("inf"))
        for camera, distance in self.views:
            pixel, depth = camera.project(points)
            size = pixel.new_tensor([camera.width, camera.height])
            seen = ((pixel >= 0) & (pixel <= size)).all(dim=-1) & (depth > 0)
            grid = (2 * pixel / size - 1).clamp(-1, 1)
            value = torch.nn.functional.grid_sample(
                distance, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
            )[0, 0, 0]
            value = torch.where(seen, value * depth / float(camera.K[0, 0]), torch.inf)
            for k in range(self.spare + 1):  # insert into the sorted few
                value, smallest[k] = torch.maximum(value, smallest[k]), torch.minimum(value, smallest[k])
        return torch.where(torch.isinf(smallest[-1]), -smallest.new_ones(()), smallest[-1])


def visual_hull(
    views: list[View], box: np.ndarray, resolution: int = 160, spare: int = 0, keep: float = 1e-4
) -> tuple[np.ndarray, np.ndarray]:
    """The hull as `vertices` float64 `[V, 3]` and `faces` int64 `[F, 3]` with `resolution` voxels along the
    longest side of `box`. Parts with less than the share `keep` of the largest part's volume are dropped.

    Only voxels that the eight times fewer voxels of a coarse pass find near the surface are evaluated at full
    resolution (the field changes about as fast as the distance). Raises `ValueError` where the hull is empty.
    """
    field = HullField(views, spare)
    step = (box[1] - box[0]).max() / resolution
    coarse_shape = np.maximum(2, np.ceil((box[1] - box[0]) / (2 * step)).astype(int)) + 1
    shape = 2 * coarse_shape - 1
    grid = _lattice(box[0], 2 * step, coarse_shape)
    coarse = field(grid).reshape(*coarse_shape).numpy()
    fine = ndimage.zoom(coarse, shape / coarse_shape, order=1, grid_mode=False)
    near = np.argwhere(np.abs(fine) < 3 * step)
    points = torch.from_numpy((box[0] + near * step).astype(np.float32))
    fine[tuple(near.T)] = torch.cat([field(p) for p in points.split(1 << 18)]).numpy() if len(near) else 0
    fine = np.pad(np.maximum(fine, -4 * step), 1, constant_values=-4 * step)
    if fine.max() <= 0:
        raise ValueError("the visual hull is empty: camera poses and masks do not fit together")
    v, f, _, _ = marching_cubes(fine, 0.0, gradient_direction="ascent")
    return drop_parts(box[0] + (v - 1) * step, f.astype(np.int64), keep)


def _lattice(origin: np.ndarray, step: float, shape: np.ndarray) -> torch.Tensor:
    axes = [torch.from_numpy((o + step * np.arange(n)).astype(np.float32)) for o, n in zip(origin, shape, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def drop_parts(v: np.ndarray, f: np.ndarray, keep: float) -> tuple[np.ndarray, np.ndarray]:
    """Remove connected parts whose signed volume is below the share `keep` of the largest: floaters, and cavities,
    which face inwards and no photograph can show."""
    part = parts_of(f, len(v))
    volume = part_volumes(v, f, part)
    return drop_unused(v, f[volume[part] > keep * volume.max()])


def silhouettes(views: list[View], v: np.ndarray, box: np.ndarray, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks `[B, size, size]` and clip positions `[B, V, 4]` of all views at one small size."""
    masks = []
    for view in views:
        alpha = view.load_mask()
        masks.append(torch.nn.functional.interpolate(alpha[None, None], (size, size), mode="area")[0, 0] > 0.5)
    cameras = [view.camera.resized(size, size) for view in views]
    points = torch.from_numpy(np.ascontiguousarray(v[:, :3])).float()
    return torch.stack(masks), to_clip(points, clip_matrices(cameras, torch.from_numpy(box)))
