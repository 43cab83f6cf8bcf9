"""The scenes of the benchmark: small, each with one thing that is hard for a rasterizer's gradient.

A scene is a mesh in clip space and a colour for what is seen, both functions of a few parameters `theta` that torch
differentiates. What is between them, the image, is the renderer's. Lengths in world units, angles in radians; focal length
relative, principal point in half image sides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import shapes

Tensor = torch.Tensor
POSE = ("rx", "ry", "rz", "tx", "ty", "tz")


@dataclass(frozen=True)
class Scene:
    """Everything that a renderer needs, and the parameters at which its gradient is looked at.

    geometry: theta `[P]` -> clip-space positions `[V, 4]`.
    attributes: `[V, A]`, interpolated over the triangles.
    shade: (attributes at pixels `[..., A]`, theta) -> linear colours `[..., 3]`.
    starts: the parameters, `[N, P]`; targets: those of the picture that the loss compares with, `[N, P]`.
    steps: of the central differences; None: as far as moves the picture by a quarter of a pixel at most.
    """

    name: str
    group: str
    size: int
    labels: tuple[str, ...]
    tri: Tensor
    attributes: Tensor
    geometry: Callable[[Tensor], Tensor]
    shade: Callable[[Tensor, Tensor], Tensor]
    starts: Tensor
    targets: Tensor
    background: tuple[float, float, float] = (0.1, 0.15, 0.25)
    steps: Tensor | None = None


def project(points: Tensor, distance: float, focal: float, near: float = 0.2) -> Tensor:
    """Clip-space positions of points seen along -z from (0, 0, distance); focal length in half image sides."""
    x, y, z = points.unbind(-1)
    w = distance - z
    far = 4 * distance
    return torch.stack([focal * x, focal * y, ((far + near) * w - 2 * far * near) / (far - near), w], -1)


def rotation(axis_angle: Tensor) -> Tensor:
    """Rotation matrix `[3, 3]` of an axis times an angle."""
    x, y, z = axis_angle.unbind()
    zero = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3))


def moved(points: Tensor, theta: Tensor) -> Tensor:
    """Points after the rotation theta[:3] and the translation theta[3:6]."""
    return points @ rotation(theta[:3]).T + theta[3:6]


def _samples(seed: int, count: int, start: list[float], difference: list[float]) -> tuple[Tensor, Tensor]:
    """Starts and targets, normally distributed with these standard deviations."""
    generator = torch.Generator().manual_seed(seed)

    def draw(scale):
        return torch.randn((count, len(scale)), generator=generator, dtype=torch.float64) * torch.tensor(
            scale, dtype=torch.float64
        )

    starts = draw(start)
    return starts, starts + draw(difference)


def _smooth_colours(vertices: Tensor) -> Tensor:
    return 0.55 + 0.4 * torch.sin(2 * vertices + torch.tensor([0.3, 1.7, 4.1], dtype=vertices.dtype))


def _plain(attributes: Tensor, theta: Tensor) -> Tensor:
    return attributes


def _pose(name, size, mesh, count, distance=3.0, focal=3.2, seed=0, colours=None, around=0.25) -> Scene:
    vertices, tri = mesh
    starts, targets = _samples(seed, count, [1.2] * 3 + [0.1] * 3, [0.12] * 3 + [0.06] * 3)
    return Scene(
        name, "pose", size, POSE, tri, _smooth_colours(vertices) if colours is None else colours,
        lambda theta: project(moved(vertices, theta), distance, focal), _plain, starts, targets,
    )  # fmt: skip


def _sheets(name: str, distance: float, focal: float, count: int) -> Scene:
    """Two sheets larger than the picture that cut each other; one of them moves."""
    flat, tri = shapes.sheet()
    still = 4 * flat @ rotation(torch.tensor([0.5, -0.9, 0.2], dtype=torch.float64)).T
    swing = 4 * flat
    tilt = rotation(torch.tensor([-0.4, 0.8, 0.0], dtype=torch.float64))

    def geometry(theta):
        return project(torch.cat([still, moved(swing @ tilt.T, theta)]), distance, focal)

    colours = torch.tensor([[0.9, 0.3, 0.2]] * 4 + [[0.2, 0.5, 0.9]] * 4, dtype=torch.float64)
    tri = torch.cat([tri, tri + 4])
    starts, targets = _samples(5, count, [0.1] * 3 + [0.1] * 3, [0.08] * 3 + [0.08] * 3)
    return Scene(name, "intersection", 64, POSE, tri, colours, geometry, _plain, starts, targets)


def _sliver(count: int) -> Scene:
    """A strip 40 pixels long and 1.6 wide, that turns and moves."""
    vertices, tri = shapes.sheet()
    vertices = vertices * torch.tensor([0.62, 0.025, 1], dtype=torch.float64)
    starts, targets = _samples(6, count, [0.8, 0.1, 0.1], [0.02, 0.02, 0.02])

    def geometry(theta):
        zero = torch.zeros_like(theta[0])
        pose = torch.stack([zero, zero, theta[0], theta[1], theta[2], zero])
        return project(moved(vertices, pose), 3.0, 3.0)

    colours = torch.ones((4, 3), dtype=torch.float64)
    return Scene(
        "sliver", "silhouette", 64, ("rz", "tx", "ty"), tri, colours, geometry, _plain, starts, targets
    )


def _occlusion(count: int) -> Scene:
    """A ball in front of a patterned wall with a hole's worth of bumps; the ball moves."""
    ball, wall = shapes.icosphere(3), shapes.sheet(12, 12)
    vertices, tri = shapes.joined(
        (0.45 * ball[0], ball[1]), (1.3 * wall[0] - torch.tensor([0, 0, 0.8]), wall[1])
    )
    n = len(ball[0])
    starts, targets = _samples(7, count, [0.25, 0.25, 0.1, 0.1], [0.08, 0.08, 0.1, 0.1])

    def geometry(theta):
        moving = vertices[:n] * (1 + theta[3]) + theta[:3]
        return project(torch.cat([moving, vertices[n:]]), 3.0, 2.6)

    labels = ("tx", "ty", "tz", "scale")
    return Scene(
        "occlusion", "occlusion", 64, labels, tri, _smooth_colours(3 * vertices), geometry, _plain, starts, targets
    )  # fmt: skip


