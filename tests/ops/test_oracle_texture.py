"""texture and texture_construct_mip against their oracle."""

import itertools

import pytest
import torch
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from reference import texture as oracle

import diffrast.torch as dr

DTYPES = [torch.float64, torch.float32]
FILTERS = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BATCH, H, W = 2, 9, 13

# How near (in texels, or levels) a coordinate may come to the place where another texel or level takes over.
MARGIN = {torch.float64: 1e-9, torch.float32: 2e-4}


def queries(cube, size, dtype, device, seed=0):
    """Leaves uv, uv_da, bias; footprints from below one texel to above the whole texture."""
    shape = (BATCH, H, W)
    if cube:
        uv = scenes.random((*shape, 3), seed, -1, 1) * 2 ** scenes.random((*shape, 1), seed + 1, -3, 3)
        footprint = uv.abs().amax(-1, keepdim=True).expand(*shape, 3)  # per texel, about
    else:
        uv = scenes.random((*shape, 2), seed, -1.5, 2.5)
        footprint = torch.ones(*shape, 2, dtype=torch.float64)
    top = max(size).bit_length()
    scale = footprint / max(size) * 2 ** scenes.random((*shape, 1), seed + 2, -2, top)
    uv_da = scenes.random((*shape, uv.shape[-1], 2), seed + 3, -1, 1) * scale[..., None]
    bias = scenes.random(shape, seed + 4, -1, 1)
    leaves = (t.to(device, dtype).requires_grad_() for t in (uv, uv_da.flatten(-2), bias))
    return tuple(leaves)


def decided(tex, uv, uv_da, bias, levels, filter_mode, cube):
    """Queries whose texels and levels do not hang on rounding, bool [B, H, W]."""
    margin = MARGIN[tex.dtype]
    sizes = [(level.shape[-2], level.shape[-3]) for level in levels]
    st = uv.detach().double().flatten(0, -2)
    da = None if uv_da is None else uv_da.detach().double().flatten(0, -2)
    keep = torch.ones(len(st), dtype=torch.bool, device=st.device)
    if cube:
        largest = st.abs().sort(-1).values
        keep &= (largest[:, 2] - largest[:, 1]) > margin * largest[:, 2]  # two faces are as near
        _, st, da = oracle.cube_project(st, da)

    def clear_of_integers(x):
        return (x - x.round()).abs() > margin

    if "mipmap" not in filter_mode:
        sizes = sizes[:1]
    for size in sizes:
        position = st * torch.tensor(size, device=st.device) - (0 if filter_mode == "nearest" else 0.5)
        keep &= clear_of_integers(position).all(-1)
    if "mipmap" in filter_mode:
        flat = None if bias is None else bias.detach().double().flatten()
        level = oracle.level_of_detail(sizes[0], da, flat)
        half = 0.5 if filter_mode == "linear-mipmap-nearest" else 0.0
        keep &= clear_of_integers(level + half) | (level < -margin) | (level > len(levels) - 1 + margin)
        if da is not None:
            # A round footprint has no major axis: its derivative is a quotient of two differences.
            J = da.unflatten(-1, (2, 2)) * torch.tensor(sizes[0], device=st.device)[:, None]
            axes = torch.linalg.svdvals(J)
            keep &= (axes[:, 0] - axes[:, 1]) > 100 * margin * axes[:, 0]
    assert keep.float().mean() > 0.93
    return keep.view(uv.shape[:-1])


def check(tex, uv, uv_da=None, bias=None, mip=None, filter_mode="auto", boundary_mode="wrap", top=None):
    effective = filter_mode
    if filter_mode == "auto":
        effective = "linear" if uv_da is None and bias is None else "linear-mipmap-linear"
    cube = boundary_mode == "cube"
    levels = [tex, *(oracle.construct_mip(tex, top) if mip is None else mip)]
    keep = decided(tex, uv, uv_da, bias, levels, effective, cube)
    arguments = (tex, uv, uv_da, bias, mip, filter_mode, boundary_mode, top)
    out, want = dr.texture(*arguments), oracle.texture(*arguments)
    assert_agree(out[keep], want[keep], "out")
    c = scenes.random(out.shape, 11, -1, 1).to(out) * keep[..., None]
    inputs = {"tex": tex, "uv": uv, "uv_da": uv_da, "mip_level_bias": bias}
    inputs |= {f"mip[{k}]": level for k, level in enumerate(mip or [])}
    inputs = {name: t for name, t in inputs.items() if t is not None}
    got, expected = (gradients([o], [c], list(inputs.values())) for o in (out, want))
    for name, one, other in zip(inputs, got, expected, strict=True):
        assert_agree(one, other, f"gradient into {name}", terms=1)  # texels and cotangents


def new_texture(shape, dtype, device, seed=20):
    return scenes.random(shape, seed).to(device, dtype).requires_grad_()


