"""Mip levels: their construction, prebuilt and custom stacks (docs/MATH.md, section 4), on every backend."""

import pytest
import torch
import torch.nn.functional as F

import diffrast.torch as dr

F64 = torch.float64
SIZES = [(1, 1), (2, 2), (5, 7), (1, 9), (9, 1), (3, 8), (13, 6), (31, 33), (64, 64)]


def texture_of(size, device, channels=3, batch=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(batch, *size, channels, generator=g, dtype=F64).to(device).requires_grad_()


def samples(device, batch=2, seed=1):
    """uv and uv_da, on levels from 0 to the top."""
    g = torch.Generator().manual_seed(seed)
    uv = torch.rand(batch, 6, 7, 2, generator=g, dtype=F64)
    uv_da = (torch.rand(batch, 6, 7, 4, generator=g, dtype=F64) - 0.5) * 2.0 ** -torch.arange(7)[:, None]
    return uv.to(device), uv_da.to(device)


def halved(tex, axis):
    """Exact averages by another way: every texel m times, then means of n in a row."""
    n = tex.shape[axis]
    m = max(1, n // 2)
    return tex.repeat_interleave(m, axis).unflatten(axis, (m, n)).mean(axis + 1)


@pytest.mark.parametrize("size", SIZES)
def test_levels_are_exact_averages(raster, size):
    tex = texture_of(size, raster.device)
    levels = dr.texture_construct_mip(tex).levels
    assert len(levels) == max(size).bit_length() - 1
    want = tex
    for level in levels:
        want = halved(halved(want, 1), 2)
        torch.testing.assert_close(level, want)
        torch.testing.assert_close(level.mean((1, 2)), tex.mean((1, 2)))
    if levels:
        assert levels[-1].shape[1:3] == (1, 1)


def test_powers_of_two_are_averages_of_four(raster):
    tex = texture_of((16, 32), raster.device)
    want = F.avg_pool2d(tex.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(dr.texture_construct_mip(tex).levels[0], want)


def test_faces_of_a_cube_map_are_separate_textures(raster):
    tex = texture_of((6, 5, 5), raster.device)
    levels = dr.texture_construct_mip(tex, cube_mode=True).levels
    for face in range(6):
        alone = dr.texture_construct_mip(tex[:, face]).levels
        assert all(torch.equal(level[:, face], one) for level, one in zip(levels, alone, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (1, 9), (12, 10), (3, 3)])
@pytest.mark.parametrize("cube", [False, True])
def test_gradcheck(raster, size, cube):
    tex = texture_of((6, size[0], size[0]) if cube else size, raster.device, channels=1, batch=1)
    if max(tex.shape[-3:-1]) == 1:
        assert dr.texture_construct_mip(tex, cube_mode=cube).levels == []
        return
    assert torch.autograd.gradcheck(lambda t: tuple(dr.texture_construct_mip(t, cube_mode=cube).levels), tex)


@pytest.mark.parametrize("size", [(64, 64), (31, 33)])
def test_gradient_reaches_every_texel_equally(raster, size):
    """The mean of the top level is the mean of the texture, so its gradient is 1 / texels everywhere."""
    tex = texture_of(size, raster.device)
    top = dr.texture_construct_mip(tex).levels[-1]
    grad = torch.autograd.grad(top.sum(), tex)[0]
    torch.testing.assert_close(grad, torch.full_like(grad, 1 / (size[0] * size[1])))


def test_max_mip_level(raster):
    tex = texture_of((16, 8), raster.device)
    uv, uv_da = samples(raster.device)
    assert [len(dr.texture_construct_mip(tex, n).levels) for n in (0, 2, None, 99)] == [0, 2, 4, 4]
    assert torch.equal(dr.texture(tex, uv, uv_da, max_mip_level=0), dr.texture(tex, uv, filter_mode="linear"))
    limited = dr.texture(tex, uv, uv_da, max_mip_level=2)
    assert torch.equal(limited, dr.texture(tex, uv, uv_da, mip=dr.texture_construct_mip(tex, 2)))
    assert torch.equal(limited, dr.texture(tex, uv, uv_da, mip=dr.texture_construct_mip(tex), max_mip_level=2))
    assert not torch.equal(limited, dr.texture(tex, uv, uv_da))


@pytest.mark.parametrize("batch", [1, 2])
def test_prebuilt_levels_are_those_built_inside(raster, batch):
    tex = texture_of((12, 20), raster.device, batch=batch)
    uv, uv_da = samples(raster.device)
    built, prebuilt = (dr.texture(tex, uv, uv_da), dr.texture(tex, uv, uv_da, mip=dr.texture_construct_mip(tex)))
    assert torch.equal(built, prebuilt)
    c = torch.rand_like(built)
    torch.testing.assert_close(*(torch.autograd.grad(out, tex, c)[0] for out in (built, prebuilt)))


def test_prebuilt_levels_serve_several_backward_passes(raster):
    tex = texture_of((12, 20), raster.device)
    uv, uv_da = samples(raster.device)
    mip = dr.texture_construct_mip(tex)
    first, second = (torch.autograd.grad(dr.texture(tex, uv, uv_da, mip=mip).sum(), tex)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_levels_of_a_detached_texture_pass_nothing_on(raster):
    tex = texture_of((8, 8), raster.device)
    uv, _ = samples(raster.device)
    bias = torch.full(uv.shape[:3], 0.25, dtype=F64, device=raster.device)
    out = dr.texture(tex, uv, mip_level_bias=bias, mip=dr.texture_construct_mip(tex.detach()))
    got = torch.autograd.grad(out.sum(), tex)[0]
    want = torch.autograd.grad(dr.texture(tex, uv).sum(), tex)[0]
    torch.testing.assert_close(got, 0.75 * want)


def test_custom_levels_get_gradients_of_their_own(raster):
    tex = texture_of((8, 8), raster.device)
    levels = [t.detach().clone().requires_grad_() for t in dr.texture_construct_mip(tex).levels]
    uv, _ = samples(raster.device)
    bias = torch.full(uv.shape[:3], 1.25, dtype=F64, device=raster.device)
    out = dr.texture(tex, uv, mip_level_bias=bias, mip=levels)
    base, *grads = torch.autograd.grad(out.sum(), (tex, *levels))
    sums = torch.stack([g.sum() for g in grads])
    total = torch.tensor([0.75, 0.25, 0.0], dtype=F64, device=raster.device) * out.numel()
    assert not base.any()
    torch.testing.assert_close(sums, total)


def test_a_short_list_ends_the_levels(raster):
    tex = texture_of((8, 8), raster.device)
    uv, _ = samples(raster.device)
    bias = torch.full(uv.shape[:3], 9.0, dtype=F64, device=raster.device)
    levels = dr.texture_construct_mip(tex).levels
    got = dr.texture(tex, uv, mip_level_bias=bias, mip=levels[:1])
    torch.testing.assert_close(got, dr.texture(levels[0], uv, filter_mode="linear"))
    assert torch.equal(dr.texture(tex, uv, mip_level_bias=bias, mip=[]), dr.texture(tex, uv))


@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_opcheck(raster, size):
    tex = texture_of(size, raster.device)
    results = torch.library.opcheck(torch.ops.diffrast.texture_mip.default, (tex, 2, 2))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            (torch.rand(4, 4, 3),),
            r"texture_construct_mip\(\): tex must be .* \[N, Ht, Wt, C\]; got float32 \[4, 4, 3\]",
        ),
        ((torch.ones(1, 4, 4, 3).int(),), r"tex must be float32 or float64 .*; got int32 \[1, 4, 4, 3\]"),
        ((torch.rand(1, 4, 4, 3), None, True), r"\[N, 6, S, S, C\] for a cube map; got float32 \[1, 4, 4, 3\]"),
        ((torch.rand(1, 6, 4, 5, 3), None, True), r"\[N, 6, S, S, C\] for a cube map; got float32 \[1, 6, 4, 5, 3\]"),
        ((torch.rand(1, 1, 6, 4, 4, 3),), r"\[N, Ht, Wt, C\]; got float32 \[1, 1, 6, 4, 4, 3\]"),
        ((torch.rand(1, 4, 0, 3),), r"tex must have 1 to 16777215 texels along each axis; got float32 \[1, 4, 0, 3\]"),
        ((torch.rand(1, 4, 4, 3), -1), r"max_mip_level must be an integer of at least 0; got -1"),
    ],
)
def test_refused_with_a_message(arguments, message):
    with pytest.raises(ValueError, match=message):
        dr.texture_construct_mip(*arguments)
