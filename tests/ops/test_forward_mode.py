"""Forward mode of the primitives, by the adjoint identity: <w, J v> = <J^T w, v> for random v and w."""

import pytest
import torch
from helpers import scenes
from torch.autograd import forward_ad

import diffrast.torch as dr

SIZE = (9, 10)


def adjoint(function, inputs, seed=0):
    """Checks both ways to ask for a tangent against backward; `function` returns a tensor or several."""

    def outputs(*values):
        out = function(*values)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    tangents = [scenes.random(x.shape, seed + k, -1, 1).to(x) for k, x in enumerate(leaves)]
    out = outputs(*leaves)
    cotangents = [scenes.random(x.shape, seed + 10 + k, -1, 1).to(x) for k, x in enumerate(out)]
    grads = torch.autograd.grad(out, leaves, cotangents, allow_unused=True, materialize_grads=True)
    want = sum(float((g * t).sum()) for g, t in zip(grads, tangents, strict=True))
    with forward_ad.dual_level():
        dual = outputs(*(forward_ad.make_dual(x.detach(), t) for x, t in zip(leaves, tangents, strict=True)))
        pairs = [forward_ad.unpack_dual(x) for x in dual]
    values, moved, *_ = torch.func.jvp(outputs, tuple(x.detach() for x in leaves), tuple(tangents))
    got, scale = 0.0, 0.0
    for pair, value, motion, plain, w in zip(pairs, values, moved, out, cotangents, strict=True):
        assert torch.equal(pair.primal, plain) and torch.equal(value, plain)
        tangent = torch.zeros_like(w) if pair.tangent is None else pair.tangent
        assert torch.equal(tangent, motion)
        got, scale = got + float((tangent * w).sum()), scale + float((tangent * w).abs().sum())
    assert scale > 1e-3 and abs(got - want) < 1e-9 * scale, (got, want, scale)


def visible(raster, name="ball", batch=2):
    pos, tri = getattr(scenes, name)(batch)
    pos, tri = pos.to(raster.device), tri.to(raster.device)
    return pos, tri, *dr.rasterize(raster.ctx, pos, tri, SIZE)


@pytest.mark.parametrize("scene", ["ball", "near"])
def test_rasterize(raster, scene):
    pos, tri, *_ = visible(raster, scene)
    adjoint(lambda pos: dr.rasterize(raster.ctx, pos, tri, SIZE), [pos])


@pytest.mark.parametrize("batch", [1, 2])
def test_interpolate(raster, batch):
    _, tri, rast, rast_db = visible(raster)
    attr = scenes.random((batch, int(tri.max()) + 1, 3), 1, -1, 1).to(rast)
    adjoint(lambda a, r, d: dr.interpolate(a, r, tri, d, [0, 2]), [attr, rast, rast_db])
    adjoint(lambda a, r: dr.interpolate(a, r, tri)[0], [attr[0], rast])


@pytest.mark.parametrize("mode", ["silhouette", "area"])
@pytest.mark.parametrize("scene", ["ball", "soup", "sheet", "near"])
def test_antialias(raster, scene, mode):
    pos, tri, rast, _ = visible(raster, scene)
    color = scenes.random((*rast.shape[:3], 3), 2).to(rast)
    adjoint(lambda c, p: dr.antialias(c, rast, p, tri, mode=mode), [color, pos])


@pytest.mark.parametrize("filter_mode", ["nearest", "linear", "linear-mipmap-linear", "anisotropic"])
def test_texture(raster, filter_mode):
    tex = scenes.random((1, 16, 8, 2), 1).to(raster.device)
    uv = scenes.random((2, 5, 6, 2), 2, -1, 2).to(raster.device)
    uv_da = scenes.random((2, 5, 6, 4), 3, -0.2, 0.2).to(raster.device)
    if "linear" in filter_mode[:6] and "mip" not in filter_mode:
        adjoint(lambda t, u: dr.texture(t, u, filter_mode="linear"), [tex, uv])
    elif filter_mode == "nearest":
        adjoint(lambda t: dr.texture(t, uv, filter_mode="nearest"), [tex])
    else:
        adjoint(lambda t, u, d: dr.texture(t, u, d, filter_mode=filter_mode), [tex, uv, uv_da])
        mip = dr.texture_construct_mip(tex)
        bias = scenes.random((2, 5, 6), 4).to(raster.device)
        if filter_mode == "linear-mipmap-linear":
            adjoint(lambda t, b: dr.texture(t, uv, uv_da, b, mip=mip, filter_mode=filter_mode), [tex, bias])
            adjoint(lambda t: dr.texture(t, uv, uv_da, mip=dr.texture_construct_mip(t), filter_mode=filter_mode), [tex])


def test_cube_map(raster):
    tex = scenes.random((1, 6, 8, 8, 2), 1).to(raster.device)
    direction = scenes.random((1, 5, 6, 3), 2, -1, 1).to(raster.device)
    adjoint(lambda t, u: dr.texture(t, u, filter_mode="linear", boundary_mode="cube"), [tex, direction])


def test_a_whole_picture_and_its_second_derivative(raster):
    """jvp of all primitives in a row; and backward through the primitives while forward mode is on."""
    pos, tri, *_ = visible(raster)
    attr = scenes.random((pos.shape[1], 2), 1).to(pos)
    tex = scenes.random((1, 8, 8, 3), 5).to(pos)

    def picture(pos, tex):
        rast, rast_db = dr.rasterize(raster.ctx, pos, tri, SIZE)
        uv, uv_da = dr.interpolate(attr, rast, tri, rast_db, "all")
        color = dr.texture(tex, uv, uv_da) * (rast[..., 3:] > 0)
        return dr.antialias(color, rast, pos, tri, mode="area")

    adjoint(picture, [pos, tex])
    with forward_ad.dual_level():
        leaf = tex.clone().requires_grad_()
        (grad,) = torch.autograd.grad(picture(pos, leaf).square().sum(), leaf)
    leaf = tex.clone().requires_grad_()
    (want,) = torch.autograd.grad(picture(pos, leaf).square().sum(), leaf)
    assert torch.equal(grad, want)


def test_registered_operators(raster):
    pos, tri, rast, _ = visible(raster, "sheet")
    color = scenes.random((*rast.shape[:3], 2), 1).to(rast)
    ring = dr.antialias_construct_topology_hash(tri).ring
    for name in ("antialias", "antialias_area"):
        _, *found = getattr(torch.ops.diffrast, name)(color, rast, pos, tri, ring, 1.0, "none")
        args = (torch.rand_like(color), torch.rand_like(pos), color, rast, pos, tri, *found, 1.0)
        torch.library.opcheck(getattr(torch.ops.diffrast, name + "_jvp").default, args)
