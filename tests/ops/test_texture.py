"""Texture sampling (docs/MATH.md, section 4), on every backend."""

import pytest
import torch
import torch.nn.functional as F
from helpers.textures import F64, leaf, problem, random

import diffrast.torch as dr

FILTERS = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BOUNDARIES = ["wrap", "clamp", "zero", "cube"]


def gradients(out, inputs, seed=9):
    """Gradients of a random projection of out; zeros for an input that is not used."""
    cotangent = random(*out.shape, seed=seed, low=-1, high=1).to(out)
    return torch.autograd.grad(out, inputs, cotangent, allow_unused=True, materialize_grads=True)


# --- Gradients against finite differences -----------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "filter_mode, levels", [(f, "both") for f in FILTERS] + [(f, one) for f in FILTERS[2:] for one in ("uv_da", "bias")]
)
def test_gradcheck(raster, filter_mode, boundary, levels):
    tex, uv, uv_da, bias = problem(boundary, raster.device)
    uv_da = None if levels == "bias" else uv_da
    bias = None if levels == "uv_da" else bias

    def run(tex, uv, uv_da, bias):
        return dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary)

    assert torch.autograd.gradcheck(run, (tex, uv, uv_da, bias))


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size", [(1, 9), (6, 3), (8, 8)])
def test_gradcheck_custom_levels_and_a_texture_per_image(raster, boundary, size):
    tex, uv, uv_da, bias = problem(boundary, raster.device, size=size, tex_batch=2, image=(2, 3))
    levels = [
        torch.rand_like(t).requires_grad_() for t in dr.texture_construct_mip(tex, None, boundary == "cube").levels
    ]

    def run(tex, uv, uv_da, bias, *levels):
        return dr.texture(tex, uv, uv_da, bias, mip=list(levels), boundary_mode=boundary)

    assert torch.autograd.gradcheck(run, (tex, uv, uv_da, bias, *levels))


# --- Values against what torch and plain reasoning say ----------------------------------------------------------------


@pytest.mark.parametrize("boundary, padding", [("zero", "zeros"), ("clamp", "border"), ("wrap", None)])
@pytest.mark.parametrize("mode, theirs", [("nearest", "nearest"), ("linear", "bilinear")])
def test_agrees_with_grid_sample(raster, boundary, padding, mode, theirs):
    tex = random(2, 5, 7, 3, seed=1).to(raster.device)
    uv = random(2, 9, 11, 2, seed=2, low=-0.9, high=1.9).to(raster.device)
    image, at = tex.permute(0, 3, 1, 2), uv
    if padding is None:  # wrapping is sampling in the middle of 5 x 5 copies
        image, at, padding = image.repeat(1, 1, 5, 5), (uv + 2) / 5, "border"
    want = F.grid_sample(image, at * 2 - 1, mode=theirs, padding_mode=padding, align_corners=False)
    got = dr.texture(tex, uv, filter_mode=mode, boundary_mode=boundary)
    torch.testing.assert_close(got, want.permute(0, 2, 3, 1))


def test_level_is_log2_of_the_longest_axis(raster):
    """Levels that hold their own number make the sample the level of detail itself."""
    tex = torch.zeros(1, 32, 64, 1, dtype=F64, device=raster.device)
    levels = [torch.full_like(t, i + 1) for i, t in enumerate(dr.texture_construct_mip(tex).levels)]
    uv = random(1, 8, 8, 2).to(raster.device)
    uv_da, bias = (leaf(random(1, 8, 8, 4, low=-0.4, high=0.4), raster.device), leaf(random(1, 8, 8), raster.device))
    got = dr.texture(tex, uv, uv_da, bias, mip=levels)[..., 0]
    J = uv_da.unflatten(-1, (2, 2)) * torch.tensor([[64.0], [32.0]], dtype=F64, device=raster.device)
    want = torch.linalg.svdvals(J)[..., 0].log2() + bias
    assert want.min() > 0 and want.max() < 6
    torch.testing.assert_close(got, want)
    for ours, theirs in zip(gradients(got, (uv_da, bias)), gradients(want, (uv_da, bias)), strict=True):
        torch.testing.assert_close(ours, theirs)
    rounded = dr.texture(tex, uv, uv_da, bias, mip=levels, filter_mode="linear-mipmap-nearest")[..., 0]
    torch.testing.assert_close(rounded, (want + 0.5).floor())


def test_clamped_levels_have_no_derivative(raster):
    tex, uv, _, _ = problem("wrap", raster.device)
    for level in (-1.5, 7.5):
        bias = torch.full(uv.shape[:3], level, dtype=F64, device=raster.device).requires_grad_()
        out = dr.texture(tex, uv, mip_level_bias=bias)
        assert not gradients(out, [bias])[0].any()
        plain = dr.texture(tex, uv) if level < 0 else tex.mean((1, 2)).expand_as(out)
        torch.testing.assert_close(out, plain)


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "cube"])
@pytest.mark.parametrize("filter_mode", FILTERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16)])
def test_constant_stays_constant(raster, boundary, filter_mode, size):
    tex, uv, uv_da, bias = problem(boundary, raster.device, size=size, image=(10, 10))
    out = dr.texture(torch.full_like(tex, 0.7), uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary)
    torch.testing.assert_close(out, torch.full_like(out, 0.7))