def _vertices(count: int) -> Scene:
    """A coarse ball (80 triangles) whose vertices move one by one."""
    vertices, tri = shapes.icosphere(1)
    chosen = 8
    starts, targets = _samples(8, count, [0.06] * 3 * chosen, [0.1] * 3 * chosen)

    def geometry(theta):
        move = torch.nn.functional.pad(theta.view(chosen, 3), (0, 0, 0, len(vertices) - chosen))
        turn = rotation(torch.tensor([0.3, 0.5, 0.2], dtype=theta.dtype))
        return project((0.6 * vertices + move) @ turn.T, 3.0, 3.2)

    labels = tuple(f"v{i}{axis}" for i in range(chosen) for axis in "xyz")
    return Scene(
        "vertices", "vertices", 64, labels, tri, _smooth_colours(vertices), geometry, _plain, starts, targets
    )  # fmt: skip


def _near_plane(count: int) -> Scene:
    """A floor that runs through the near plane and behind the eye."""
    flat, tri = shapes.sheet(4, 4)
    floor = flat @ rotation(torch.tensor([-1.2, 0.0, 0.3], dtype=torch.float64)).T * 3
    starts, targets = _samples(
        9, count, [0.05, 0.05, 0.1, 0.1, 0.05, 0.1], [0.03, 0.03, 0.03, 0.05, 0.05, 0.05]
    )
    offset = torch.tensor([0.0, -0.35, 1.2], dtype=torch.float64)
    return Scene(
        "near plane", "clipping", 64, POSE, tri, _smooth_colours(flat),
        lambda theta: project(moved(floor, theta) + offset, 3.0, 2.0), _plain, starts, targets,
    )  # fmt: skip


