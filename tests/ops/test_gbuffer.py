"""gbuffer: one call, the same as its parts, on every backend."""

import pytest
import torch
from helpers import scenes

import diffrast.torch as dr

SIZE = (24, 32)


def problem(dtype, device):
    pos, tri = scenes.ball()
    normal = scenes.random((pos.shape[1], 3), 4).to(device, dtype)
    uv = scenes.random((2, pos.shape[1], 2), 5).to(device, dtype)
    return pos.to(device, dtype), tri.to(device), normal, uv


def test_it_is_the_sum_of_its_parts(raster):
    pos, tri, normal, uv = problem(torch.float32, raster.device)
    got = dr.gbuffer(raster.ctx, pos, tri, {"normal": normal, "uv": uv}, SIZE)
    rast, rast_db = dr.rasterize(raster.ctx, pos, tri, SIZE)
    assert torch.equal(got.rast, rast) and torch.equal(got.rast_db, rast_db)
    assert torch.equal(got.depth, rast[..., 2])
    assert torch.equal(got.ids, dr.triangle_id(rast))
    assert got.ids.dtype == torch.int64 and (got.ids >= 0).any() and (got.ids < 0).any()
    for name, attr in (("normal", normal), ("uv", uv)):
        out, out_da = dr.interpolate(attr, rast, tri, rast_db, "all")
        assert torch.equal(got.attrs[name], out) and torch.equal(got.attrs_da[name], out_da)
    alone = dr.gbuffer(raster.ctx, pos, tri, normal, SIZE)
    assert torch.equal(alone.attrs, got.attrs["normal"]) and torch.equal(alone.attrs_da, got.attrs_da["normal"])


def test_every_backend_gives_the_same_where_it_sees_the_same(raster):
    pos, tri, normal, _ = problem(torch.float32, raster.device)
    got = dr.gbuffer(raster.ctx, pos, tri, normal, SIZE, cull="back")
    want = dr.gbuffer(dr.RasterizeContext("cpu"), pos.cpu(), tri.cpu(), normal.cpu(), SIZE, cull="back")
    same = got.ids.cpu() == want.ids
    assert (~same).sum() <= 2
    for g, w in zip(got, want, strict=True):
        # Other devices than the CPU may round differently.
        assert torch.allclose(g.cpu()[same], w[same], rtol=1e-4, atol=1e-5)
        assert raster.device.type != "cpu" or torch.equal(g[same], w[same])


def test_range_mode_and_no_derivatives():
    pos, tri, normal, _ = problem(torch.float32, "cpu")
    ctx = dr.RasterizeGLContext(output_db=False)
    ranges = torch.tensor([[0, 20], [20, 28]], dtype=torch.int32)
    got = dr.gbuffer(ctx, pos[0], tri, normal, SIZE, ranges)
    rast, _ = dr.rasterize(ctx, pos[0], tri, SIZE, ranges)
    assert torch.equal(got.rast, rast)
    assert got.attrs.shape == (2, *SIZE, 3)
    assert got.attrs_da.shape == got.rast_db.shape == (2, *SIZE, 0)


def test_gradients_are_those_of_its_parts(raster):
    pos, tri, normal, _ = problem(torch.float64, raster.device)
    pos, normal = pos.requires_grad_(), normal.requires_grad_()

    def shading(p, n):
        g = dr.gbuffer(raster.ctx, p, tri, n, SIZE)
        return (g.attrs**2).sum() + (g.attrs_da**2).sum() + g.depth.sum()

    def parts(p, n):
        rast, rast_db = dr.rasterize(raster.ctx, p, tri, SIZE)
        out, out_da = dr.interpolate(n, rast, tri, rast_db, "all")
        return (out**2).sum() + (out_da**2).sum()

    got, want = (torch.autograd.grad(f(pos, normal), (pos, normal)) for f in (shading, parts))
    for g, w in zip(got, want, strict=True):
        assert g.any() and torch.equal(g, w)


def test_it_compiles_to_one_graph(raster):
    pos, tri, normal, _ = problem(torch.float32, raster.device)

    def shaded(p):
        g = dr.gbuffer(raster.ctx, p, tri, {"normal": normal}, SIZE)
        return g.attrs["normal"], g.depth

    got = torch.compile(shaded, fullgraph=True, backend="aot_eager")(pos)
    assert all(map(torch.equal, got, shaded(pos)))


@pytest.mark.parametrize(
    ("attrs", "error"), [([1.0], TypeError), ({"normal": 3}, TypeError), (torch.zeros(3), ValueError)]
)
def test_bad_attributes_are_named(attrs, error):
    pos, tri, _, _ = problem(torch.float32, "cpu")
    with pytest.raises(error, match=r"interpolate\(\): attr must be "):
        dr.gbuffer(dr.RasterizeContext(), pos, tri, attrs, SIZE)
