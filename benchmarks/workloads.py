"""Scenes to measure on: a textured sphere that fills two thirds of the picture, with any number of triangles."""

import math

import torch


def sphere(triangles: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A latitude-longitude sphere of about that many triangles: directions [V, 3], UVs [V, 2] and int32 triangles [F,
    3]."""
    rows = max(2, round(math.sqrt(triangles / 4)))
    columns = 2 * rows
    theta, phi = torch.meshgrid(
        torch.linspace(0, math.pi, rows + 1), torch.linspace(0, 2 * math.pi, columns + 1), indexing="ij"
    )
    points = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1).reshape(-1, 3)
    uv = torch.stack([phi / (2 * math.pi), theta / math.pi], -1).reshape(-1, 2)
    corner = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).reshape(-1)
    below = corner + columns + 1
    tri = torch.cat([torch.stack([corner, below, corner + 1], 1), torch.stack([corner + 1, below, below + 1], 1)])
    return points, uv, tri.int()


def clip_positions(points: torch.Tensor, tilt: float = 0.5, fill: float = 2.6, distance: float = 3.0) -> torch.Tensor:
    """Clip-space positions [1, V, 4] of the tilted sphere seen in perspective."""
    c, s = math.cos(tilt), math.sin(tilt)
    x, y, z = (points[:, 0], c * points[:, 1] - s * points[:, 2], s * points[:, 1] + c * points[:, 2] - distance)
    near, far = 0.1, 10.0
    depth = -(far + near) / (far - near) * z - 2 * far * near / (far - near)
    return torch.stack([x * fill, y * fill, depth, -z], 1)[None].contiguous()
