"""antialias against its oracle."""

import pytest
import scenes
import torch
from gradients import assert_agree, gradients
from reference import antialias as oracle
from reference import rasterize

import diffrast.torch as dr

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
    out = dr.antialias(color, rast, pos, tri, pos_gradient_boost=boost, cull=cull)
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
    with_hash = dr.antialias(color, rast, pos, tri, topology_hash=topology)
    assert torch.equal(with_hash, dr.antialias(color, rast, pos, tri))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_neighbours_never_leave_the_range_of_the_colours(raster, dtype):
    """Small triangles: pixels that receive from several sides, where the weights exceed one together."""
    pos, tri = scenes.soup(1, 160, seed=40)
    pos = torch.cat([pos[..., :2] * 1.4, pos[..., 2:]], -1)
    corner = pos.view(1, -1, 3, 4)
    pos = (corner[:, :, :1] * 0.75 + corner * 0.25).flatten(1, 2).to(raster.device, dtype).requires_grad_()
    tri = tri.to(raster.device)
    rast, _ = rasterize.rasterize(pos.detach(), tri, RESOLUTION)
    blends = oracle.find_blends(rast, pos.detach(), tri)
    total = torch.zeros(rast.shape[:3], dtype=torch.float64, device=rast.device)
    total.index_put_(blends.to.unbind(-1), blends.weight, accumulate=True)
    assert (total > 1).any()
    check(pos, rast, tri)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resolution", [(200, 1), (1, 200)])
def test_one_row_or_column(raster, resolution, dtype):
    pos, tri = scenes.soup(8, 30, seed=50)
    pos, tri = pos.to(raster.device, dtype).requires_grad_(), tri.to(raster.device)
    rast, _ = rasterize.rasterize(pos.detach(), tri, resolution)
    check(pos, rast, tri)
