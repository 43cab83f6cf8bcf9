"""The oracles against closed forms and finite differences."""

import pytest
import torch
from helpers.gradients import assert_agree
from reference import antialias, interpolate, rasterize, texture

F64 = torch.float64


def square(left=-1.0, right=1.0, bottom=-1.0, top=1.0):
    """Two triangles that cover a rectangle of the screen: pos [1, 4, 4], tri [2, 3]."""
    corners = [[left, bottom], [right, bottom], [right, top], [left, top]]
    pos = torch.tensor([[[*c, 0.0, 1.0] for c in corners]], dtype=F64)
    return pos, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def perspective_triangle():
    pos = torch.tensor([[[-1.0, -0.9, 0.2, 1.0], [2.1, -1.7, 1.0, 2.3], [0.3, 1.3, -0.5, 1.6]]], dtype=F64)
    return pos, torch.tensor([[0, 1, 2]], dtype=torch.int32)


@pytest.mark.parametrize("corner", [(3, 5), (4, 4), (2.5, 3.5)])
def test_fan_around_any_point_covers_every_pixel_once(corner):
    H, W = 8, 8
    pos, _ = square()
    centre = torch.tensor([[[(2 * corner[0] + 1 - W) / W, (2 * corner[1] + 1 - H) / H, 0, 1]]], dtype=F64)
    pos = torch.cat([pos, centre], 1)
    fan = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], dtype=torch.int32)
    count = torch.stack([rasterize.visibility(pos, t[None], (H, W)) >= 0 for t in fan]).sum(0)
    assert (count == 1).all()


def test_top_left_rule_keeps_left_and_top_borders():
    pos, tri = square(-0.375, 0.375, -0.375, 0.375)  # borders through the centres of pixels 2 and 5 of 8
    covered = rasterize.visibility(pos, tri, (8, 8)) >= 0
    assert covered[0].any(0).nonzero().flatten().tolist() == [2, 3, 4]
    assert covered[0].any(1).nonzero().flatten().tolist() == [3, 4, 5]


def test_interpolated_position_is_the_pixel_centre():
    pos, tri = perspective_triangle()
    rast, rast_db = rasterize.rasterize(pos, tri, (16, 12))
    out, da = interpolate.interpolate(pos, rast, tri, rast_db, "all")
    assert da is not None
    hit = rast[..., 3] > 0
    assert 40 < hit.sum() < 192
    X, Y = rasterize.pixel_centres((16, 12))
    x, y, z, w = out.unbind(-1)
    assert_agree((x / w)[hit], X.expand(1, 16, 12)[hit])
    assert_agree((y / w)[hit], Y[:, None].expand(1, 16, 12)[hit])
    assert_agree((z / w)[hit], rast[..., 2][hit])
    dx, dw = da[..., 0:2], da[..., 6:8]  # d(x/w) is one pixel along X and nothing along Y
    dX = (dx - (x / w)[..., None] * dw) / w[..., None].where(hit[..., None], torch.ones_like(dw))
    assert_agree(dX[hit], torch.tensor([2 / 12, 0.0], dtype=F64).expand(int(hit.sum()), 2))


def test_layers_come_in_order_of_depth_then_index():
    pos, tri = square()
    far = pos + torch.tensor([0, 0, 0.5, 0], dtype=F64)
    both = torch.cat([far, pos, pos], 1)
    tris = torch.cat([tri, tri + 4, tri + 8])
    ids = [rasterize.visibility(both, tris, (4, 4), layer=n) for n in range(4)]
    assert (ids[0] // 2 == 1).all() and (ids[1] // 2 == 2).all() and (ids[2] // 2 == 0).all()
    assert (ids[3] == -1).all()


def test_behind_the_eye_and_degenerate():
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    pos, _ = perspective_triangle()
    assert (rasterize.visibility(-pos, tri, (8, 8)) == -1).all()  # the same lines, all of w < 0
    crossing = pos.clone()
    crossing[0, 1, 3] = -0.5
    assert (rasterize.visibility(crossing, tri, (8, 8)) == 0).any()
    for bad in (torch.nan, torch.inf):
        broken = pos.clone()
        broken[0, 1, 2] = bad
        assert (rasterize.visibility(broken, tri, (8, 8)) == -1).all()
    assert (rasterize.visibility(pos[:, [0, 1, 1]], tri, (8, 8)) == -1).all()


def test_rasterize_gradient():
    pos, tri = perspective_triangle()
    ids = rasterize.visibility(pos, tri, (6, 5))
    pos.requires_grad_()

    def outputs(p):
        rast, db = rasterize.rasterize(p, tri, (6, 5), ids=ids)
        return rast[..., :2], db

    assert torch.autograd.gradcheck(outputs, pos)


@pytest.mark.parametrize("size", [(7, 5), (8, 1), (1, 1), (6, 6)])
def test_mip_levels_keep_the_mean(size):
    tex = torch.rand(1, *size, 3, dtype=F64)
    levels = texture.construct_mip(tex)
    for k, level in enumerate(levels):
        assert tuple(level.shape[1:3]) == tuple(max(1, n >> k + 1) for n in size)
        assert_agree(level.mean((1, 2)), tex.mean((1, 2)))
    if size == (6, 6):
        assert_agree(levels[0], tex.unflatten(1, (3, 2)).unflatten(3, (3, 2)).mean((2, 4)))


def test_texel_centres_and_levels_of_detail():
    tex = torch.rand(1, 8, 8, 2, dtype=F64)
    centre = (torch.arange(8, dtype=F64) + 0.5) / 8
    uv = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)[None]
    for mode in ("nearest", "linear"):
        assert_agree(texture.texture(tex, uv, filter_mode=mode), tex)
    angle = torch.tensor(0.7, dtype=F64)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()])
    squeeze = torch.tensor([1, 0.3, 1, 0.3])  # the longest axis decides, whatever its direction
    for k in range(3):
        uv_da = (turn * squeeze * 2**k / 8).expand(1, 8, 8, 4)
        got = texture.texture(tex, uv, uv_da)
        if k == 0:
            assert_agree(got, tex)
        else:
            assert_agree(got, texture.texture(texture.construct_mip(tex)[k - 1], uv, filter_mode="linear"))


