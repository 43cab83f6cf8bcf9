"""Scenes whose parameters move the mesh or the camera."""

from collections.abc import Callable

import torch
from torch import Tensor

from . import shapes
from .case import POSE, Case, moved, project, rotation, samples, smooth_colors

Change = Callable[[Tensor, Tensor], Tensor]


def pose(name: str, size: int, mesh: tuple[Tensor, Tensor], count: int, seed: int) -> Case:
    """A mesh that turns and moves."""
    points, tri = mesh
    starts, targets = samples(seed, count, [1.2] * 3 + [0.1] * 3, [0.12] * 3 + [0.06] * 3)

    def geometry(theta: Tensor) -> Tensor:
        return project(moved(points, theta), 3.0, 3.2)

    return Case(name, "pose", POSE, tri, smooth_colors(points), geometry, starts, targets, size=size)


def sheets(name: str, distance: float, focal: float, count: int) -> Case:
    """Two sheets larger than the picture that cut each other; one of them moves."""
    flat, tri = shapes.sheet()
    still = 4 * flat @ rotation(torch.tensor([0.5, -0.9, 0.2], dtype=torch.float64)).T
    swing = 4 * flat
    tilt = rotation(torch.tensor([-0.4, 0.8, 0.0], dtype=torch.float64))

    def geometry(theta: Tensor) -> Tensor:
        return project(torch.cat([still, moved(swing @ tilt.T, theta)]), distance, focal)

    colours = torch.tensor([[0.9, 0.3, 0.2]] * 4 + [[0.2, 0.5, 0.9]] * 4, dtype=torch.float64)
    tri = torch.cat([tri, tri + 4])
    starts, targets = samples(5, count, [0.1] * 3 + [0.1] * 3, [0.08] * 3 + [0.08] * 3)
    return Case(name, "intersection", POSE, tri, colours, geometry, starts, targets)


def sliver(count: int) -> Case:
    """A strip 40 pixels long and 1.6 wide, that turns and moves."""
    vertices, tri = shapes.sheet()
    vertices = vertices * torch.tensor([0.62, 0.025, 1], dtype=torch.float64)
    starts, targets = samples(6, count, [0.8, 0.1, 0.1], [0.02, 0.02, 0.02])

    def geometry(theta: Tensor) -> Tensor:
        zero = torch.zeros_like(theta[0])
        pose = torch.stack([zero, zero, theta[0], theta[1], theta[2], zero])
        return project(moved(vertices, pose), 3.0, 3.0)

    colours = torch.ones((4, 3), dtype=torch.float64)
    return Case("sliver", "silhouette", ("rz", "tx", "ty"), tri, colours, geometry, starts, targets)


def occlusion(count: int) -> Case:
    """A ball in front of a patterned wall with a hole's worth of bumps; the ball moves."""
    ball, wall = shapes.icosphere(3), shapes.sheet(12, 12)
    vertices, tri = shapes.joined((0.45 * ball[0], ball[1]), (1.3 * wall[0] - torch.tensor([0, 0, 0.8]), wall[1]))
    n = len(ball[0])
    starts, targets = samples(7, count, [0.25, 0.25, 0.1, 0.1], [0.08, 0.08, 0.1, 0.1])

    def geometry(theta: Tensor) -> Tensor:
        moving = vertices[:n] * (1 + theta[3]) + theta[:3]
        return project(torch.cat([moving, vertices[n:]]), 3.0, 2.6)

    labels = ("tx", "ty", "tz", "scale")
    return Case("occlusion", "occlusion", labels, tri, smooth_colors(3 * vertices), geometry, starts, targets)


def vertices(count: int) -> Case:
    """A coarse ball (80 triangles) whose vertices move one by one."""
    vertices, tri = shapes.icosphere(1)
    chosen = 8
    starts, targets = samples(8, count, [0.06] * 3 * chosen, [0.1] * 3 * chosen)

    def geometry(theta: Tensor) -> Tensor:
        move = torch.nn.functional.pad(theta.view(chosen, 3), (0, 0, 0, len(vertices) - chosen))
        turn = rotation(torch.tensor([0.3, 0.5, 0.2], dtype=theta.dtype))
        return project((0.6 * vertices + move) @ turn.T, 3.0, 3.2)

    labels = tuple(f"v{i}{axis}" for i in range(chosen) for axis in "xyz")
    return Case("vertices", "vertices", labels, tri, smooth_colors(vertices), geometry, starts, targets)