SIZES = [(1, 7, 5), (2, 16, 8), (1, 1, 1), (2, 1, 6)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filter_mode", FILTERS)
@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero"])
def test_2d(raster, boundary_mode, filter_mode, dtype):
    for batch, Ht, Wt in SIZES:
        tex = new_texture((batch, Ht, Wt, 3), dtype, raster.device)
        uv, uv_da, bias = queries(False, (Ht, Wt), dtype, raster.device)
        check(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary_mode)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_cube(raster, filter_mode, dtype):
    for batch, S in [(1, 6), (2, 8), (1, 1), (2, 5)]:
        tex = new_texture((batch, 6, S, S, 3), dtype, raster.device)
        uv, uv_da, bias = queries(True, (S, S), dtype, raster.device)
        check(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode="cube")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cube", [False, True])
@pytest.mark.parametrize("filter_mode", ["auto", *FILTERS[2:]])
def test_either_source_of_the_level(raster, filter_mode, cube, dtype):
    tex = new_texture((1, 6, 8, 8, 2) if cube else (1, 12, 8, 2), dtype, raster.device)
    uv, uv_da, bias = queries(cube, (8, 8), dtype, raster.device)
    boundary_mode = "cube" if cube else "wrap"
    with torch.no_grad():
        bias.mul_(3).add_(1.5)
    for da, b in ((uv_da, None), (None, bias)):
        check(tex, uv, da, b, filter_mode=filter_mode, boundary_mode=boundary_mode)
    if filter_mode == "auto":
        check(tex, uv, boundary_mode=boundary_mode)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cube", [False, True])
def test_custom_levels(raster, cube, dtype):
    """The levels need not be averages of the texture, and each has its own gradient."""
    sides = [(6,), (3,), (1,)] if cube else [(10, 6), (5, 3), (2, 1), (1, 1)]
    for batch, filter_mode in itertools.product((1, 2), FILTERS[2:]):
        tex, *mip = (
            new_texture(((batch, 6, *s, *s, 2) if cube else (batch, *s, 2)), dtype, raster.device, 30 + k)
            for k, s in enumerate(sides)
        )
        uv, uv_da, bias = queries(cube, (10, 6), dtype, raster.device)
        boundary_mode = "cube" if cube else "wrap"
        check(tex, uv, uv_da, bias, mip, filter_mode=filter_mode, boundary_mode=boundary_mode)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cube", [False, True])
@pytest.mark.parametrize("top", [0, 1, 2])
def test_max_mip_level(raster, top, cube, dtype):
    tex = new_texture((1, 6, 9, 9, 2) if cube else (2, 20, 9, 2), dtype, raster.device)
    uv, uv_da, bias = queries(cube, (9, 9), dtype, raster.device)
    check(tex, uv, uv_da, bias, boundary_mode="cube" if cube else "wrap", top=top)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 4, 9, 20])
def test_any_number_of_channels(raster, channels, dtype):
    tex = new_texture((1, 11, 8, channels), dtype, raster.device)
    uv, uv_da, bias = queries(False, (11, 8), dtype, raster.device)
    check(tex, uv, uv_da, bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cube", [False, True])
@pytest.mark.parametrize("top", [None, 1])
def test_prebuilt_mip(raster, top, cube, dtype):
    """The opaque mip is the one that texture() builds by itself, with the same gradients."""
    tex = new_texture((2, 6, 7, 7, 3) if cube else (2, 13, 7, 3), dtype, raster.device)
    uv, uv_da, bias = queries(cube, (7, 7), dtype, raster.device)
    mip = dr.texture_construct_mip(tex, max_mip_level=top, cube_mode=cube)
    boundary_mode = "cube" if cube else "wrap"
    levels = [tex, *oracle.construct_mip(tex, top)]
    keep = decided(tex, uv, uv_da, bias, levels, "linear-mipmap-linear", cube)
    out = dr.texture(tex, uv, uv_da, bias, mip=mip, boundary_mode=boundary_mode)
    want = oracle.texture(tex, uv, uv_da, bias, boundary_mode=boundary_mode, max_mip_level=top)
    assert_agree(out[keep], want[keep], "out")
    c = scenes.random(out.shape, 11, -1, 1).to(out) * keep[..., None]
    got, expected = (gradients([o], [c], [tex, uv, uv_da, bias]) for o in (out, want))
    for k, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert_agree(one, other, f"gradient {k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_coordinates_that_have_no_place(raster, filter_mode, boundary_mode, dtype):
    cube = boundary_mode == "cube"
    tex = new_texture((1, 6, 8, 8, 3) if cube else (1, 8, 8, 3), dtype, raster.device)
    uv, uv_da, bias = queries(cube, (8, 8), dtype, raster.device)
    bad = torch.zeros(uv.shape[:-1], dtype=torch.bool, device=uv.device)
    with torch.no_grad():
        for k, value in enumerate((torch.nan, torch.inf, -torch.inf)):
            uv[0, k, :, k % 2] = value
            bad[0, k] = True
        if cube:
            uv[1, 3] = 0
            bad[1, 3] = True
    out = dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary_mode)
    assert not out[bad].any()
    assert out[~bad].isfinite().all() and out[~bad].any()
    c = torch.ones_like(out)
    c[~bad] = 0
    for gradient in gradients([out], [c], [tex, uv, uv_da, bias]):
        assert not gradient.any()  # neither NaN nor anything else
