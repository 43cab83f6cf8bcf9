"""Gradients of antialias(mode="silhouette"), the published rule, on every backend: by finite differences and by
geometry."""

import math

import pytest
import torch
from helpers.silhouettes import SCENES, changed, colors, published, quad, rendered

import diffrast.torch as dr


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("cull", ["none", "back"])
def test_gradcheck(raster, name, cull):
    pos, tri, rast = rendered(name, device=raster.device, cull=cull)
    color = colors(rast)
    assert changed(published(color, rast, pos, tri, cull=cull), color).sum() >= 15
    check = torch.autograd.gradcheck(
        lambda c, p: published(c, rast, p, tri, cull=cull), (color.requires_grad_(), pos.requires_grad_()), atol=1e-6
    )
    assert check


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("shape", ["V4", "1V4"])
def test_gradcheck_of_shared_positions(raster, channels, shape):
    pos, tri, rast = rendered("stacked", device=raster.device, shared=True)
    pos = pos[0] if shape == "V4" else pos
    color = colors(rast, channels)
    inputs = (color.requires_grad_(), pos.requires_grad_())
    assert torch.autograd.gradcheck(lambda c, p: published(c, rast, p, tri), inputs, atol=1e-6)


def test_gradcheck_of_range_mode(raster):
    pos, tri, _ = rendered("soup", device=raster.device)
    pos = pos[0].contiguous()
    ranges = torch.tensor([[0, 9], [5, 12]], dtype=torch.int32)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (12, 11), ranges)
    color = colors(rast).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, p: published(c, rast, p, tri), (color, pos.requires_grad_()), atol=1e-6)


def test_the_weights_of_a_crowded_pixel_are_normalized(raster):
    """A far quad seen through a hole much smaller than a pixel: its four neighbours flow into it, with a weight above
    1."""
    boxes = [(-1, 1, -1, 1), (-3, -0.02, -3, 3), (0.03, 3, -3, 3), (-3, 3, -3, -0.025), (-3, 3, 0.015, 3)]
    quads = [quad(*box) for box in boxes]
    pos = torch.cat([p for p, _ in quads], 1)
    pos[0, :4, 2] = 0.5
    tri = torch.cat([t + 4 * k for k, (_, t) in enumerate(quads)]).to(raster.device)
    pos = pos.to(raster.device).requires_grad_()
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri, (5, 5))
    color = colors(rast).requires_grad_()
    out = published(color, rast, pos, tri)
    # Left, right, below, above; the hole reaches to 0.02 / 0.4 of a pixel, and so on, of the centre.
    weight = 0.5 - torch.tensor([0.02, 0.03, 0.025, 0.015], dtype=torch.float64, device=raster.device) / 0.4
    around = torch.stack([color[0, 2, 1], color[0, 2, 3], color[0, 1, 2], color[0, 3, 2]])
    assert torch.allclose(out[0, 2, 2], weight @ around / weight.sum(), atol=1e-13)
    assert torch.autograd.grad(out[0, 2, 2].sum(), color)[0][0, 2, 2].abs().max() < 1e-13, (
        "its own colour has no share left"
    )
    assert torch.autograd.gradcheck(lambda c, p: published(c, rast, p, tri), (color, pos), atol=1e-6)


def test_shared_positions_collect_the_gradients_of_the_batch(raster):
    pos, tri, rast = rendered("stacked", device=raster.device, shared=True)
    color, weight = colors(rast), colors(rast, seed=2)

    def gradient(p):
        p = p.clone().requires_grad_()
        return torch.autograd.grad((published(color, rast, p, tri) * weight).sum(), p)[0]

    each = gradient(pos.expand(2, -1, -1))
    assert each.any()
    assert torch.allclose(gradient(pos), each.sum(0, keepdim=True), rtol=0, atol=1e-13 * float(each.abs().max()))
    assert torch.equal(gradient(pos[0]), gradient(pos)[0])


def test_boost_multiplies_the_gradient_into_positions_alone(raster):
    pos, tri, rast = rendered("stacked", device=raster.device)
    color = colors(rast).requires_grad_()
    pos.requires_grad_()
    got = {}
    for boost in (1, 3.0, 0):
        out = published(color, rast, pos, tri, pos_gradient_boost=boost)
        got[boost] = (out, *torch.autograd.grad(out.square().sum(), (color, pos)))
    assert torch.equal(got[3.0][0], got[1][0]) and torch.equal(got[3.0][1], got[1][1])
    assert got[1][2].any() and torch.allclose(got[3.0][2], 3 * got[1][2], rtol=1e-14)
    assert not got[0][2].any()


def test_only_the_gradients_that_are_needed(raster):
    pos, tri, rast = rendered("stacked", device=raster.device)
    color = colors(rast)
    for leaf, other in ((color, pos), (pos, color)):
        leaf.requires_grad_()
        out = published(color, rast, pos, tri)
        out.square().sum().backward()
        assert leaf.grad is not None and leaf.grad.any() and other.grad is None
        leaf.requires_grad_(False)
        leaf.grad = None


@pytest.mark.parametrize("w", [1.0, 2.5])
@pytest.mark.parametrize("offset", [-0.31, 0.02, 0.44])
def test_gradient_of_total_intensity_is_the_length_of_the_edge(raster, w, offset):
    """A white half plane on black: moving its edge by one pixel adds one pixel per row."""
    height, width = 8, 12
    pos, tri = quad(-3, (2 * offset) / width, -3, 3, w)
    pos = pos.to(raster.device).requires_grad_()
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri.to(raster.device), (height, width))
    out = published((rast[..., 3:] > 0).double(), rast, pos, tri.to(raster.device))
    assert out.sum().item() == pytest.approx(height * (width / 2 + offset), rel=1e-12)
    (grad,) = torch.autograd.grad(out.sum(), pos)
    assert grad[..., 0].sum().item() == pytest.approx(height * width / 2 / w, rel=1e-12)
    assert grad[..., 1].sum().item() == pytest.approx(0, abs=1e-12)
    assert not grad[..., 2].any()
    # x / w of the edge does not change when both grow together.
    assert (grad * pos).sum().item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("degrees", [0, 7, 31, 44, 46, 60, 90, 135, 200, 290])
def test_a_slanted_edge_moves_the_total_by_the_area_that_it_sweeps(raster, degrees):
    """A white half plane on black in a square image, its edge through the middle: exact at every angle."""
    size, turn = 32, math.radians(degrees + 0.1)
    normal = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)
    along = torch.tensor([-normal[1], normal[0]], dtype=torch.float64)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    corners = torch.stack([6 * along, -6 * along, -6 * along - 6 * normal, 6 * along - 6 * normal]) + shift * normal
    pos = torch.cat([corners, torch.zeros(4, 1), torch.ones(4, 1)], 1)[None].to(raster.device)
    tri = torch.tensor([[0, 2, 1], [0, 3, 2]], dtype=torch.int32, device=raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri, (size, size))
    out = published((rast[..., 3:] > 0).double(), rast, pos, tri)
    assert out.sum().item() == pytest.approx(size * size / 2, rel=1e-3)
    length = size / float(normal.abs().max())
    assert torch.autograd.grad(out.sum(), shift)[0].item() == pytest.approx(length * size / 2, rel=0.02)