def test_zero_boundary_is_zero_outside_and_takes_no_gradient_there(raster):
    tex, uv, _, _ = problem("zero", raster.device, size=(4, 4))
    far = leaf(uv.detach().frac().abs() + 2, raster.device)
    for mode in ("nearest", "linear"):
        out = dr.texture(tex, far, filter_mode=mode, boundary_mode="zero")
        assert not out.any()
        assert not any(g.any() for g in gradients(out, (tex, far)))


def test_nearest_counts_the_samples_of_each_texel(raster):
    tex, uv, _, _ = problem("wrap", raster.device, size=(3, 5), image=(20, 30), channels=1)
    out = dr.texture(tex, uv, filter_mode="nearest")
    grad_tex, grad_uv = torch.autograd.grad(out.sum(), (tex, uv))
    x, y = (uv[..., 0] * 5).floor().long() % 5, (uv[..., 1] * 3).floor().long() % 3
    count = torch.bincount((y * 5 + x).flatten(), minlength=15)
    assert torch.equal(grad_tex.flatten(), count.to(F64))
    assert not grad_uv.any()
    torch.testing.assert_close(out[..., 0], tex[0, y, x, 0])


# --- Numbers that are not finite, and beyond measure ------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_coordinates_that_are_not_finite_sample_nothing(raster, boundary):
    tex, uv, uv_da, bias = problem(boundary, raster.device, image=(5, 7))
    bad = torch.zeros(uv.shape[:3], dtype=torch.bool, device=raster.device)
    with torch.no_grad():
        for k, value in enumerate([torch.nan, torch.inf, -torch.inf]):
            uv[0, k, k, k % 2], bad[0, k, k] = value, True
        if boundary == "cube":
            uv[1, 2, 3], bad[1, 2, 3] = 0, True
    for filter_mode in FILTERS:
        out = dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary)
        assert not out[bad].any() and out[~bad].any()
        grad_tex, *rest = gradients(out, (tex, uv, uv_da, bias))
        assert grad_tex.isfinite().all() and all(g.isfinite().all() and not g[bad].any() for g in rest)
    tex_only = torch.autograd.grad(dr.texture(tex, uv, boundary_mode=boundary)[bad].sum(), tex)[0]
    assert not tex_only.any()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, torch.nan, torch.inf])
def test_derivatives_of_any_size_stay_finite(raster, boundary, value):
    tex, uv, uv_da, _ = problem(boundary, raster.device, dtype=torch.float32)
    uv_da = torch.full_like(uv_da, value).requires_grad_()
    out = dr.texture(tex, uv, uv_da, boundary_mode=boundary)
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in gradients(out, (tex, uv, uv_da)))


# --- Shapes, precision, repeats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["wrap", "cube"])
@pytest.mark.parametrize("tex_batch", [1, 3])
def test_a_batch_is_its_images_one_by_one(raster, boundary, tex_batch):
    leaves = problem(boundary, raster.device, batch=3, tex_batch=tex_batch, image=(5, 9), size=(6, 6))
    out = dr.texture(*leaves, boundary_mode=boundary)
    tex, *rest = leaves
    alone = [
        dr.texture(tex[k % tex_batch, None], *(t[k, None] for t in rest), boundary_mode=boundary) for k in range(3)
    ]
    torch.testing.assert_close(out, torch.cat(alone), rtol=0, atol=0)
    for got, want in zip(gradients(out, leaves), gradients(torch.cat(alone), leaves), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_float32_follows_float64(raster, boundary, channels, filter_mode):
    single = problem(boundary, raster.device, channels=channels, image=(6, 11), tex_batch=2, dtype=torch.float32)
    double = [leaf(t.detach().double(), raster.device) for t in single]
    results = []
    for leaves in (single, double):
        out = dr.texture(*leaves, filter_mode=filter_mode, boundary_mode=boundary)
        results.append([out.detach(), *gradients(out, leaves)])
    for got, want in zip(*results, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=3e-5 * max(1.0, float(want.abs().max())))


@pytest.mark.parametrize("image", [(0, 5), (1, 1), (1, 4099)])
def test_image_sizes(raster, image):
    leaves = problem("wrap", raster.device, image=image, dtype=torch.float32)
    out = dr.texture(*leaves)
    assert out.shape == (2, *image, 2)
    assert all(g.shape == t.shape and g.isfinite().all() for g, t in zip(gradients(out, leaves), leaves, strict=True))


def test_a_line_of_4096_texels(raster):
    tex = random(1, 1, 4096, 3, dtype=torch.float32).to(raster.device).requires_grad_()
    uv = random(1, 32, 32, 2, low=-3, high=3, dtype=torch.float32).to(raster.device)
    uv_da = torch.zeros(1, 32, 32, 4, device=raster.device)
    uv_da[..., 0] = 64.5 / 4096
    out = dr.texture(tex, uv, uv_da)
    assert (out - tex.mean()).abs().max() < 0.3  # means of 64 texels and more
    torch.testing.assert_close(
        torch.autograd.grad(out.sum(), tex)[0].sum(), torch.tensor(3.0 * 1024, device=raster.device)
    )


def test_repeats_to_the_bit(raster):
    leaves = problem("wrap", raster.device, size=(13, 9), image=(120, 100), channels=3, dtype=torch.float32)

    def run():
        out = dr.texture(*leaves)
        return [out.detach(), *gradients(out, leaves)]

    first = run()
    if raster.device.type != "cpu":  # sums by atomics come in any order
        first.pop(1)
    for _ in range(5):
        again = run()
        if raster.device.type != "cpu":
            again.pop(1)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_threads_change_rounding_only(raster):
    leaves = problem("wrap", raster.device, size=(13, 9), image=(120, 100), channels=3)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = dr.texture(*leaves)
            results.append([out.detach(), *gradients(out, leaves)])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-12)


