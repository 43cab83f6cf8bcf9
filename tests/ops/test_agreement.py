"""Every backend against the CPU: the same triangles, and from them the same numbers, forward and backward."""

import pytest
import torch
from helpers import gradients, scenes

import diffrast.torch as dr
from diffrast.ops.rasterize import triangle_id

SIZE = (96, 128)
SCENES = {"soup": scenes.soup, "near": scenes.near, "sheet": scenes.sheet, "ball": scenes.ball}
# Of the pixels on edges, those that may show another triangle. OpenGL snaps corners to its own grid (docs/MATH.md,
# section 1): 4e-4 are expected of 1/256 pixel; a picture this small has few. What is 1e-4 of all pixels at 1024x1024:
# tests/backends/test_gl.py.
MOST_DIFFERENT = {"gl": 2e-3}
CPU = dr.RasterizeContext(backend="cpu")


def edges(ids):
    """Pixels with a neighbour of another triangle."""
    found = torch.zeros_like(ids, dtype=torch.bool)
    for axis in (1, 2):
        n = ids.shape[axis] - 1
        differ = ids.narrow(axis, 0, n) != ids.narrow(axis, 1, n)
        found.narrow(axis, 0, n).logical_or_(differ)
        found.narrow(axis, 1, n).logical_or_(differ)
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_rasterizers_agree(raster, scene):
    pos, tri = SCENES[scene]()
    pos = pos.float()
    want, want_db = dr.rasterize(CPU, pos, tri, SIZE)
    got, got_db = (x.cpu() for x in dr.rasterize(raster.ctx, pos.to(raster.device), tri.to(raster.device), SIZE))
    ids = triangle_id(want)
    same = ids == triangle_id(got)
    assert not (~same & ~edges(ids)).any()
    assert (~same).sum() <= MOST_DIFFERENT.get(raster.name, 1e-5) * edges(ids).sum()
    gradients.assert_agree(got[same], want[same], "rast", tolerance=1e-6)
    gradients.assert_agree(got_db[same], want_db[same], "rast_db", tolerance=1e-6)


@pytest.mark.parametrize("scene", SCENES)
def test_primitives_agree(raster, scene):
    """From the CPU's visibility on: values to 1e-6, gradients too but for the order of their sums."""
    pos, tri = SCENES[scene]()
    pos = pos.float()
    rast, rast_db = dr.rasterize(CPU, pos, tri, SIZE)
    attr, tex = scenes.random((pos.shape[1], 2), 1).float(), scenes.random((1, 37, 50, 3), 2).float()

    def run(device):
        p, a, t, r, d = leaves = [x.detach().to(device).requires_grad_() for x in (pos, attr, tex, rast, rast_db)]
        uv, uv_da = dr.interpolate(a, r, tri.to(device), d, "all")
        color = dr.texture(t, uv, uv_da)
        image = dr.antialias(color, r.detach(), p, tri.to(device))
        cotangent = scenes.random(image.shape, 3, -1, 1).to(image)
        return (uv, uv_da, color, image), torch.autograd.grad(image, leaves, cotangent)

    got, want = run(raster.device), run("cpu")
    for name, g, w in zip(("uv", "uv_da", "color", "image"), got[0], want[0], strict=True):
        gradients.assert_agree(g, w, name, tolerance=1e-6)
    for name, g, w in zip(("pos", "attr", "tex", "rast", "rast_db"), got[1], want[1], strict=True):
        gradients.assert_agree(g, w, name)
