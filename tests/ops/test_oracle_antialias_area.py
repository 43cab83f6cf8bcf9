"""antialias(mode="area") against the oracle: values, and gradients of colours and positions."""

import pytest
import torch
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from reference.antialias_area import antialias_area

import diffrast.torch as dr

SCENES = {"soup": scenes.soup, "sheet": scenes.sheet, "ball": scenes.ball}


@pytest.mark.parametrize(("scene", "cull"), [("soup", "none"), ("sheet", "none"), ("ball", "none"), ("ball", "back")])
def test_values_and_gradients(raster, scene, cull):
    pos, tri = SCENES[scene](1, seed=5)
    rast, _ = dr.rasterize(raster.ctx, pos.to(raster.device), tri.to(raster.device), (9, 10), cull=cull)
    color = scenes.random((1, 9, 10, 2), 3)
    leaves = [color.requires_grad_(), pos.requires_grad_()]
    want = antialias_area(color, rast.cpu(), pos, tri, cull)
    there = [leaf.detach().to(raster.device).requires_grad_() for leaf in leaves]
    got = dr.antialias(there[0], rast, there[1], tri.to(raster.device), cull=cull, mode="area")
    assert_agree(got, want, "values", 1e-11)
    assert float((want - color).abs().max().detach()) > 0.1
    cotangent = scenes.random(want.shape, 7, -1, 1)
    wanted = gradients([want], [cotangent], leaves)
    found = gradients([got], [cotangent.to(raster.device)], there)
    for name, g, w in zip(("color", "pos"), found, wanted, strict=True):
        assert_agree(g, w, name, 1e-8)


def test_intersections(raster):
    """Two sheets through each other: the line's place, and its derivative into z."""
    flat = torch.tensor([[-3.0, -3], [3, -3], [3, 3], [-3, 3]], dtype=torch.float64)
    depth = [0.13 * flat[:, :1] + 0.06 * flat[:, 1:], -0.17 * flat[:, :1] + 0.02]
    pos = torch.cat([torch.cat([flat, z, torch.ones(4, 1)], 1) for z in depth])[None]
    tri = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], dtype=torch.int32)
    rast, _ = dr.rasterize(raster.ctx, pos.to(raster.device), tri.to(raster.device), (10, 9))
    color = scenes.random((1, 10, 9, 1), 3)
    pos.requires_grad_()
    there = pos.detach().to(raster.device).requires_grad_()
    want = antialias_area(color, rast.cpu(), pos, tri)
    got = dr.antialias(color.to(raster.device), rast, there, tri.to(raster.device), mode="area")
    assert_agree(got, want, "values", 1e-11)
    (w,), (g,) = gradients([want], [color], [pos]), gradients([got], [color.to(raster.device)], [there])
    assert w[..., 2].abs().max() > 1
    assert_agree(g, w, "pos", 1e-8)
