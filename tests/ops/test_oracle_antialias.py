"""antialias(mode="silhouette") against its oracle."""

from functools import partial

import pytest
import torch
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from reference import antialias as oracle
from reference import rasterize

import diffrast.torch as dr

published = partial(dr.antialias, mode="silhouette")
DTYPES = [torch.float64, torch.float32]
RESOLUTION = (24, 32)
SCENES = {"soup": scenes.soup, "near": scenes.near, "sheet": scenes.sheet, "ball": scenes.ball}

# Where a decision hangs on less than this, of the distance between two centres, rounding may turn it.
MARGIN = {torch.float64: 1e-9, torch.float32: 1e-3}


def decided(rast, pos, tri, cull):
    """Pixels that no ambiguous blend touches, bool [B, H, W]."""
    blends = oracle.find_blends(rast, pos, tri, cull)
    assert len(blends.to) > 30
    keep = torch.ones(rast.shape[:3], dtype=torch.bool, device=rast.device)
    close = blends.margin < MARGIN[rast.dtype]
    for pixel in (blends.to[close], blends.source[close]):
        keep[pixel.unbind(-1)] = False
    assert keep.float().mean() > 0.98
    return keep


def check(pos, rast, tri, channels=3, boost=1.0, cull="none"):
    color = scenes.random((*rast.shape[:3], channels), 8).to(rast).requires_grad_()
    keep = decided(rast, pos, tri, cull)
    out = published(color, rast, pos, tri, pos_gradient_boost=boost, cull=cull)
    want = oracle.antialias(color, rast, pos, tri, boost, cull)
    assert_agree(out[keep], want[keep], "out")
    c = scenes.random(out.shape, 9, -1, 1).to(out) * keep[..., None]
    got, expected = (gradients([o], [c], [color, pos]) for o in (out, want))
    assert expected[1].abs().max() > 0
    assert_agree(got[0], expected[0], "gradient into color")
    assert_agree(got[1], expected[1], "gradient into pos")


def inputs(scene, dtype, device, ranges=None, cull="none"):
    """Leaf pos, rast from the oracle, and tri."""
    pos, tri = SCENES[scene]()
    pos = (pos if ranges is None else pos[0]).to(device, dtype).requires_grad_()
    tri = tri.to(device)
    rast, _ = rasterize.rasterize(pos.detach(), tri, RESOLUTION, ranges, cull)
    return pos, rast, tri


@pytest.mark.parametrize("cull", ["none", "back"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scene", SCENES)
def test_instanced(raster, scene, dtype, cull):
    pos, rast, tri = inputs(scene, dtype, raster.device, cull=cull)
    check(pos, rast, tri, cull=cull)


@pytest.mark.parametrize("dtype", DTYPES)
def test_range_mode(raster, dtype):
    ranges = torch.tensor([[0, 9], [6, 15]], dtype=torch.int32)
    pos, rast, tri = inputs("soup", dtype, raster.device, ranges)
    check(pos, rast, tri)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 4, 17])
def test_any_number_of_channels(raster, dtype, channels):
    check(*inputs("ball", dtype, raster.device), channels=channels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_boost_scales_the_gradient_into_pos_only(raster, dtype):
    check(*inputs("ball", dtype, raster.device), boost=3.5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_topology_hash_changes_nothing(raster, dtype):
    pos, rast, tri = inputs("sheet", dtype, raster.device)
    color = scenes.random((*rast.shape[:3], 3), 8).to(rast)
    topology = dr.antialias_construct_topology_hash(tri)
    with_hash = published(color, rast, pos, tri, topology_hash=topology)
    assert torch.equal(with_hash, published(color, rast, pos, tri))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_neighbours_never_leave_the_range_of_the_colours(raster, dtype):
    """A hole smaller than the pixel that it surrounds receives from four sides, with weights that exceed one
    together."""
    height, width = 9, 11
    low, high = torch.tensor([0.38, 0.42]), torch.tensor([0.61, 0.57])  # the hole in pixel (5, 4)
    x0, x1 = ((2 * (5 + at) - width) / width for at in (low[0], high[0]))
    y0, y1 = ((2 * (4 + at) - height) / height for at in (low[1], high[1]))
    rectangles = [(-0.8, -0.8, x0, 0.8), (x1, -0.8, 0.8, 0.8), (x0, -0.8, x1, y0), (x0, y1, x1, 0.8)]
    corners = [[(a, b, 0, 1), (c, b, 0, 1), (c, d, 0, 1), (a, d, 0, 1)] for a, b, c, d in rectangles]
    pos = torch.tensor(corners).reshape(1, -1, 4).to(raster.device, dtype) * 1.3
    pos.requires_grad_()
    quad = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    tri = torch.cat([quad + 4 * k for k in range(4)]).to(raster.device)
    rast, _ = rasterize.rasterize(pos.detach(), tri, (height, width))
    blends = oracle.find_blends(rast, pos.detach(), tri)
    total = torch.zeros(rast.shape[:3], dtype=torch.float64, device=rast.device)
    total.index_put_(blends.to.unbind(-1), blends.weight, accumulate=True)
    assert total[0, 4, 5] > 1.2
    check(pos, rast, tri)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [(200, 1), (1, 200)])
def test_one_row_or_column(raster, resolution, dtype):
    pos, tri = scenes.soup(24, 30, seed=50)
    pos[..., resolution.index(200)] *= 60  # edges that run across the pairs
    pos, tri = pos.to(raster.device, dtype).requires_grad_(), tri.to(raster.device)
    rast, _ = rasterize.rasterize(pos.detach(), tri, resolution)
    check(pos, rast, tri)
