"""Rules of rasterization (docs/MATH.md, sections 1 and 2), on every backend."""

import math

import pytest
import torch
from helpers.scenes import grid_mesh, grid_positions
from hypothesis import given, settings
from hypothesis import strategies as st

import diffrast.torch as dr

CPU = dr.RasterizeContext(backend="cpu")


def triangle_ids(pos, tri, resolution, ranges=None, **options):
    """Visible triangle of each pixel, -1 for none."""
    return dr.triangle_id(dr.rasterize(CPU, pos, tri, resolution, ranges, **options)[0])


def claims(pos, tri, resolution):
    """How many of the triangles cover each pixel centre, each rasterized alone."""
    count = tri.shape[0]
    ranges = torch.stack([torch.arange(count), torch.ones(count, dtype=torch.long)], 1).int()
    return (triangle_ids(pos, tri, resolution, ranges) >= 0).sum(0)


# --- Watertightness ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_jittered_mesh_claims_every_pixel_once(seed, height, width, dtype):
    g = torch.Generator().manual_seed(seed)
    pos = grid_positions(6, 6).to(getattr(torch, dtype))
    inner = (pos[:, :2].abs() < 1.2).all(1)
    jitter = (
        torch.rand(pos.shape[0], 2, generator=g).to(pos.dtype) - 0.5
    ) * 0.2  # small enough that no triangle folds over
    pos[inner, :2] += jitter[inner]
    pos *= torch.exp(3 * torch.randn(pos.shape[0], 1, generator=g)).to(pos.dtype)  # any positive w is the same picture
    assert (claims(pos, grid_mesh(6, 6), (height, width)) == 1).all()


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (16, 4)])
def test_vertices_and_edges_exactly_on_pixel_centres(size):
    height, width = size
    # A grid whose vertices are all pixel centres, so every row and column of centres is an edge.
    y, x = torch.meshgrid(torch.arange(-1, height + 1), torch.arange(-1, width + 1), indexing="ij")
    pos = (
        torch.stack([(2 * x + 1 - width) / width, (2 * y + 1 - height) / height, 0 * x, 0 * x + 1], -1)
        .double()
        .reshape(-1, 4)
    )
    assert (claims(pos, grid_mesh(height + 1, width + 1), size) == 1).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), on_centre=st.booleans())
def test_a_fan_of_slivers_claims_every_pixel_once(seed, on_centre):
    g = torch.Generator().manual_seed(seed)
    angles = torch.sort(torch.rand(200, generator=g) * 2 * math.pi).values
    angles = torch.cat([angles, torch.arange(8) * math.pi / 4]).sort().values
    centre = torch.tensor([[1 / 16, -3 / 16]]) if on_centre else torch.rand(1, 2, generator=g) * 0.5
    rim = centre + 4 * torch.stack([angles.cos(), angles.sin()], 1)
    xy = torch.cat([centre, rim])
    pos = torch.cat([xy, torch.zeros(len(xy), 1), torch.ones(len(xy), 1)], 1)
    k = torch.arange(len(rim))
    tri = torch.stack([torch.zeros_like(k), k + 1, (k + 1) % len(rim) + 1], 1).int()
    assert (claims(pos, tri, (16, 16)) == 1).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_ground_plane_through_the_near_plane_and_behind_the_eye(seed):
    """Every pixel whose ray meets the plane between near and far is claimed once, every other pixel never."""
    g = torch.Generator().manual_seed(seed)
    rows = columns = 8
    height, width = 24, 32
    pitch, eye, near, far = (0.9 * torch.rand(1, generator=g) - 0.3).item(), 0.7, 0.3, 5.0
    ground = grid_positions(rows, columns, -40.0, 40.0).double()
    ground[:, :2] += 4 * torch.rand(ground.shape[0], 2, generator=g).double()
    x, z = ground[:, 0], ground[:, 1]
    c, s = math.cos(pitch), math.sin(pitch)
    ye, ze = -eye * c - z * s, -eye * s + z * c
    a, b = -(far + near) / (far - near), -2 * far * near / (far - near)
    pos = torch.stack([x, ye, a * ze + b, -ze], 1)
    assert (pos[:, 3] <= 0).any() and (pos[:, 3] > 0).any()
    got = claims(pos, grid_mesh(rows, columns), (height, width))
    # The same by intersecting rays: t (X, Y, -1) meets the plane c y + s z = -eye at t = -eye / (c Y - s).
    Y = ((2 * torch.arange(height) + 1 - height) / height).double()
    t = (-eye / (c * Y - s))[:, None].expand(height, width)
    expected = (t > near) & (t < far)
    assert ((t - near).abs() > 1e-6).all() and ((t - far).abs() > 1e-6).all()
    assert torch.equal(got, expected.long())


