"""The anisotropic filter (docs/MATH.md, section 4), on every backend."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from helpers.textures import F64, leaf, problem, random
from reference import texture as oracle_2d
from reference import texture_anisotropic as oracle

import diffrast.torch as dr

BOUNDARIES = ["wrap", "clamp", "zero"]


def anisotropic(*arguments, **options):
    return dr.texture(*arguments, filter_mode="anisotropic", **options)


def footprints(ratio, angle, minor, size):
    """uv_da [1, 1, N, 4] of ellipses with these axes (texels, minor: the short one) and direction, for a texture of
    this size."""
    ratio, angle, minor = torch.broadcast_tensors(*(torch.as_tensor(t, dtype=F64) for t in (ratio, angle, minor)))
    c, s = angle.cos(), angle.sin()
    J = torch.stack([ratio * minor * c, -minor * s, ratio * minor * s, minor * c], -1)
    return (J / torch.tensor([size, size, size, size], dtype=F64)).reshape(1, 1, -1, 4)


# --- Against the oracle and finite differences ------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("most", [1, 2, 5, 16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradcheck(raster, boundary, most, with_bias):
    tex, uv, uv_da, bias = problem(boundary, raster.device, size=(9, 7))
    inputs = (tex, uv, uv_da, bias) if with_bias else (tex, uv, uv_da)

    def run(*inputs):
        return anisotropic(*inputs, boundary_mode=boundary, max_anisotropy=most)

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("tex_batch", [1, 2])
@pytest.mark.parametrize("own_levels", [True, False])
def test_gradcheck_with_levels_that_are_given(raster, tex_batch, own_levels):
    tex, uv, uv_da, bias = problem("wrap", raster.device, size=(8, 13), tex_batch=tex_batch, image=(2, 3))
    levels = [leaf(random(*t.shape, seed=7), raster.device) for t in dr.texture_construct_mip(tex, 2).levels]

    def run(tex, uv, uv_da, bias, *levels):
        mip = list(levels) if own_levels else dr.texture_construct_mip(tex, 2)
        return anisotropic(tex, uv, uv_da, bias, mip=mip, max_anisotropy=6)

    assert torch.autograd.gradcheck(run, (tex, uv, uv_da, bias, *(levels if own_levels else [])))


def queries(shape, size, dtype, device):
    """uv, uv_da and bias; long footprints in all directions, from below a texel to above a hundred."""
    uv = random(*shape, 2, seed=2, low=-1.2, high=2.2)
    n = math.prod(shape)
    ratio, minor = 2 ** random(n, seed=3, low=0.1, high=6), 2 ** random(n, seed=4, low=-3, high=1)
    da = footprints(ratio, random(n, seed=5, high=6.3), minor, 1).view(*shape, 2, 2)
    turn = random(n, seed=8, high=6.3).view(shape)  # of the pixel: any directions of X and Y
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], -1).unflatten(-1, (2, 2))
    da = (da @ rotation) / torch.tensor(size[::-1], dtype=F64)[:, None]
    bias = random(*shape, seed=6, low=-1, high=1)
    return [leaf(t.to(dtype), device) for t in (uv, da.flatten(-2), bias)]


def decided(tex, levels, uv, uv_da, bias, most, margin):
    """Pixels where neither texels, taps, levels nor cases hang on rounding."""
    size = torch.tensor([tex.shape[2], tex.shape[1]], dtype=F64, device=uv.device)
    J = uv_da.detach().double().flatten(0, -2).unflatten(-1, (2, 2)) * size[:, None]
    width, step, count = oracle.line_of_taps(J, most)
    major, minor = torch.linalg.svdvals(J).unbind(-1)

    def clear(x, unit=1.0):
        return (x / unit - (x / unit).round()).abs() > margin

    level = width.log2() + bias.detach().double().flatten()
    keep = clear(level) | (level < -margin) | (level > len(levels) - 1 + margin)
    for a, b in ((minor, major / most), (width, 1), (major, 1), (major, minor)):
        keep &= (a - b).abs() > 20 * margin * major
    keep &= clear((count - 1) / 2) | (count == 1) | (count == most)
    st = uv.detach().double().flatten(0, -2)
    reach = int(((count.max() - 1) / 2).ceil())
    for k in range(-reach, reach + 1):
        at = st + k * step / size
        for one in levels:
            keep &= clear(at * torch.tensor([one.shape[2], one.shape[1]], device=uv.device) - 0.5).all(-1)
    return keep.view(uv.shape[:-1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("size, channels, most", [((16, 16), 3, 16), ((7, 20), 4, 4), ((33, 9), 5, 64), ((1, 1), 1, 3)])
def test_follows_the_oracle(raster, boundary, size, channels, most, dtype):
    batch = 2
    tex = leaf(random(batch, *size, channels, seed=1).to(dtype), raster.device)
    uv, uv_da, bias = queries((batch, 8, 11), size, dtype, raster.device)
    levels = [tex, *oracle_2d.construct_mip(tex)]
    keep = decided(tex, levels, uv, uv_da, bias, most, 1e-9 if dtype == F64 else 3e-5)
    assert keep.float().mean() > 0.85
    options = {"boundary_mode": boundary, "max_anisotropy": most}
    got, want = anisotropic(tex, uv, uv_da, bias, **options), oracle.texture(tex, uv, uv_da, bias, **options)
    tolerance = 1e-11 if dtype == F64 else 1e-4  # coordinates: hundreds of texels
    assert_agree(got[keep], want[keep], "out", tolerance)
    c = scenes.random(got.shape, 11, -1, 1).to(got) * keep[..., None]
    inputs = {"tex": tex, "uv": uv, "uv_da": uv_da, "mip_level_bias": bias}
    pairs = zip(*(gradients([o], [c], list(inputs.values())) for o in (got, want)), strict=True)
    for name, (one, other) in zip(inputs, pairs, strict=True):
        assert_agree(one, other, f"gradient into {name}", tolerance, terms=1)


# --- What it is for ---------------------------------------------------------------------------------------------------


def grazing_plane(raster, resolution, degrees=80.0, half=0.08):
    """uv [1, H, W, 2] and uv_da of a plane whose normal makes this angle with the line of sight."""
    tilt = math.radians(90 - degrees)
    corners = torch.tensor([[0.5, -9, 0], [60, -9, 0], [60, 9, 0], [0.5, 9, 0]], dtype=F64)
    ray = corners - torch.tensor([0, 0, 1.0], dtype=F64)  # from the eye
    ahead = torch.tensor([math.cos(tilt), 0, -math.sin(tilt)], dtype=F64)
    up = torch.tensor([math.sin(tilt), 0, math.cos(tilt)], dtype=F64)
    depth = ray @ ahead
    clip = torch.stack([-ray[:, 1] / half, ray @ up / half, depth - 0.2, depth], -1)[None]
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=raster.device)
    rast, rast_db = dr.rasterize(raster.ctx, clip.float().to(raster.device), tri, (resolution, resolution))
    assert (rast[..., 3] > 0).all()
    uv = corners[None, :, :2].float().to(raster.device) / 3.7
    return dr.interpolate(uv, rast, tri, rast_db, diff_attrs="all")


@pytest.mark.parametrize("kind", ["noise", "smooth noise", "checkers"])
def test_a_grazing_plane_comes_closer_to_supersampling_than_trilinear(raster, kind):
    """At least 1.5 dB for 80 degrees; the reference has 64 bilinear samples in each pixel."""
    size, resolution, samples = 256, 64, 8
    noise = random(1, size, size, 3, dtype=torch.float32).permute(0, 3, 1, 2)
    checkers = ((torch.arange(size) // 8)[:, None] + torch.arange(size) // 8).remainder(2).float()
    image = {
        "noise": noise,
        "smooth noise": F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="circular"), 5, 1),
        "checkers": checkers.expand(1, 3, size, size),
    }[kind]
    tex = image.permute(0, 2, 3, 1).contiguous().to(raster.device)
    fine, _ = grazing_plane(raster, resolution * samples)
    want = F.avg_pool2d(dr.texture(tex, fine, filter_mode="linear").permute(0, 3, 1, 2), samples)
    want = want.permute(0, 2, 3, 1)
    uv, uv_da = grazing_plane(raster, resolution)

    def psnr(out):
        return float(-10 * (out - want).square().mean().log10())

    trilinear = psnr(dr.texture(tex, uv, uv_da, filter_mode="linear-mipmap-linear"))
    followed = {most: psnr(anisotropic(tex, uv, uv_da, max_anisotropy=most)) for most in (2, 4, 16)}
    assert followed[16] > trilinear + 1.5, (trilinear, followed)
    assert trilinear < followed[2] < followed[4] < followed[16], (trilinear, followed)


def test_one_is_trilinear(raster):
    for boundary in BOUNDARIES:
        leaves = problem(boundary, raster.device, size=(12, 16), image=(8, 9))
        out = anisotropic(*leaves, boundary_mode=boundary, max_anisotropy=1)
        want = dr.texture(*leaves, filter_mode="linear-mipmap-linear", boundary_mode=boundary)
        torch.testing.assert_close(out, want)
        pairs = zip(gradients([out], [out.detach()], leaves), gradients([want], [want.detach()], leaves), strict=True)
        for got, expected in pairs:
            torch.testing.assert_close(got, expected)


def test_a_round_footprint_is_trilinear(raster):
    tex = random(1, 32, 32, 2).to(raster.device)
    n = 60
    uv = random(1, 1, n, 2, seed=2).to(raster.device)
    uv_da = footprints(1.0, random(n, seed=3, high=6.3), 2 ** random(n, seed=4, low=-2, high=5), 32).to(raster.device)
    torch.testing.assert_close(anisotropic(tex, uv, uv_da), dr.texture(tex, uv, uv_da))
    mirrored = uv_da * torch.tensor([1, -1, 1, -1], dtype=F64, device=raster.device)
    torch.testing.assert_close(anisotropic(tex, uv, mirrored), dr.texture(tex, uv, uv_da))
    leaves = [leaf(t, raster.device) for t in (tex, uv, uv_da)]
    out = anisotropic(*leaves)
    assert all(g.isfinite().all() for g in gradients([out], [out.detach()], leaves))


def test_a_line_of_known_texels(raster):
    """A footprint of 4 x 1 texels, along the width, is the mean of 4 texels of a row: taps 1/2, 1, 1, 1, 1/2."""
    tex = random(1, 8, 16, 1).to(raster.device)
    uv = torch.tensor([(7 + 0.5) / 16, (3 + 0.5) / 8], dtype=F64, device=raster.device).view(1, 1, 1, 2)
    uv_da = torch.tensor([4 / 16, 0, 0, 1 / 8], dtype=F64, device=raster.device).view(1, 1, 1, 4)
    row = tex[0, 3, 5:10, 0]
    want = (row[0] / 2 + row[1] + row[2] + row[3] + row[4] / 2) / 4
    torch.testing.assert_close(anisotropic(tex, uv, uv_da).squeeze(), want)
    swapped = anisotropic(tex.transpose(1, 2), uv.flip(-1), uv_da[..., [2, 3, 0, 1]])  # along the height
    torch.testing.assert_close(swapped.squeeze(), want)
    turned = anisotropic(tex, uv, uv_da[..., [1, 0, 3, 2]])  # X and Y of the screen exchanged
    torch.testing.assert_close(turned.squeeze(), want)


def test_nothing_jumps_when_taps_come_and_go(raster):
    """Neither as the footprint gets longer, nor as it turns (the direction of its axis has two signs)."""
    tex = random(1, 64, 64, 1).to(raster.device)
    n = 4001
    along = torch.linspace(0, 1, n, dtype=F64)
    ways = {
        "longer": footprints(1 + 20 * along, torch.tensor(0.7, dtype=F64), 1.3, 64),
        "wider": footprints(5.0, torch.tensor(2.0, dtype=F64), 0.2 + 3 * along, 64),
        "turning": footprints(7.3, 2 * math.pi * along, 1.7, 64),
        "through a circle": footprints(0.5 + along, torch.tensor(0.3, dtype=F64), 2.5, 64),
        "through a mirror image": footprints(3.0, torch.tensor(0.3, dtype=F64), 1.5, 64)
        * torch.stack([1 + 0 * along, 1 - 2 * along, 1 + 0 * along, 1 - 2 * along], -1),
    }
    uv = torch.tensor([0.412, 0.377], dtype=F64).expand(1, 1, n, 2)
    for name, uv_da in ways.items():
        out = anisotropic(tex, uv.to(raster.device), uv_da.to(raster.device)).squeeze()
        assert out.std() > 1e-3, name
        assert out.diff().abs().max() < 0.02, name  # tap weights alone are 0.05 and more


@pytest.mark.parametrize("boundary", ["wrap", "clamp"])
def test_constant_stays_constant(raster, boundary):
    tex, uv, uv_da, bias = problem(boundary, raster.device, size=(16, 11), image=(20, 20))
    out = anisotropic(torch.full_like(tex, 0.7), uv, 8 * uv_da, bias, boundary_mode=boundary)
    torch.testing.assert_close(out, torch.full_like(out, 0.7))


def test_a_ramp_stays_a_ramp(raster):
    """Taps lie evenly on both sides, so a linear texture gives its value at the middle, and its slope."""
    ramp = torch.arange(64, dtype=F64)
    tex = (ramp[:, None] * 2 + ramp)[None, ..., None].to(raster.device)
    uv = leaf(random(1, 9, 9, 2, low=0.4, high=0.6), raster.device)
    uv_da = random(1, 9, 9, 4, seed=3, low=-0.1, high=0.1).to(raster.device)
    out = anisotropic(tex, uv, uv_da, boundary_mode="clamp")
    torch.testing.assert_close(out[..., 0], uv[..., 0] * 64 - 0.5 + 2 * (uv[..., 1] * 64 - 0.5))
    slope = torch.autograd.grad(out.sum(), uv)[0]
    torch.testing.assert_close(slope, torch.tensor([64.0, 128.0], dtype=F64, device=raster.device).expand_as(slope))


def test_bias_shifts_the_level_alone(raster):
    tex = torch.zeros(1, 64, 64, 1, dtype=F64, device=raster.device)
    levels = [torch.full_like(t, i + 1) for i, t in enumerate(dr.texture_construct_mip(tex).levels)]
    uv_da = footprints(6.0, 0.4, 2.0, 64).to(raster.device)
    uv = torch.full((1, 1, 1, 2), 0.3, dtype=F64, device=raster.device)
    for most, width in ((16, 2.0), (3, 4.0)):
        for bias in (0.0, 0.7, -0.4):
            shift = torch.full((1, 1, 1), bias, dtype=F64, device=raster.device)
            out = anisotropic(tex, uv, uv_da, shift, mip=levels, max_anisotropy=most)
            assert float(out) == pytest.approx(math.log2(width) + bias)


# --- Numbers of any size, shapes, operators ---------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_coordinates_that_are_not_finite_sample_nothing(raster, boundary):
    tex, uv, uv_da, bias = problem(boundary, raster.device, image=(5, 7))
    bad = torch.zeros(uv.shape[:3], dtype=torch.bool, device=raster.device)
    with torch.no_grad():
        for k, value in enumerate([torch.nan, torch.inf, -torch.inf]):
            uv[0, k, k, k % 2], bad[0, k, k] = value, True
    out = anisotropic(tex, uv, uv_da, bias, boundary_mode=boundary)
    assert not out[bad].any() and out[~bad].any()
    grad_tex, *rest = gradients([out], [torch.ones_like(out)], [tex, uv, uv_da, bias])
    assert grad_tex.isfinite().all() and all(g.isfinite().all() and not g[bad].any() for g in rest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-12, 1e12, 1e18, 1e30, torch.nan, torch.inf])
def test_derivatives_of_any_size_stay_finite(raster, value, one, dtype):
    """All four, or one beside ordinary ones: footprints that are points, lines, endless, or no numbers."""
    tex, uv, uv_da, _ = problem("wrap", raster.device, dtype=dtype)
    uv_da = uv_da.detach().clone()
    uv_da[..., 1 if one else slice(None)] = value
    leaves = [tex, uv, leaf(uv_da, raster.device)]
    out = anisotropic(*leaves)
    assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1
    assert all(g.isfinite().all() for g in gradients([out], [torch.ones_like(out)], leaves))


def test_a_footprint_that_is_a_line(raster):
    """Derivatives in one direction only: the minor axis is zero, the width that of the longest taps allowed."""
    tex, uv, _, _ = problem("wrap", raster.device, size=(32, 32), image=(4, 5))
    uv_da = torch.zeros(2, 4, 5, 4, dtype=F64)
    uv_da[..., 0], uv_da[..., 2] = 12 / 32, 9 / 32
    leaves = [tex, uv, leaf(uv_da, raster.device)]
    out = anisotropic(*leaves, max_anisotropy=4)
    assert all(g.isfinite().all() for g in gradients([out], [out.detach()], leaves))
    level = torch.full((2, 4, 5), math.log2(15 / 4), dtype=F64, device=raster.device)
    step = torch.tensor([3.0, 2.25], dtype=F64, device=raster.device) / 32
    taps = [dr.texture(tex, uv + k * step, mip_level_bias=level) for k in (-2, -1, 0, 1, 2)]
    torch.testing.assert_close(out, (taps[0] / 2 + taps[1] + taps[2] + taps[3] + taps[4] / 2) / 4)


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_float32_follows_float64(raster, channels):
    single = problem("wrap", raster.device, size=(9, 12), channels=channels, image=(6, 11), dtype=torch.float32)
    double = [leaf(t.detach().double(), raster.device) for t in single]
    results = []
    for leaves in (single, double):
        out = anisotropic(*leaves)
        cotangent = scenes.random(out.shape, 3, -1, 1).to(out)
        results.append([out.detach(), *gradients([out], [cotangent], leaves)])
    for got, want in zip(*results, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=5e-5 * max(1.0, float(want.abs().max())))


@pytest.mark.parametrize("image", [(0, 5), (1, 1), (1, 4099)])
def test_image_sizes(raster, image):
    leaves = problem("wrap", raster.device, image=image, dtype=torch.float32)
    out = anisotropic(*leaves)
    assert out.shape == (2, *image, 2)
    grads = gradients([out], [torch.ones_like(out)], leaves)
    assert all(g.shape == t.shape and g.isfinite().all() for g, t in zip(grads, leaves, strict=True))


def test_threads_change_rounding_only(raster):
    leaves = problem("wrap", raster.device, size=(13, 9), image=(90, 100), channels=3)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = anisotropic(*leaves, max_anisotropy=4)
            results.append([out.detach(), *gradients([out], [torch.ones_like(out)], leaves)])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-11)


def test_gradients_that_nobody_asks_for_are_not_made(raster):
    leaves = problem("wrap", raster.device)
    out = anisotropic(*leaves)
    cotangent = out.detach()
    whole = gradients([out], [cotangent], leaves)
    for wanted in range(4):
        some = [t if k == wanted else t.detach() for k, t in enumerate(leaves)]
        (got,) = gradients([anisotropic(*some)], [cotangent], [some[wanted]])
        torch.testing.assert_close(got, whole[wanted], rtol=1e-12, atol=1e-14)


def test_opcheck(raster):
    tex, uv, uv_da, bias = problem("wrap", raster.device, size=(4, 4))
    levels = [t.detach().requires_grad_() for t in (tex, *dr.texture_construct_mip(tex).levels)]
    args = (levels, uv, uv_da, bias, "anisotropic", "wrap", 5)
    assert set(torch.library.opcheck(torch.ops.diffrast.texture.default, args).values()) == {"SUCCESS"}


def test_compiles_to_one_graph(raster):
    leaves = problem("wrap", raster.device)
    compiled = torch.compile(anisotropic, backend="aot_eager", fullgraph=True)
    outs = compiled(*leaves, max_anisotropy=7), anisotropic(*leaves, max_anisotropy=7)
    torch.testing.assert_close(*outs)
    pairs = (torch.autograd.grad(out, leaves, torch.ones_like(out)) for out in outs)
    for got, want in zip(*pairs, strict=True):
        torch.testing.assert_close(got, want)


# --- What is refused --------------------------------------------------------------------------------------------------


def arguments(**changes):
    given = {"tex": torch.rand(1, 4, 8, 3), "uv": torch.rand(2, 3, 5, 2), "uv_da": torch.rand(2, 3, 5, 4)}
    return given | {"filter_mode": "anisotropic"} | changes


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"uv_da": None}, r"texture\(\): filter_mode 'anisotropic' needs uv_da, which .*; got None"),
        ({"uv_da": None, "mip_level_bias": torch.rand(2, 3, 5)}, r"'anisotropic' needs uv_da"),
        ({"uv_da": torch.rand(2, 3, 5, 2)}, r"uv_da must be float32 \[2, 3, 5, 4\]; got float32 \[2, 3, 5, 2\]"),
        ({"max_anisotropy": 0}, r"max_anisotropy must be an integer in \[1, 64\]; got 0"),
        ({"max_anisotropy": 65}, r"max_anisotropy must be an integer in \[1, 64\]; got 65"),
        (
            {"tex": torch.rand(1, 6, 4, 4, 3), "uv": torch.rand(2, 3, 5, 3), "boundary_mode": "cube"},
            r"'anisotropic' is for 2-D textures; got a cube map \(boundary_mode 'cube'\), use 'linear-mipmap-linear'",
        ),
        (
            {"tex": torch.rand(1, 6, 4, 4, 3), "uv": torch.rand(2, 3, 5, 3)},
            r"'anisotropic' is for 2-D textures; got a volume, use 'linear-mipmap-linear'",
        ),
    ],
)
def test_refused_with_a_message(changes, message):
    with pytest.raises(ValueError, match=message):
        dr.texture(**arguments(**changes))


@pytest.mark.parametrize("value", [1.5, True, "16", None])
def test_max_anisotropy_of_another_type(value):
    with pytest.raises(TypeError, match=r"max_anisotropy must be an integer in \[1, 64\]; got"):
        dr.texture(**arguments(max_anisotropy=value))
