"""interpolate against its oracle."""

import pytest
import torch
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from reference import interpolate as oracle
from reference import rasterize

import diffrast.torch as dr

DTYPES = [torch.float64, torch.float32]
RESOLUTION = (12, 20)
CHANNELS = 5


def buffers(scene, dtype, device, ranges=None):
    """rast and rast_db as leaves, and tri."""
    pos, tri = scene()
    rast, rast_db = rasterize.rasterize(pos if ranges is None else pos[0], tri, RESOLUTION, ranges)
    assert 0.2 < (rast[..., 3] > 0).double().mean() < 1  # hits and misses
    return *(t.to(device, dtype).requires_grad_() for t in (rast, rast_db)), tri.to(device), pos.shape[1]


def check(attr, rast, tri, rast_db=None, diff_attrs=None):
    out, da = dr.interpolate(attr, rast, tri, rast_db=rast_db, diff_attrs=diff_attrs)
    want, want_da = oracle.interpolate(attr, rast, tri, rast_db, diff_attrs)
    assert_agree(out, want, "out")
    inputs = [t for t in (attr, rast, rast_db) if t is not None]
    pairs = [("out", out, want)]
    if want_da is not None:
        assert_agree(da, want_da, "derivatives")
        pairs.append(("derivatives", da, want_da))
    for name, got, expected in pairs:
        c = scenes.random(got.shape, 5, -1, 1).to(got)
        result = zip(gradients([got], [c], inputs), gradients([expected], [c], inputs), strict=True)
        for k, (one, other) in enumerate(result):
            assert_agree(one, other, f"gradient of {name} into input {k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("diff_attrs", [None, "all", [3, 0], [1]])
@pytest.mark.parametrize("shape", ["[B, V, A]", "[1, V, A]", "[V, A]"])
def test_instanced(raster, dtype, diff_attrs, shape):
    rast, rast_db, tri, V = buffers(scenes.sheet, dtype, raster.device)
    attr = scenes.random((2, V, CHANNELS), 4, -1, 1)
    attr = {"[B, V, A]": attr, "[1, V, A]": attr[:1], "[V, A]": attr[0]}[shape]
    check(attr.to(raster.device, dtype).clone().requires_grad_(), rast, tri, rast_db, diff_attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("diff_attrs", [None, "all"])
def test_range_mode(raster, dtype, diff_attrs):
    ranges = torch.tensor([[0, 10], [4, 14]], dtype=torch.int32)
    rast, rast_db, tri, V = buffers(scenes.soup, dtype, raster.device, ranges)
    attr = scenes.random((V, CHANNELS), 4, -1, 1).to(raster.device, dtype).requires_grad_()
    check(attr, rast, tri, rast_db, diff_attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16, 33])
def test_any_number_of_channels(raster, dtype, channels):
    rast, rast_db, tri, V = buffers(scenes.ball, dtype, raster.device)
    attr = scenes.random((2, V, channels), 4, -1, 1).to(raster.device, dtype).requires_grad_()
    check(attr, rast, tri, rast_db, "all")


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_derivatives_of_the_barycentrics(raster, dtype):
    rast, _, tri, V = buffers(scenes.ball, dtype, raster.device)
    attr = scenes.random((1, V, 3), 4, -1, 1).to(raster.device, dtype).requires_grad_()
    check(attr, rast, tri)


@pytest.mark.parametrize("dtype", DTYPES)
def test_barycentrics_outside_the_triangle(raster, dtype):
    """Nothing is clamped: u and v are any numbers, as a user may change them."""
    rast, rast_db, tri, V = buffers(scenes.sheet, dtype, raster.device)
    noise = scenes.random(rast.shape, 6, -3, 3).to(rast) * torch.tensor([1, 1, 0, 0]).to(rast)
    attr = scenes.random((2, V, CHANNELS), 4, -1, 1).to(raster.device, dtype).requires_grad_()
    check(attr, (rast + noise).detach().requires_grad_(), tri, rast_db, "all")
