"""Cube maps (docs/MATH.md, section 4), on every backend."""

import pytest
import torch
from helpers.textures import F64, leaf, random

import diffrast.torch as dr


@pytest.mark.parametrize("size", [1, 2, 5])
def test_gradcheck_along_the_seams_of_a_cube_map(raster, size):
    corner = torch.tensor([1.0, 0.93, 0.97], dtype=F64)
    edge = torch.tensor([1.0, 0.98, 0.2], dtype=F64)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=F64)] * 3)
    orders = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    directions = torch.cat([(base * signs)[:, order] for base in (corner, edge) for order in orders])
    uv = leaf(directions[None, None], raster.device)
    tex = leaf(random(1, 6, size, size, 1), raster.device)
    uv_da = leaf(random(1, 1, len(directions), 6, low=-0.3, high=0.3), raster.device)
    assert torch.autograd.gradcheck(lambda *x: dr.texture(*x, boundary_mode="cube"), (tex, uv, uv_da))


@pytest.mark.parametrize("face", range(6))
def test_cube_face_orientation(raster, face):
    """Texels that hold their face, and coordinates that grow as in OpenGL's table (section 8.13)."""
    major = torch.eye(3, dtype=F64).repeat_interleave(2, 0)[face] * (1 - 2 * (face % 2))
    s_axis = torch.tensor([[0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0], [-1, 0, 0]], dtype=F64)[face]
    t_axis = torch.tensor([[0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [0, -1, 0]], dtype=F64)[face]
    tex = torch.zeros(1, 6, 4, 4, 3, dtype=F64)
    tex[..., 0] = torch.arange(6)[:, None, None]
    tex[..., 1], tex[..., 2] = torch.arange(4), torch.arange(4)[:, None]
    centre = (torch.arange(4, dtype=F64) + 0.5) / 2 - 1
    direction = major + centre[:, None] * s_axis + centre[:, None, None] * t_axis
    got = dr.texture(
        tex.to(raster.device), 3 * direction[None].to(raster.device), filter_mode="nearest", boundary_mode="cube"
    )
    torch.testing.assert_close(got, tex[:, face].to(raster.device))


@pytest.mark.parametrize("filter_mode", ["linear", "linear-mipmap-nearest", "linear-mipmap-linear"])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_cube_map_is_continuous_across_edges_and_corners(raster, filter_mode, size):
    tex = random(1, 6, size, size, 3).to(raster.device)
    n = 300
    on_face = random(n, 3, seed=2, low=-1, high=1)
    axis, other = torch.arange(n) % 3, (torch.arange(n) + 1) % 3
    rows = torch.arange(n)
    on_face[rows, axis] = on_face[rows, axis].sign()
    on_face[rows, other] = on_face[rows, other].sign()  # now on an edge
    on_face[: n // 4] = on_face[: n // 4].sign()  # and some on a corner
    step = torch.zeros_like(on_face)
    step[rows, axis] = on_face[rows, axis] * 1e-9
    bias = torch.full((1, 1, n), 0.7, dtype=F64, device=raster.device)
    one, two = (
        dr.texture(tex, d.to(raster.device)[None, None], None, bias, filter_mode=filter_mode, boundary_mode="cube")
        for d in (on_face + step, on_face - step)
    )
    assert (one - two).abs().max() < 1e-7
    assert one.std() > 0.01


def test_cube_map_of_a_direction_is_the_direction(raster):
    """Every face is where it should be: a smooth function of direction, stored and sampled, comes back."""
    size = 64
    probe = random(1, 1, 2000, 3, low=-1, high=1).to(raster.device)
    probe = probe / probe.norm(dim=-1, keepdim=True)
    centre = (2 * torch.arange(size, dtype=F64) + 1) / size - 1
    tex = torch.zeros(1, 6, size, size, 3, dtype=F64)
    t, s = torch.meshgrid(centre, centre, indexing="ij")
    one = torch.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    for face, direction in enumerate(faces):
        d = torch.stack(direction, -1)
        tex[0, face] = d / d.norm(dim=-1, keepdim=True)
    error = (dr.texture(tex.to(raster.device), 2.5 * probe, boundary_mode="cube") - probe).abs().amax(-1)
    within = (probe / probe.abs().amax(-1, keepdim=True)).abs().sort(-1).values[..., 1] < 1 - 1 / size
    # Bilinear error: spacing^2 / 8 per axis, second derivatives up to 2; across a seam the spacing is off by up to half
    # a texel.
    assert error[within].max() < (2 / size) ** 2 / 8 * 4
    assert error[~within].max() < 0.5 / size
    assert within.any() and not within.all()