# --- Registered operators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["wrap", "cube"])
@pytest.mark.parametrize("filter_mode", FILTERS)
@pytest.mark.parametrize("with_levels", [True, False])
def test_opcheck(raster, boundary, filter_mode, with_levels):
    tex, uv, uv_da, bias = problem(boundary, raster.device, size=(4, 4))
    levels = [tex.detach().requires_grad_()]
    if with_levels:
        levels += [t.detach().requires_grad_() for t in dr.texture_construct_mip(tex, None, boundary == "cube").levels]
    else:
        uv_da = bias = None
    args = (levels, uv, uv_da, bias, filter_mode, boundary, 16)
    assert set(torch.library.opcheck(torch.ops.diffrast.texture.default, args).values()) == {"SUCCESS"}


def test_compiles_to_one_graph(raster):
    leaves = problem("wrap", raster.device)
    compiled = torch.compile(dr.texture, backend="aot_eager", fullgraph=True)
    for got, want in zip(gradients(compiled(*leaves), leaves), gradients(dr.texture(*leaves), leaves), strict=True):
        torch.testing.assert_close(got, want)


def test_gradients_that_nobody_asks_for_are_not_made(raster):
    leaves = problem("wrap", raster.device)
    whole = gradients(dr.texture(*leaves), leaves)
    for wanted in range(4):
        some = [t if k == wanted else t.detach() for k, t in enumerate(leaves)]
        got = gradients(dr.texture(*some), [some[wanted]])[0]
        torch.testing.assert_close(got, whole[wanted], rtol=1e-12, atol=1e-14)


# --- What existing code does ------------------------------------------------------------------------------------------


def test_auto_is_trilinear_with_levels_and_linear_without(raster):
    tex, uv, uv_da, bias = problem("wrap", raster.device)
    trilinear = dr.texture(tex, uv, uv_da, filter_mode="linear-mipmap-linear")
    assert torch.equal(dr.texture(tex, uv, uv_da), trilinear)
    assert torch.equal(dr.texture(tex, uv), dr.texture(tex, uv, filter_mode="linear"))
    assert torch.equal(
        dr.texture(tex, uv, mip_level_bias=bias),
        dr.texture(tex, uv, mip_level_bias=bias, filter_mode="linear-mipmap-linear"),
    )
    assert not torch.equal(trilinear, dr.texture(tex, uv))


def test_what_a_filter_does_not_use_is_ignored(raster):
    tex, uv, uv_da, bias = problem("wrap", raster.device)
    mip = dr.texture_construct_mip(tex)
    for mode in ("nearest", "linear"):
        out = dr.texture(tex, uv, uv_da, bias, mip, filter_mode=mode)
        assert torch.equal(out, dr.texture(tex, uv, filter_mode=mode))
        assert not any(g.any() for g in gradients(out, (uv_da, bias)))


def test_bias_of_one_is_twice_the_derivatives(raster):
    tex, uv, uv_da, _ = problem("wrap", raster.device, size=(64, 64))
    bias = torch.ones(uv.shape[:3], dtype=F64, device=raster.device)
    torch.testing.assert_close(dr.texture(tex, uv, uv_da, bias), dr.texture(tex, uv, 2 * uv_da))


def test_any_memory_layout(raster):
    tex, uv, uv_da, bias = problem("wrap", raster.device)
    strange = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in (tex, uv, uv_da, bias)]
    assert torch.equal(dr.texture(*strange), dr.texture(tex, uv, uv_da, bias))