def _intrinsics(count: int) -> Scene:
    """Focal length and principal point of the camera that sees a cube."""
    vertices, tri = shapes.cube()
    turn = rotation(torch.tensor([0.5, 0.7, 0.1], dtype=torch.float64))
    starts, targets = _samples(10, count, [0.2, 0.1, 0.1], [0.15, 0.04, 0.04])

    def geometry(theta):
        pos = project(vertices @ turn.T, 3.0, 3.2)
        x = pos[:, 0] * (1 + theta[0]) + theta[1] * pos[:, 3]
        y = pos[:, 1] * (1 + theta[0]) + theta[2] * pos[:, 3]
        return torch.stack([x, y, pos[:, 2], pos[:, 3]], -1)

    labels = ("focal", "cx", "cy")
    return Scene(
        "intrinsics", "camera", 64, labels, tri, _smooth_colours(vertices), geometry, _plain, starts, targets
    )


def _texture(count: int) -> Scene:
    """A picture on a sheet that fills the view: offset, scale and contrast of the picture."""
    vertices, tri = shapes.sheet()

    def shade(uv, theta):
        at = uv * (1 + theta[2]) + theta[:2]
        wave = torch.sin(torch.stack([3 * at[..., 0] + at[..., 1], 4 * at[..., 1], 3 * at.sum(-1)], -1))
        return 0.5 + 0.3 * (1 + theta[3]) * wave

    starts, targets = _samples(11, count, [0.3, 0.3, 0.2, 0.2], [0.1] * 4)
    pos = project(2 * vertices, 3.0, 3.0)
    return Scene(
        "texture", "shading", 64, ("du", "dv", "scale", "contrast"), tri, 2 * vertices[:, :2],
        lambda theta: pos + 0 * theta.sum(), shade, starts, targets, steps=torch.full((4,), 0.01),
    )  # fmt: skip


def _light(count: int) -> Scene:
    """A ball under a directional light, diffuse and glossy: direction, strength, colour and roughness."""
    vertices, tri = shapes.icosphere(4)

    def shade(normal, theta):
        unit = torch.nn.functional.normalize(normal, dim=-1)
        direction = torch.stack([0.4 + theta[0], 0.5 + theta[1], torch.ones_like(theta[0])])
        cosine = (unit @ torch.nn.functional.normalize(direction, dim=0)).clamp(min=0)[..., None]
        return (0.5 + theta[3:6]) * (0.2 + (0.7 + theta[2]) * cosine) + 0.3 * cosine ** (8 * (1 + theta[6]))

    starts, targets = _samples(12, count, [0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.2], [0.1] * 7)
    pos = project(0.7 * vertices, 3.0, 3.2)
    labels = ("lx", "ly", "strength", "red", "green", "blue", "gloss")
    return Scene(
        "light", "shading", 64, labels, tri, vertices, lambda theta: pos + 0 * theta.sum(), shade, starts, targets,
        steps=torch.full((7,), 0.01),
    )  # fmt: skip


# Name -> maker of the scene with a given number of samples.
SCENES: dict[str, Callable[[int], Scene]] = {
    "cube 16": lambda n: _pose("cube 16", 16, shapes.cube(), n, seed=1),
    "cube 64": lambda n: _pose("cube 64", 64, shapes.cube(), n, seed=1),
    "cube 256": lambda n: _pose("cube 256", 256, shapes.cube(), n, seed=1),
    "bumpy 20k 64": lambda n: _pose("bumpy 20k 64", 64, shapes.bumpy(5), n, seed=2),
    "bumpy 20k 256": lambda n: _pose("bumpy 20k 256", 256, shapes.bumpy(5), n, seed=2),
    "bumpy 82k 64": lambda n: _pose("bumpy 82k 64", 64, shapes.bumpy(6), n, seed=2),
    "sheets strong": lambda n: _sheets("sheets strong", 3.0, 2.0, n),
    "sheets weak": lambda n: _sheets("sheets weak", 30.0, 20.0, n),
    "sliver": _sliver,
    "occlusion": _occlusion,
    "vertices": _vertices,
    "near plane": _near_plane,
    "intrinsics": _intrinsics,
    "texture": _texture,
    "light": _light,
}
