"""How well wrong cameras are found: poses with noise, masks that are off by pixels, and what remains of the error.

python benchmarks/cameras.py --data ../shared/data/spot_photos
"""

import math

import torch

from diffrast.reconstruct.data import View
from diffrast.scene.lie import so3_exp, so3_log
from dataclasses import replace


def disturbed(views: list[View], degrees: float, seed: int = 0) -> list[View]:
    """Each camera turned about its eye by ``degrees`` around an axis of its own."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for view in views:
        axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        motion = torch.eye(4, dtype=torch.float64)
        motion[:3, :3] = so3_exp(math.radians(degrees) * axis)
        out.append(replace(view, camera=replace(view.camera, world_to_camera=motion @ view.camera.world_to_camera)))
    return out


def rotation_errors(views: list[View], truth: list[View]) -> torch.Tensor:
    """Degrees between the rotations of each pair of cameras, after the similarity that best takes the found eyes to the true ones
    (Umeyama 1991)."""
    a, b = (torch.stack([v.camera.center for v in x]) for x in (views, truth))
    u, _, vh = torch.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    flip = torch.diag(torch.tensor([1, 1, torch.linalg.det(u @ vh).item()], dtype=a.dtype))
    gauge = u @ flip @ vh  # found world to true world
    turns = [x.camera.world_to_camera[:3, :3] @ gauge.T @ y.camera.world_to_camera[:3, :3].T for x, y in zip(views, truth, strict=True)]
    return so3_log(torch.stack(turns)).norm(dim=1).rad2deg()