# --- Depth, ties, faces -----------------------------------------------------------------------------------------------


def quad(z, w=1.0, size=0.9, dtype=torch.float32):
    xy = torch.tensor([[-size, -size], [size, -size], [size, size], [-size, size]], dtype=dtype)
    return torch.cat([xy, torch.full((4, 1), z, dtype=dtype), torch.ones(4, 1, dtype=dtype)], 1) * w


QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def stack_of(*quads):
    pos = torch.cat(quads)[None]
    tri = torch.cat([QUAD + 4 * k for k in range(len(quads))])
    return pos, tri


def test_nearest_wins_and_ties_go_to_the_lower_index(raster):
    pos, tri = stack_of(quad(0.5), quad(-0.25, w=3.0), quad(-0.25), quad(0.0))
    rast, _ = dr.rasterize(raster.ctx, pos.to(raster.device), tri.to(raster.device), (16, 16))
    ids = dr.triangle_id(rast)[rast[..., 3] > 0]
    assert ids.numel() > 0
    assert set(ids.tolist()) == {2, 3}
    assert torch.allclose(rast[..., 2][rast[..., 3] > 0], torch.tensor(-0.25, device=raster.device))


def test_depth_outside_the_clip_volume_is_not_drawn(raster):
    for z, drawn in ((-1.01, False), (-1.0, True), (1.0, True), (1.01, False)):
        rast, _ = dr.rasterize(raster.ctx, quad(z)[None].to(raster.device), QUAD.to(raster.device), (8, 8))
        assert bool((rast[..., 3] > 0).any()) == drawn, z


def test_depth_peeling_gives_all_layers_in_order(raster):
    pos, tri = stack_of(quad(0.5), quad(-0.5), quad(0.0), quad(-0.5))
    pos, tri = pos.to(raster.device), tri.to(raster.device)
    layers = []
    with dr.DepthPeeler(raster.ctx, pos, tri, (8, 8)) as peeler:
        for _ in range(5):
            rast, rast_db = peeler.rasterize_next_layer()
            assert rast_db.shape == rast.shape
            layers.append(dr.triangle_id(rast)[0, 4, 4].item() // 2)
    assert layers == [1, 3, 2, 0, -1]
    first, _ = dr.rasterize(raster.ctx, pos, tri, (8, 8))
    with dr.DepthPeeler(raster.ctx, pos, tri, (8, 8)) as peeler:
        assert torch.equal(peeler.rasterize_next_layer()[0], first)


def test_layers_are_the_sorted_fragments_of_a_random_soup():
    g = torch.Generator().manual_seed(5)
    pos = torch.rand(1, 60, 4, generator=g, dtype=torch.float64) * 2 - 1
    pos[..., 3] = 1
    tri = torch.arange(60, dtype=torch.int32).reshape(20, 3)
    one_each = torch.tensor([[k, 1] for k in range(20)], dtype=torch.int32)
    alone, _ = dr.rasterize(CPU, pos[0], tri, (16, 16), one_each)
    fragments = torch.where(alone[..., 3] > 0, alone[..., 2], math.inf).sort(0).values
    with dr.DepthPeeler(CPU, pos, tri, (16, 16)) as peeler:
        for k in range(20):
            rast, _ = peeler.rasterize_next_layer()
            depth = torch.where(rast[0, ..., 3] > 0, rast[0, ..., 2], math.inf)
            assert torch.allclose(depth, fragments[k], atol=1e-12)


def test_culling_by_the_winding_on_screen(raster):
    front, back = QUAD.to(raster.device), QUAD.flip(1).to(raster.device)
    pos = quad(0.0)[None].to(raster.device)
    for tri, culled in ((front, "front"), (back, "back")):
        for cull in ("none", "front", "back"):
            rast, _ = dr.rasterize(raster.ctx, pos, tri, (8, 8), cull=cull)
            assert bool((rast[..., 3] > 0).any()) == (cull != culled)


def test_degenerate_and_non_finite_triangles_cover_nothing_and_get_no_gradient(raster):
    good = torch.tensor([[-0.9, -0.9, 0.5, 1], [0.9, -0.9, 0.5, 1], [0, 0.9, 0.5, 1]])
    nan, inf = math.nan, math.inf
    bad = torch.tensor(
        [
            [nan, 0, 0, 1],
            [inf, 0, 0, 1],
            [0, 0, nan, 1],
            [0, 0, 0, inf],
            [0, 0, 0, 0],
            [-0.5, -0.5, -0.5, 1],
            [0.5, 0.5, -0.5, 1],
            [0.1, 0.1, -0.5, 1],
        ]
    )
    tri = torch.tensor(
        [[0, 1, 3], [0, 4, 2], [5, 1, 2], [6, 1, 2], [7, 7, 7], [0, 0, 1], [8, 9, 10], [7, 8, 9], [0, 1, 2]]
    )
    pos = torch.cat([good, bad])[None].to(raster.device).requires_grad_()
    rast, rast_db = dr.rasterize(raster.ctx, pos, tri.to(raster.device), (16, 16))
    seen = set(dr.triangle_id(rast).unique().tolist())
    assert seen <= {-1, 7, 8} and 8 in seen
    assert torch.isfinite(rast).all() and torch.isfinite(rast_db).all()
    (rast[..., :2].sum() + rast_db.sum()).backward()
    assert torch.isfinite(pos.grad).all()
    assert (pos.grad[0, 3:7] == 0).all()


# --- Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 8192), (8192, 3), (5, 1), (129, 65)])
def test_any_image_size(raster, size):
    pos = (quad(0.25, size=1.5)[None]).to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, QUAD.to(raster.device), size)
    assert rast.shape == (1, *size, 4)
    assert (rast[..., 3] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_triangles_and_no_vertices(raster, dtype):
    tri = torch.zeros(0, 3, dtype=torch.int32, device=raster.device)
    for vertices in (0, 4):
        pos = torch.zeros(2, vertices, 4, dtype=dtype, device=raster.device, requires_grad=True)
        rast, rast_db = dr.rasterize(raster.ctx, pos, tri, (4, 5))
        assert rast.shape == (2, 4, 5, 4) and not rast.any() and not rast_db.any()
        rast.sum().backward()
        assert pos.grad is not None and not pos.grad.any()


@pytest.mark.exact_coverage
def test_five_million_triangles(raster):
    rows = columns = 1581
    pos = grid_positions(rows, columns, -1.1, 1.1)
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    a = (r * (columns + 1) + c).reshape(-1).int()
    tri = torch.cat(
        [torch.stack([a, a + 1, a + columns + 2], 1), torch.stack([a, a + columns + 2, a + columns + 1], 1)]
    )
    assert tri.shape[0] > 4_990_000
    rast, _ = dr.rasterize(raster.ctx, pos[None].to(raster.device), tri.to(raster.device), (256, 256))
    assert (rast[..., 3] > 0).all()
    x = (2 * torch.arange(256) + 1 - 256) / 256
    out, _ = dr.interpolate(pos[:, :2].contiguous().to(raster.device), rast, tri.to(raster.device))
    assert torch.allclose(out[0, 3, :, 0].cpu(), x, atol=1e-5)


def test_ids_beyond_the_integers_of_float32(raster):
    count = 2**24 + 5
    tri = torch.zeros(count, 3, dtype=torch.int32, device=raster.device)
    tri[-4:-2] = QUAD.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, quad(0.0)[None].to(raster.device), tri, (8, 8))
    assert set(dr.triangle_id(rast).unique().tolist()) == {count - 4, count - 3}
    out, _ = dr.interpolate(quad(0.0).to(raster.device), rast, tri)
    covered = rast[0, ..., 3] > 0
    assert torch.allclose(out[0][covered][:, 3], torch.ones((), device=raster.device))