def near_plane(count: int) -> Case:
    """A floor that runs through the near plane and behind the eye."""
    flat, tri = shapes.sheet(4, 4)
    floor = flat @ rotation(torch.tensor([-1.2, 0.0, 0.3], dtype=torch.float64)).T * 3
    starts, targets = samples(9, count, [0.05, 0.05, 0.1, 0.1, 0.05, 0.1], [0.03, 0.03, 0.03, 0.05, 0.05, 0.05])
    offset = torch.tensor([0.0, -0.35, 1.2], dtype=torch.float64)

    def geometry(theta: Tensor) -> Tensor:
        return project(moved(floor, theta) + offset, 3.0, 2.0)

    return Case("near plane", "clipping", POSE, tri, smooth_colors(flat), geometry, starts, targets)


def intrinsics(count: int) -> Case:
    """Focal length and principal point of the camera that sees a cube."""
    vertices, tri = shapes.cube()
    turn = rotation(torch.tensor([0.5, 0.7, 0.1], dtype=torch.float64))
    starts, targets = samples(10, count, [0.2, 0.1, 0.1], [0.15, 0.04, 0.04])

    def geometry(theta: Tensor) -> Tensor:
        pos = project(vertices @ turn.T, 3.0, 3.2)
        x = pos[:, 0] * (1 + theta[0]) + theta[1] * pos[:, 3]
        y = pos[:, 1] * (1 + theta[0]) + theta[2] * pos[:, 3]
        return torch.stack([x, y, pos[:, 2], pos[:, 3]], -1)

    labels = ("focal", "cx", "cy")
    return Case("intrinsics", "camera", labels, tri, smooth_colors(vertices), geometry, starts, targets)


def _torus(
    name: str, labels: tuple[str, ...], count: int, seed: int, start: float, difference: float, geometry: Change
) -> Case:
    """A torus of 1 536 triangles; geometry: (its points, theta) -> points in the world."""
    points, tri = shapes.torus(48, 16)
    points = points @ rotation(torch.tensor([0.9, 0.4, 0.0], dtype=torch.float64)).T
    parameters = len(labels)
    starts, targets = samples(seed, count, [start] * parameters, [difference] * parameters)

    def projected(theta: Tensor) -> Tensor:
        return project(geometry(points, theta), 3.0, 3.2)

    return Case(name, name, labels, tri, smooth_colors(points), projected, starts, targets)


def translation(count: int) -> Case:
    """Only moved: its outline, and that of its hole, which hides parts of it."""
    return _torus("translation", ("tx", "ty", "tz"), count, 13, 0.1, 0.06, lambda points, theta: points + theta)


def turning(count: int) -> Case:
    """Only turned."""
    labels = ("rx", "ry", "rz")
    return _torus("rotation", labels, count, 14, 0.6, 0.15, lambda points, theta: points @ rotation(theta).T)


def scale(count: int) -> Case:
    """Scaled along three axes."""
    return _torus("scale", ("sx", "sy", "sz"), count, 15, 0.1, 0.1, lambda points, theta: points * (1 + theta))


def slivers(count: int) -> Case:
    """Two wheels of 180 needles from hub to rim, one behind the other: turned about the axis, tilted, moved."""
    points, tri = shapes.fan(180)
    offset = torch.tensor([0.5, 0.2, -0.4], dtype=torch.float64)
    n = len(points)
    both, tri = shapes.joined((0.7 * points, tri), (0.7 * points + offset, tri))
    starts, targets = samples(16, count, [0.5, 0.3, 0.3, 0.1, 0.1], [0.1, 0.1, 0.1, 0.05, 0.05])

    def geometry(theta: Tensor) -> Tensor:
        zero = torch.zeros_like(theta[0])
        pose = torch.stack([theta[1], theta[2], theta[0], theta[3], theta[4], zero])
        return project(torch.cat([moved(both[:n], pose), both[n:]]), 3.0, 2.6)

    labels = ("rz", "rx", "ry", "tx", "ty")
    return Case("slivers", "silhouette", labels, tri, smooth_colors(2 * both), geometry, starts, targets)