@pytest.mark.parametrize("S", [1, 2, 5])
def test_cube_map_is_continuous_across_edges_and_corners(S):
    tex = torch.rand(1, 6, S, S, 3, dtype=F64)
    generator = torch.Generator().manual_seed(0)
    d = torch.rand(1, 1, 400, 3, dtype=F64, generator=generator) * 2 - 1
    d = d / d.abs().amax(-1, keepdim=True)
    axis = torch.arange(400) % 3
    on_edge = d.clone()
    other = (axis + 1) % 3
    n = torch.arange(400)
    on_edge[0, 0, n, axis] = on_edge[0, 0, n, axis].sign()
    on_edge[0, 0, n, other] = on_edge[0, 0, n, other].sign()
    step = torch.zeros_like(d)
    step[0, 0, n, axis] = on_edge[0, 0, n, axis] * 1e-9
    one, two = (texture.texture(tex, at, boundary_mode="cube") for at in (on_edge + step, on_edge - step))
    assert (texture.cube_face(on_edge + step) != texture.cube_face(on_edge - step)).all()
    assert (one - two).abs().max() < 1e-7
    flat = texture.texture(torch.ones_like(tex), d, boundary_mode="cube")
    assert_agree(flat, torch.ones_like(flat))


def test_cube_map_of_a_linear_function_is_nearly_linear():
    S = 24  # the face table is consistent with the projection: texels hold their own direction
    texels = torch.zeros(1, 6, S, S, 3, dtype=F64)
    c = (2 * torch.arange(S, dtype=F64) + 1) / S - 1
    tc, sc = torch.meshgrid(c, c, indexing="ij")
    for face, M in enumerate(texture.CUBE_FACES):
        point = torch.stack([sc, tc, torch.ones_like(sc)], -1) @ M
        texels[0, face] = point / point.norm(dim=-1, keepdim=True)
    d = torch.randn(1, 20, 20, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    got = texture.texture(texels, d, boundary_mode="cube")
    error = (got - d / d.norm(dim=-1, keepdim=True)).abs().max()
    assert error < 0.1 * (2 / S)  # a tenth of a texel


@pytest.mark.parametrize("cube", [False, True])
def test_texture_gradient(cube):
    generator = torch.Generator().manual_seed(2)
    shape = (1, 6, 4, 4, 2) if cube else (1, 6, 5, 2)
    tex = torch.rand(shape, dtype=F64, generator=generator, requires_grad=True)
    uv = torch.randn(1, 2, 3, 3 if cube else 2, dtype=F64, generator=generator, requires_grad=True)
    uv_da = (torch.randn(1, 2, 3, 6 if cube else 4, dtype=F64, generator=generator) * 0.3).requires_grad_()
    bias = torch.randn(1, 2, 3, dtype=F64, generator=generator, requires_grad=True)

    def sample(*inputs):
        return texture.texture(*inputs, boundary_mode="cube" if cube else "wrap")

    assert torch.autograd.gradcheck(sample, (tex, uv, uv_da, bias))


def test_antialias_gives_the_area_of_a_rectangle():
    pos, tri = square(-0.61, 0.47, -2.0, 2.0)  # vertical silhouettes: the blend is exact box coverage
    pos.requires_grad_()
    rast, _ = rasterize.rasterize(pos, tri, (4, 16))
    out = antialias.antialias((rast[..., 3:] > 0).double(), rast, pos, tri)
    area = out.sum() / 4 * 2 / 16
    assert area.item() == pytest.approx(0.47 + 0.61, abs=1e-12)
    (gradient,) = torch.autograd.grad(area, pos)
    right = (pos[..., 0] > 0).double()
    assert gradient[..., 0].mul(right).sum().item() == pytest.approx(1.0, abs=1e-12)
    assert gradient[..., 0].mul(1 - right).sum().item() == pytest.approx(-1.0, abs=1e-12)
    assert gradient[..., 2].abs().max() == 0


def test_antialias_leaves_the_inside_of_a_surface_alone():
    pos, tri = square()
    rast, _ = rasterize.rasterize(pos, tri, (8, 8))
    color = torch.rand(1, 8, 8, 3, dtype=F64)
    assert torch.equal(antialias.antialias(color, rast, pos, tri), color)
    separate = torch.tensor([[0, 1, 2], [4, 5, 6]], dtype=torch.int32)  # the same picture, edges not shared
    split = torch.cat([pos, pos[:, [0, 2, 3]]], 1)
    assert not torch.equal(antialias.antialias(color, rast, split, separate), color)


def test_antialias_gradient():
    pos, tri = perspective_triangle()
    rast, _ = rasterize.rasterize(pos, tri, (8, 8))
    color = torch.rand(1, 8, 8, 2, dtype=F64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    pos.requires_grad_()
    assert torch.autograd.gradcheck(lambda c, p: antialias.antialias(c, rast, p, tri), (color, pos))
