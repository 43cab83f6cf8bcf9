"""rasterize against its oracle: visibility exactly, values and gradients to rounding."""

import pytest
import torch
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from helpers.scenes import RESOLUTION, SCENES
from reference import rasterize as oracle

import diffrast.torch as dr

DTYPES = [torch.float64, torch.float32]


def inputs(scene, dtype, device):
    pos, tri = SCENES[scene]()
    return pos.to(device, dtype).requires_grad_(), tri.to(device)


def ids_of(rast):
    return rast[..., 3].long() - 1


def well_conditioned(pos, tri, ids, dtype):
    """Pixels where rounding stays below the tolerance, bool [B, H, W].

    Left out in float32: near the plane through the eye, u and v are quotients of differences of much larger
    products, which lose as many digits as the products are larger than their difference.
    """
    keep = torch.ones_like(ids, dtype=torch.bool)
    if dtype == torch.float64:
        return keep
    H, W = ids.shape[1:]
    X, Y = oracle.pixel_centres((H, W))
    b, iy, ix = torch.nonzero(ids >= 0, as_tuple=True)
    p = pos.detach().cpu().double()[b[:, None], tri.cpu().long()[ids[b, iy, ix]]]
    x, y = p[..., 0] - X[ix, None] * p[..., 3], p[..., 1] - Y[iy, None] * p[..., 3]
    products = (x.roll(-1, 1) * y.roll(-2, 1)).abs() + (x.roll(-2, 1) * y.roll(-1, 1)).abs()
    s = oracle.edge_functions(p, X[ix], Y[iy]).sum(-1).abs()
    keep[b, iy, ix] = products.sum(-1) < 20 * s
    return keep


@pytest.mark.exact_coverage
@pytest.mark.parametrize("cull", ["none", "back", "front"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scene", SCENES)
def test_visibility(raster, scene, dtype, cull):
    pos, tri = inputs(scene, dtype, raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, resolution=RESOLUTION, cull=cull)
    want = oracle.visibility(pos, tri, RESOLUTION, cull=cull)
    assert (want >= 0).any() or (scene, cull) == ("sheet", "front")
    assert torch.equal(ids_of(rast).cpu(), want)


@pytest.mark.exact_coverage
@pytest.mark.parametrize("resolution", [(1, 1), (7, 5), (3, 64), (33, 17)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_visibility_at_any_resolution(raster, resolution, dtype):
    pos, tri = inputs("sheet", dtype, raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, resolution=resolution)
    assert torch.equal(ids_of(rast).cpu(), oracle.visibility(pos, tri, resolution))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scene", SCENES)
def test_values_and_gradients(raster, scene, dtype):
    pos, tri = inputs(scene, dtype, raster.device)
    rast, rast_db = dr.rasterize(raster.ctx, pos, tri, resolution=RESOLUTION)
    want, want_db = oracle.rasterize(pos, tri, RESOLUTION, ids=ids_of(rast))
    keep = well_conditioned(pos, tri, ids_of(rast).cpu(), dtype).to(raster.device)
    assert keep.float().mean() > 0.95
    assert_agree(rast[keep], want[keep], "rast")
    assert_agree(rast_db[keep], want_db[keep], "rast_db")

    # The cotangents of z/w and of the id are not zero: they must have no effect.
    shape = (*rast.shape[:3], 4)
    c, c_db = ((scenes.random(shape, seed, -1, 1).to(rast) * keep[..., None]).contiguous() for seed in (1, 2))
    for name, got, expected, cotangent in (("rast", rast, want, c), ("rast_db", rast_db, want_db, c_db)):
        (got_pos,), (want_pos,) = (gradients([o], [cotangent], [pos]) for o in (got, expected))
        assert want_pos.abs().max() > 0
        assert_agree(got_pos, want_pos, f"gradient of {name}")
    both = gradients([rast, rast_db], [c, c_db], [pos])[0]
    assert_agree(both, gradients([want, want_db], [c, c_db], [pos])[0], "gradient of both")


@pytest.mark.exact_coverage
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_gradients_of_the_derivatives(raster, dtype):
    pos, tri = inputs("sheet", dtype, raster.device)
    rast, rast_db = dr.rasterize(raster.ctx, pos, tri, resolution=RESOLUTION, grad_db=False)
    want, want_db = oracle.rasterize(pos, tri, RESOLUTION)
    assert_agree(rast_db, want_db, "rast_db")
    c = scenes.random(rast.shape, 1).to(rast)
    got = torch.autograd.grad((rast * c).sum() + rast_db.sum(), pos)[0]
    assert_agree(got, gradients([want], [c], [pos])[0], "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
def test_range_mode(raster, dtype):
    pos, tri = inputs("soup", dtype, raster.device)
    pos = pos[0].detach().requires_grad_()
    ranges = torch.tensor([[0, 7], [5, 12], [3, 0], [20, 4]], dtype=torch.int32)
    rast, rast_db = dr.rasterize(raster.ctx, pos, tri, resolution=RESOLUTION, ranges=ranges)
    want, want_db = oracle.rasterize(pos, tri, RESOLUTION, ranges)
    assert torch.equal(ids_of(rast), ids_of(want))
    assert rast.shape[0] == 4 and not rast[2].any()
    assert_agree(rast, want, "rast")
    assert_agree(rast_db, want_db, "rast_db")
    c, c_db = (scenes.random(rast.shape, seed, -1, 1).to(rast) for seed in (1, 2))
    got, expected = (gradients(o, [c, c_db], [pos])[0] for o in ((rast, rast_db), (want, want_db)))
    assert_agree(got, expected, "gradient")


@pytest.mark.exact_coverage
@pytest.mark.parametrize("cull", ["none", "front"])
@pytest.mark.parametrize("scene", ["soup", "lattice", "near"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_depth_peeling(raster, scene, dtype, cull):
    pos, tri = inputs(scene, dtype, raster.device)
    with dr.DepthPeeler(raster.ctx, pos, tri, RESOLUTION, cull=cull) as peeler:
        layers = [peeler.rasterize_next_layer() for _ in range(4)]
    for n, (rast, rast_db) in enumerate(layers):
        want, want_db = oracle.rasterize(pos, tri, RESOLUTION, cull=cull, layer=n)
        assert torch.equal(ids_of(rast), ids_of(want)), f"layer {n}"
        keep = well_conditioned(pos, tri, ids_of(rast).cpu(), dtype).to(raster.device)
        assert keep.float().mean() > 0.95
        c, c_db = (scenes.random(rast.shape, seed, -1, 1).to(rast) * keep[..., None] for seed in (1, 2))
        assert_agree(rast[keep], want[keep], f"layer {n}: rast")
        assert_agree(rast_db[keep], want_db[keep], f"layer {n}: rast_db")
        got, expected = (gradients(o, [c, c_db], [pos])[0] for o in ((rast, rast_db), (want, want_db)))
        assert_agree(got, expected, f"layer {n}: gradient")
    assert sum(bool((rast[..., 3] > 0).any()) for rast, _ in layers) >= 2
