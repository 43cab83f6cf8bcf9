"""What torch expects of operators: compile, export, autocast and half precision, determinism; on every backend."""

import pytest
import torch
from helpers import gradients, scenes

import diffrast.torch as dr

SIZE = (24, 32)


class Picture(torch.nn.Module):
    """All four primitives: positions, vertex attributes (uv first) and a texture to a picture."""

    def __init__(self, raster, dtype=torch.float32):
        super().__init__()
        pos, tri = scenes.sheet()
        self.ctx = raster.ctx
        self.tri = tri.to(raster.device)
        self.topology = dr.antialias_construct_topology_hash(self.tri)
        attr = scenes.random((pos.shape[1], 2), 1)
        tex = scenes.random((1, 16, 16, 3), 2)
        self.inputs = [x.to(raster.device, dtype).requires_grad_() for x in (pos, attr, tex)]

    def forward(self, pos, attr, tex):
        rast, rast_db = dr.rasterize(self.ctx, pos, self.tri, SIZE)
        uv, uv_da = dr.interpolate(attr, rast, self.tri, rast_db, "all")
        color = dr.texture(tex, uv, uv_da)
        return dr.antialias(color, rast, pos, self.tri, self.topology)

    def loss(self, *inputs):
        return self(*inputs).square().sum()


def backward(picture, function):
    return torch.autograd.grad(function(*picture.inputs), picture.inputs)


def test_compiled_whole_it_gives_the_same(raster):
    """Forward and loss as one graph, with torch's default compiler."""
    picture = Picture(raster)
    got = backward(picture, torch.compile(picture.loss, fullgraph=True))
    for name, g, w in zip(("pos", "attr", "tex"), got, backward(picture, picture.loss), strict=True):
        gradients.assert_agree(g, w, name)


def test_exported_it_gives_the_same(raster):
    picture = Picture(raster)
    inputs = tuple(x.detach() for x in picture.inputs)
    program = torch.export.export(picture, inputs)
    kept = {str(node.target) for node in program.graph.nodes if "diffrast" in str(node.target)}
    assert len(kept) >= 5, kept  # visibility, resolve, interpolate, texture, antialias
    other = (inputs[0] * 0.9, *inputs[1:])
    assert torch.equal(program.module()(*other), picture(*other))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=["half", "bfloat16"])
def test_half_precision_is_computed_in_float32(raster, half):
    """Output has the dtype of the input, and is what float32 gives for the rounded numbers, rounded once."""
    picture = Picture(raster)
    pos, attr, tex = (x.detach().to(half) for x in picture.inputs)
    rast, rast_db = dr.rasterize(picture.ctx, pos, picture.tri, SIZE)
    wide_rast, _ = dr.rasterize(picture.ctx, pos.float(), picture.tri, SIZE)
    assert rast.dtype == rast_db.dtype == torch.float32
    assert torch.equal(rast, wide_rast)
    uv, uv_da = dr.interpolate(attr, rast, picture.tri, rast_db, "all")
    wide = dr.interpolate(attr.float(), rast, picture.tri, rast_db, "all")
    assert uv.dtype == uv_da.dtype == half
    assert torch.equal(uv, wide[0].to(half))
    assert torch.equal(uv_da, wide[1].to(half))
    color = dr.texture(tex, uv, uv_da)
    assert color.dtype == half
    assert torch.equal(color, dr.texture(tex.float(), uv.float(), uv_da.float()).to(half))
    mip = dr.texture_construct_mip(tex)
    assert torch.equal(color, dr.texture(tex, uv, uv_da, mip=mip))
    image = dr.antialias(color, rast, pos, picture.tri, picture.topology)
    assert image.dtype == half
    assert torch.equal(image, dr.antialias(color.float(), rast, pos.float(), picture.tri).to(half))


def test_half_precision_gets_gradients_of_its_dtype(raster):
    """Of each primitive: those of float32, rounded once."""
    picture = Picture(raster)
    pos, attr, tex = (x.detach().half() for x in picture.inputs)
    rast, rast_db = dr.rasterize(picture.ctx, pos, picture.tri, SIZE)
    uv, uv_da = (x.half() for x in dr.interpolate(attr, rast, picture.tri, rast_db, "all"))
    color = dr.texture(tex, uv, uv_da)
    primitives = {
        "rasterize": (lambda pos: dr.rasterize(picture.ctx, pos, picture.tri, SIZE)[0], [pos]),
        "interpolate": (lambda attr: dr.interpolate(attr, rast, picture.tri)[0], [attr]),
        "texture": (dr.texture, [tex, uv, uv_da]),
        "antialias": (lambda color, pos: dr.antialias(color, rast, pos, picture.tri), [color, pos]),
    }
    for name, (function, halves) in primitives.items():
        halves = [x.requires_grad_() for x in halves]
        wide = [x.detach().float().requires_grad_() for x in halves]
        out = function(*halves)
        cotangent = scenes.random(out.shape, 5, -1, 1).to(out)
        got = torch.autograd.grad(out, halves, cotangent)
        want = torch.autograd.grad(function(*wide), wide, cotangent.float())
        for g, w in zip(got, want, strict=True):
            assert g.dtype == torch.float16
            assert torch.equal(g, w.half()), name


def test_autocast_leaves_the_primitives_alone(raster):
    picture = Picture(raster)
    pos, attr, tex = picture.inputs
    want = picture(*picture.inputs)
    with torch.autocast(raster.device.type, dtype=torch.bfloat16):
        assert torch.equal(picture(*picture.inputs), want)
        turned = pos @ torch.eye(4, device=pos.device)  # what autocast makes of a projection
        assert turned.dtype == torch.bfloat16
        image = picture(turned, attr, tex)
    assert image.dtype == torch.float32
    (grad,) = torch.autograd.grad(image.square().sum(), pos)
    assert grad.dtype == torch.float32
    assert grad.isfinite().all()
    assert grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_deterministic_gradients_repeat_bit_by_bit(raster, dtype):
    picture = Picture(raster, dtype)
    fast = backward(picture, picture.loss)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (backward(picture, picture.loss) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, a, b, c in zip(("pos", "attr", "tex"), first, second, fast, strict=True):
        assert torch.equal(a, b), name
        gradients.assert_agree(a, c, name)