def test_many_views_equal_single_views(raster):
    g = torch.Generator().manual_seed(1)
    pos = torch.randn(5, 30, 4, generator=g).to(raster.device)
    tri = torch.randint(0, 30, (40, 3), generator=g).to(raster.device)
    together, together_db = dr.rasterize(raster.ctx, pos, tri, (20, 30))
    for k in range(5):
        rast, rast_db = dr.rasterize(raster.ctx, pos[k : k + 1], tri, (20, 30))
        assert torch.equal(rast[0], together[k]) and torch.equal(rast_db[0], together_db[k])


def test_ranges_draw_their_triangles_only(raster):
    pos, tri = stack_of(quad(0.5), quad(-0.5), quad(0.0))
    pos, tri = pos[0].to(raster.device), tri.to(raster.device)
    ranges = torch.tensor([[0, 2], [2, 4], [4, 0], [0, 6]], dtype=torch.int32)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (8, 8), ranges=ranges)
    seen = [set(dr.triangle_id(image).unique().tolist()) - {-1} for image in rast]
    assert seen == [{0, 1}, {2, 3}, set(), {2, 3}]


def test_the_result_does_not_depend_on_the_number_of_threads():
    g = torch.Generator().manual_seed(2)
    pos = torch.randn(1, 3000, 4, generator=g)
    tri = torch.randint(0, 3000, (5000, 3), generator=g).int()
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(dr.rasterize(CPU, pos, tri, (200, 300)))
    finally:
        torch.set_num_threads(before)
    for rast, rast_db in results[1:]:
        assert torch.equal(rast, results[0][0]) and torch.equal(rast_db, results[0][1])


