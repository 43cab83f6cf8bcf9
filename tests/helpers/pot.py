"""A torus with two bumps, no two views of which are alike, and a photograph of it."""

import math
from dataclasses import replace

import torch

import diffrast.torch as dr
from diffrast.camera.camera import Camera
from diffrast.camera.conventions import rigid
from diffrast.camera.lie import so3_exp
from diffrast.commands.make_dataset import photograph
from diffrast.mesh import Mesh
from diffrast.viewer.drawable import Drawable, copy_mesh
from helpers.viewing import torus

FOV = math.radians(30)


def teapot() -> Mesh:
    """A torus with a bump on one side and another one below: no two views of it are alike."""
    mesh = torus()
    v = mesh.vertices
    bump = torch.exp(-4 * (v - torch.tensor([1.4, 0.0, 0.0])).square().sum(1, keepdim=True))
    low = torch.exp(-4 * (v - torch.tensor([0.0, -0.4, 1.0])).square().sum(1, keepdim=True))
    return replace(
        mesh, vertices=v + bump * torch.tensor([0.9, 0.2, 0.0]) + low * torch.tensor([0.0, -0.7, 0.2])
    ).welded()


def camera(turn=(0.7, 0.4, -0.5), at=(0.3, -0.2, -7.0), width=160, height=120) -> Camera:
    R = so3_exp(torch.tensor(turn, dtype=torch.float64))
    view = rigid(R, torch.tensor(at, dtype=torch.float64))
    return Camera.perspective(fov_y=FOV, width=width, height=height, world_to_camera=view)


def photo(mesh: Mesh, of: Camera) -> torch.Tensor:
    """Under a sky and a lamp, linear RGBA."""
    return photograph(dr.RasterizeContext(), Drawable(copy_mesh(mesh)), of, 3, "y", unlit=False)
