"""Scenes for tests of antialias(mode="silhouette"), and what is asked of them over and over."""

from functools import partial

import torch

import diffrast.torch as dr
from helpers import scenes

published = partial(dr.antialias, mode="silhouette")
CPU = dr.RasterizeContext(backend="cpu")


def stacked():
    """Large triangles over one another: occlusion of one object by another, boundary edges, three triangles on one
    edge."""
    xy = [[-0.9, -0.8], [0.7, -0.9], [-0.1, 0.9], [0.93, 0.71], [-0.957, 0.61], [0.2, -0.13], [0.11, 0.97]]
    z = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, -0.7]
    pos = torch.tensor([[*p, d, 1.0] for p, d in zip(xy, z, strict=True)], dtype=torch.float64)
    tri = torch.tensor([[0, 1, 2], [2, 1, 3], [1, 2, 5], [0, 2, 4], [4, 6, 5]], dtype=torch.int32)
    scale = torch.tensor([[[1.0]], [[1.7]]], dtype=torch.float64)
    turned = torch.stack([pos, pos * torch.tensor([0.83, -0.77, 1, 1])]) * scale
    return turned, tri


SCENES = {"stacked": stacked, "soup": scenes.soup, "near": scenes.near, "sheet": scenes.sheet, "ball": scenes.ball}


def rendered(name, size=(13, 14), device="cpu", cull="none", shared=False):
    """pos, tri, rast of a scene; `shared`: one view for both images of the batch."""
    pos, tri = SCENES[name]()
    if shared:
        pos = pos[:1].expand(2, -1, -1)
    rast, _ = dr.rasterize(CPU, pos, tri, size, cull=cull)
    return (pos[:1] if shared else pos).to(device), tri.to(device), rast.to(device)


def colors(rast, channels=3, seed=1, dtype=None):
    return scenes.random((*rast.shape[:3], channels), seed).to(rast.device, dtype or rast.dtype)


def changed(out, color):
    return (out != color).any(-1)


def quad(left, right, bottom, top, w=1.0, dtype=torch.float64):
    """An axis-aligned rectangle in normalized device coordinates, two triangles: pos [1, 4, 4] and tri."""
    corners = [[left, bottom], [right, bottom], [right, top], [left, top]]
    pos = torch.tensor([[[x * w, y * w, 0.0, w] for x, y in corners]], dtype=dtype)
    return pos, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def two_faces():
    """A square of two triangles wound in opposite directions: the second shows its back."""
    pos, _ = quad(-0.83, 0.77, -0.81, 0.79)
    return pos, torch.tensor([[0, 1, 2], [0, 3, 2]], dtype=torch.int32)