# --- Gradients --------------------------------------------------------------------------------------------------------


def gradient_scene(device):
    """Perspective triangles at different depths, one with a vertex behind the eye."""
    pos = torch.tensor(
        [
            [-0.9, -0.8, 0.1, 1.0],
            [1.7, -1.5, 0.9, 2.0],
            [-0.1, 0.6, -0.1, 0.7],
            [0.9, 0.9, 0.2, 1.3],
            [-1.4, 1.3, 0.3, 1.5],
            [0.2, -0.3, -0.4, -0.3],
        ],
        dtype=torch.float64,
        device=device,
    )
    tri = torch.tensor([[0, 1, 2], [2, 1, 3], [0, 2, 4], [3, 4, 5]], device=device)
    return pos, tri


@pytest.mark.parametrize("mode", ["instanced", "ranges"])
def test_gradcheck(raster, mode):
    pos, tri = gradient_scene(raster.device)
    ranges = None
    if mode == "instanced":
        pos = torch.stack([pos, pos * 1.1 + 0.013])
    else:
        ranges = torch.tensor([[0, 4], [1, 2]], dtype=torch.int32)
    pos.requires_grad_()

    def uv_and_derivatives(p):
        rast, rast_db = dr.rasterize(raster.ctx, p, tri, (7, 9), ranges)
        return rast[..., :2], rast_db

    assert (uv_and_derivatives(pos)[1] != 0).sum() > 40
    assert torch.autograd.gradcheck(uv_and_derivatives, (pos,), atol=1e-6)


def test_gradcheck_of_a_peeled_layer(raster):
    pos, tri = gradient_scene(raster.device)
    pos = torch.cat([pos, pos * torch.tensor([0.9, 0.9, 1, 1]) + torch.tensor([0, 0, 0.6, 0])]).to(raster.device)[None]
    tri = torch.cat([tri, tri + 6])
    pos.requires_grad_()

    def second_layer(p):
        with dr.DepthPeeler(raster.ctx, p, tri, (7, 9)) as peeler:
            peeler.rasterize_next_layer()
            rast, rast_db = peeler.rasterize_next_layer()
        return rast[..., :2], rast_db

    assert (second_layer(pos)[0] != 0).any()
    assert torch.autograd.gradcheck(second_layer, (pos,), atol=1e-6)


def test_grad_db_false_cuts_the_gradient_of_the_derivatives(raster):
    pos, tri = gradient_scene(raster.device)
    pos = pos[None].requires_grad_()
    _, rast_db = dr.rasterize(raster.ctx, pos, tri, (8, 8), grad_db=False)
    assert not rast_db.requires_grad


def test_depth_and_id_carry_no_gradient(raster):
    pos, tri = gradient_scene(raster.device)
    pos = pos[None].requires_grad_()
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (8, 8))
    (grad,) = torch.autograd.grad(rast[..., 2:].sum(), pos)
    assert not grad.any()


def test_registered_operators(raster):
    pos, tri = gradient_scene(raster.device)
    pos, tri = pos[None].requires_grad_(), tri.int()
    ids, _ = torch.ops.diffrast.visibility(pos.detach(), tri, None, 8, 8, "none", raster.name, None, None, False)
    torch.library.opcheck(torch.ops.diffrast.resolve, (pos, tri, ids, True))
    torch.library.opcheck(torch.ops.diffrast.resolve, (pos, tri, ids, False))
    arguments = (pos.detach(), tri, None, 8, 8, "none", raster.name, None, None, True)
    torch.library.opcheck(torch.ops.diffrast.visibility, arguments)


def test_compiles_without_graph_breaks(raster):
    pos, tri = gradient_scene(raster.device)
    pos, tri = pos[None].float().requires_grad_(), tri.int()

    def loss(p):
        rast, rast_db = dr.rasterize(raster.ctx, p, tri, (8, 8))
        out, out_da = dr.interpolate(p, rast, tri, rast_db, "all")
        return (out**2).sum() + (out_da**2).sum()

    (want,) = torch.autograd.grad(loss(pos), pos)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(compiled(pos), pos)
    assert torch.allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_homogeneous_coordinates_of_any_scale(raster, scale, dtype):
    pos, tri = gradient_scene(raster.device)
    want, want_db = dr.rasterize(raster.ctx, pos[None].to(dtype), tri, (8, 8))
    scaled = (pos[None] * scale).to(dtype).requires_grad_()
    rast, rast_db = dr.rasterize(raster.ctx, scaled, tri, (8, 8))
    assert torch.allclose(rast, want, atol=1e-5) and torch.allclose(rast_db, want_db, atol=1e-5)
    rast[..., :2].sum().backward()
    assert scaled.grad is not None and torch.isfinite(scaled.grad).all() and scaled.grad.any()
