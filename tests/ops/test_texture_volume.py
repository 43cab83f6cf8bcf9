"""Volume textures (docs/MATH.md, section 4), on every backend."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers import scenes
from helpers.gradients import assert_agree, gradients
from helpers.textures import F64, leaf, random
from reference import texture_volume as oracle

import diffrast.torch as dr

FILTERS = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BOUNDARIES = ["wrap", "clamp", "zero"]


def problem(device, size=(4, 5, 7), channels=2, batch=2, tex_batch=1, image=(3, 4), dtype=F64):
    """tex, uv, uv_da and bias as leaves; levels of detail from below 0 to above the last level."""
    uv = random(batch, *image, 3, seed=2, low=-1.2, high=1.7)
    scale = 2 ** random(batch, *image, 1, seed=3, low=-4.0, high=0.0)
    uv_da = random(batch, *image, 6, seed=4, low=-1.0, high=1.0) * scale
    bias = random(batch, *image, seed=5, low=-1.0, high=1.0)
    tex = random(tex_batch, *size, channels, seed=1)
    return [leaf(t.to(dtype), device) for t in (tex, uv, uv_da, bias)]


def pulled_back(out, inputs, seed=9):
    """Gradients of a random projection of out."""
    return gradients([out], [scenes.random(out.shape, seed, -1, 1).to(out)], inputs)


# --- Against the oracle, finite differences and torch -----------------------------------------------------------------


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(
    "filter_mode, levels", [(f, "both") for f in FILTERS] + [(f, one) for f in FILTERS[2:] for one in ("uv_da", "bias")]
)
def test_gradcheck(raster, filter_mode, boundary, levels):
    tex, uv, uv_da, bias = problem(raster.device)
    uv_da = None if levels == "bias" else uv_da
    bias = None if levels == "uv_da" else bias

    def run(tex, uv, uv_da, bias):
        return dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary)

    assert torch.autograd.gradcheck(run, (tex, uv, uv_da, bias))


@pytest.mark.parametrize("size", [(1, 6, 3), (8, 8, 8), (5, 1, 1)])
def test_gradcheck_custom_levels_and_a_volume_per_image(raster, size):
    tex, uv, uv_da, bias = problem(raster.device, size=size, tex_batch=2, image=(2, 3), channels=1)
    levels = [leaf(random(*t.shape, seed=8), raster.device) for t in dr.texture_construct_mip(tex).levels]

    def run(tex, uv, uv_da, bias, *levels):
        return dr.texture(tex, uv, uv_da, bias, mip=list(levels))

    assert torch.autograd.gradcheck(run, (tex, uv, uv_da, bias, *levels))


def decided(tex, levels, uv, uv_da, bias, filter_mode, margin):
    """Pixels whose voxels and levels do not hang on rounding."""
    p, mipmapped = uv.detach().double().flatten(0, -2), "mipmap" in filter_mode

    def clear(x):
        return (x - x.round()).abs() > margin

    keep = torch.ones(len(p), dtype=torch.bool, device=p.device)
    for one in levels if mipmapped else levels[:1]:
        size = torch.tensor([one.shape[3], one.shape[2], one.shape[1]], device=p.device)
        keep &= clear(p * size - (0 if filter_mode == "nearest" else 0.5)).all(-1)
    if mipmapped:
        size = (tex.shape[3], tex.shape[2], tex.shape[1])
        da = uv_da.detach().double().flatten(0, -2)
        level = oracle.level_of_detail(size, da, bias.detach().double().flatten())
        half = 0.5 if filter_mode == "linear-mipmap-nearest" else 0.0
        keep &= clear(level + half) | (level < -margin) | (level > len(levels) - 1 + margin)
        axes = torch.linalg.svdvals(da.unflatten(-1, (3, 2)) * torch.tensor(size, device=p.device)[:, None])
        keep &= (axes[:, 0] - axes[:, 1]) > 100 * margin * axes[:, 0]
    assert keep.float().mean() > 0.93
    return keep.view(uv.shape[:-1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_follows_the_oracle(raster, filter_mode, boundary, dtype):
    for tex_batch, size, channels in ((1, (6, 7, 5), 3), (2, (4, 16, 8), 4), (1, (1, 1, 1), 1), (2, (9, 1, 2), 5)):
        leaves = problem(raster.device, size, channels, 2, tex_batch, (9, 13), dtype)
        levels = [leaves[0], *oracle.construct_mip(leaves[0])]
        keep = decided(leaves[0], levels, *leaves[1:], filter_mode, 1e-9 if dtype == F64 else 2e-4)
        options = {"filter_mode": filter_mode, "boundary_mode": boundary}
        got, want = dr.texture(*leaves, **options), oracle.texture(*leaves, **options)
        assert_agree(got[keep], want[keep], "out")
        c = scenes.random(got.shape, 11, -1, 1).to(got) * keep[..., None]
        pairs = zip(*(gradients([o], [c], leaves) for o in (got, want)), strict=True)
        for name, (one, other) in zip(("tex", "uv", "uv_da", "mip_level_bias"), pairs, strict=True):
            assert_agree(one, other, f"gradient into {name}", terms=1)


@pytest.mark.parametrize("top", [0, 1, None])
def test_prebuilt_mip_and_max_mip_level(raster, top):
    leaves = problem(raster.device, size=(6, 13, 7), channels=3, tex_batch=2)
    mip = dr.texture_construct_mip(leaves[0], max_mip_level=top)
    want = oracle.texture(*leaves, max_mip_level=top)
    for out in (dr.texture(*leaves, mip=mip), dr.texture(*leaves, max_mip_level=top)):
        assert_agree(out, want, "out")
        for got, expected in zip(pulled_back(out, leaves), pulled_back(want, leaves), strict=True):
            assert_agree(got, expected, terms=1)


@pytest.mark.parametrize("boundary, padding", [("zero", "zeros"), ("clamp", "border"), ("wrap", None)])
@pytest.mark.parametrize("mode, theirs", [("nearest", "nearest"), ("linear", "bilinear")])
def test_agrees_with_grid_sample(raster, boundary, padding, mode, theirs):
    """torch calls interpolation within a volume "bilinear" as well."""
    tex = random(2, 4, 5, 7, 3, seed=1).to(raster.device)
    uv = random(2, 9, 11, 3, seed=2, low=-0.9, high=1.9).to(raster.device)
    volume, at = tex.permute(0, 4, 1, 2, 3), uv
    if padding is None:  # wrapping is sampling in the middle of copies
        volume, at, padding = volume.repeat(1, 1, 5, 5, 5), (uv + 2) / 5, "border"
    grid = (at * 2 - 1)[:, None]
    want = F.grid_sample(volume, grid, mode=theirs, padding_mode=padding, align_corners=False)
    got = dr.texture(tex, uv, filter_mode=mode, boundary_mode=boundary)
    torch.testing.assert_close(got, want[:, :, 0].permute(0, 2, 3, 1))


# --- What must hold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_mode", FILTERS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_volume_of_one_slice_is_a_texture(raster, boundary, filter_mode):
    tex, uv, uv_da, bias = problem(raster.device, size=(1, 6, 9), image=(8, 9))
    with torch.no_grad():
        uv[..., 2], uv_da[..., 4:] = 0.5, 0
    flat = [leaf(t.detach().clone(), raster.device) for t in (tex[:, 0], uv[..., :2], uv_da[..., :4], bias)]
    options = {"filter_mode": filter_mode, "boundary_mode": boundary}
    out, want = dr.texture(tex, uv, uv_da, bias, **options), dr.texture(*flat, **options)
    torch.testing.assert_close(out, want)
    g_tex, g_uv, g_da, g_bias = pulled_back(out, [tex, uv, uv_da, bias])
    for got, expected in zip((g_tex[:, 0], g_uv[..., :2], g_da[..., :4], g_bias), pulled_back(want, flat), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
@pytest.mark.parametrize("filter_mode", FILTERS)
def test_axes_are_all_alike(raster, filter_mode, order):
    """Renaming the axes of the volume, the coordinates and the derivatives changes nothing."""
    tex, uv, uv_da, bias = (t.detach() for t in problem(raster.device, size=(4, 6, 5), image=(6, 7)))
    want = dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode)
    back = [2 - k for k in order[::-1]]  # u, v, w run along the last, the middle and the first axis
    renamed = tex.permute(0, *(1 + k for k in order), 4)
    da = uv_da.unflatten(-1, (3, 2))[..., back, :].flatten(-2)
    torch.testing.assert_close(dr.texture(renamed, uv[..., back], da, bias, filter_mode=filter_mode), want)


def test_coordinates_run_as_documented(raster):
    """u along the width, v along the height, w along the depth; centres at (i + 1/2) / size."""
    D, Ht, Wt = 3, 4, 5
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=F64) for n in (D, Ht, Wt)), indexing="ij")
    tex = torch.stack([x, y, z], -1)[None].to(raster.device)
    size = torch.tensor([Wt, Ht, D], dtype=F64, device=raster.device)
    uv = ((tex + 0.5) / size).flatten(1, 2)
    for mode in ("nearest", "linear"):
        torch.testing.assert_close(dr.texture(tex, uv, filter_mode=mode), tex.flatten(1, 2))
    between = random(1, 6, 6, 3, low=0.3, high=0.7).to(raster.device)
    torch.testing.assert_close(dr.texture(tex, between), between * size - 0.5)


def test_level_is_log2_of_the_longest_axis(raster):
    tex = torch.zeros(1, 16, 32, 64, 1, dtype=F64, device=raster.device)
    levels = [torch.full_like(t, i + 1) for i, t in enumerate(dr.texture_construct_mip(tex).levels)]
    uv = random(1, 8, 8, 3).to(raster.device)
    uv_da = leaf(random(1, 8, 8, 6, low=-0.4, high=0.4), raster.device)
    got = dr.texture(tex, uv, uv_da, mip=levels)[..., 0]
    size = torch.tensor([[64.0], [32.0], [16.0]], dtype=F64, device=raster.device)
    want = torch.linalg.svdvals(uv_da.unflatten(-1, (3, 2)) * size)[..., 0].log2()
    assert want.min() > 0 and want.max() < 6
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(one.sum(), uv_da)[0] for one in (got, want)))


SIZES = [(1, 1, 1), (2, 2, 2), (5, 7, 3), (1, 9, 4), (9, 1, 1), (8, 6, 13), (16, 16, 16)]


@pytest.mark.parametrize("size", SIZES)
def test_levels_are_exact_averages(raster, size):
    tex = leaf(random(2, *size, 3), raster.device)
    levels, want = dr.texture_construct_mip(tex).levels, oracle.construct_mip(tex)
    assert [t.shape for t in levels] == [t.shape for t in want]
    assert len(levels) == max(size).bit_length() - 1
    for got, expected in zip(levels, want, strict=True):
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(got.mean((1, 2, 3)), tex.mean((1, 2, 3)))
    if levels:
        assert levels[-1].shape[1:4] == (1, 1, 1)
        cotangents = [scenes.random(t.shape, k, -1, 1).to(t) for k, t in enumerate(levels)]
        torch.testing.assert_close(gradients(levels, cotangents, [tex]), gradients(want, cotangents, [tex]))


def test_powers_of_two_are_averages_of_eight(raster):
    tex = random(1, 8, 4, 16, 2).to(raster.device)
    want = F.avg_pool3d(tex.permute(0, 4, 1, 2, 3), 2).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(dr.texture_construct_mip(tex).levels[0], want)


def test_the_boundary_mode_tells_a_cube_map_from_a_volume(raster):
    tex = random(1, 6, 4, 4, 2).to(raster.device)
    uv = random(1, 5, 5, 3).to(raster.device)
    assert not torch.equal(dr.texture(tex, uv), dr.texture(tex, uv, boundary_mode="cube"))
    assert [t.shape[1] for t in dr.texture_construct_mip(tex).levels] == [3, 1]
    assert [t.shape[1] for t in dr.texture_construct_mip(tex, cube_mode=True).levels] == [6, 6]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_coordinates_that_are_not_finite_sample_nothing(raster, boundary):
    tex, uv, uv_da, bias = problem(raster.device, image=(5, 7))
    bad = torch.zeros(uv.shape[:3], dtype=torch.bool, device=raster.device)
    with torch.no_grad():
        for k, value in enumerate([torch.nan, torch.inf, -torch.inf]):
            uv[0, k, k, k % 3], bad[0, k, k] = value, True
    for filter_mode in FILTERS:
        out = dr.texture(tex, uv, uv_da, bias, filter_mode=filter_mode, boundary_mode=boundary)
        assert not out[bad].any() and out[~bad].any()
        grad_tex, *rest = pulled_back(out, [tex, uv, uv_da, bias])
        assert grad_tex.isfinite().all() and all(g.isfinite().all() and not g[bad].any() for g in rest)


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, torch.nan, torch.inf])
def test_derivatives_of_any_size_stay_finite(raster, value):
    tex, uv, uv_da, _ = problem(raster.device, dtype=torch.float32)
    leaves = [tex, uv, torch.full_like(uv_da, value).requires_grad_()]
    out = dr.texture(*leaves)
    assert out.isfinite().all()
    assert all(g.isfinite().all() for g in pulled_back(out, leaves))


def test_nearest_counts_the_samples_of_each_voxel(raster):
    tex, uv, _, _ = problem(raster.device, size=(2, 3, 5), image=(20, 30), channels=1)
    out = dr.texture(tex, uv, filter_mode="nearest")
    grad_tex, grad_uv = torch.autograd.grad(out.sum(), (tex, uv))
    x, y, z = ((uv[..., k] * n).floor().long() % n for k, n in enumerate((5, 3, 2)))
    count = torch.bincount(((z * 3 + y) * 5 + x).flatten(), minlength=30)
    assert torch.equal(grad_tex.flatten(), count.to(F64))
    assert not grad_uv.any()


@pytest.mark.parametrize("filter_mode", FILTERS)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_float32_follows_float64(raster, channels, filter_mode):
    single = problem(raster.device, channels=channels, image=(6, 11), tex_batch=2, dtype=torch.float32)
    double = [leaf(t.detach().double(), raster.device) for t in single]
    results = []
    for leaves in (single, double):
        out = dr.texture(*leaves, filter_mode=filter_mode)
        results.append([out.detach(), *pulled_back(out, leaves)])
    for got, want in zip(*results, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=3e-5 * max(1.0, float(want.abs().max())))


def test_threads_change_rounding_only(raster):
    leaves = problem(raster.device, size=(5, 6, 9), image=(90, 100), channels=3, tex_batch=2)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = dr.texture(*leaves)
            results.append([out.detach(), *pulled_back(out, leaves)])
    finally:
        torch.set_num_threads(before)
    for one, three in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-11)


# --- Operators, and what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("filter_mode", FILTERS)
def test_opcheck(raster, filter_mode):
    tex, uv, uv_da, bias = problem(raster.device, size=(4, 4, 4))
    levels = [t.detach().requires_grad_() for t in (tex, *dr.texture_construct_mip(tex).levels)]
    args = (levels, uv, uv_da, bias, filter_mode, "wrap", 16)
    assert set(torch.library.opcheck(torch.ops.diffrast.texture.default, args).values()) == {"SUCCESS"}
    if filter_mode == FILTERS[3]:
        args = (tex, 2, uv, uv_da, bias, filter_mode, "wrap", 16)
        results = torch.library.opcheck(torch.ops.diffrast.texture_mipmapped.default, args)
        assert set(results.values()) == {"SUCCESS"}
        results = torch.library.opcheck(torch.ops.diffrast.texture_mip.default, (tex, 2, 3))
        assert set(results.values()) == {"SUCCESS"}


def test_compiles_to_one_graph(raster):
    leaves = problem(raster.device)
    compiled = torch.compile(dr.texture, backend="aot_eager", fullgraph=True)
    cotangent = scenes.random(dr.texture(*leaves).shape, 5, -1, 1).to(leaves[0])
    # No graph is retained: what torch compiles may give its buffers away in the backward.
    pairs = (torch.autograd.grad(f(*leaves), leaves, cotangent) for f in (compiled, dr.texture))
    for got, want in zip(*pairs, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"uv": torch.rand(2, 3, 5, 2)},
            r"uv must be .* \[B, H, W, 3\] \(u, v, w\) for a volume .*; got float32 \[2, 3, 5, 2\]",
        ),
        ({"uv_da": torch.rand(2, 3, 5, 4)}, r"uv_da must be float32 \[2, 3, 5, 6\]; got float32 \[2, 3, 5, 4\]"),
        (
            {"tex": torch.rand(3, 4, 4, 4, 1)},
            r"tex must be float32 \[B\|1, D, Ht, Wt, C\] with B=2 \(from uv\) for a volume; got",
        ),
        (
            {"tex": torch.rand(1, 0, 4, 4, 1)},
            r"tex must have 1 to 16777215 texels along each axis; got float32 \[1, 0, 4, 4, 1\]",
        ),
        (
            {"mip": [torch.rand(1, 6, 2, 2, 1)]},
            r"mip\[0\] must be float32 \[1, 3, 2, 2, 1\] \(level 1 of tex \[1, 6, 4, 4, 1\]\)",
        ),
        (
            {"mip": dr.texture_construct_mip(torch.rand(1, 6, 4, 4, 1), cube_mode=True)},
            r"mip\[0\] must be .* \[1, 3, 2, 2, 1\]",
        ),
    ],
)
def test_refused_with_a_message(changes, message):
    given = {"tex": torch.rand(1, 6, 4, 4, 1), "uv": torch.rand(2, 3, 5, 3), "uv_da": torch.rand(2, 3, 5, 6)}
    with pytest.raises(ValueError, match=message):
        dr.texture(**given | changes)
