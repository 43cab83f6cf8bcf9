"""antialias(mode="silhouette"), the published rule (docs/MATH.md, section 5), on every backend: values, topology,
operators."""

import math

import pytest
import torch
from helpers import scenes
from helpers.silhouettes import CPU, changed, colors, published, quad, rendered, two_faces
from hypothesis import given, settings
from hypothesis import strategies as st

import diffrast.torch as dr

# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("w", [1.0, 3.0])
def test_straight_edges_get_their_exact_coverage(raster, dtype, w):
    height, width = 16, 20
    left, right, bottom, top = 3.2, 15.85, 2.6, 12.05  # pixels
    box = (2 * left / width - 1, 2 * right / width - 1, 2 * bottom / height - 1, 2 * top / height - 1)
    pos, tri = (t.to(raster.device) for t in quad(*box, w, dtype))
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (height, width))
    out = published((rast[..., 3:] > 0).to(dtype), rast, pos, tri)[0, ..., 0].double().cpu()

    def covered(low, high, count):
        cell = torch.arange(count, dtype=torch.float64)
        return (torch.minimum(cell + 1, torch.tensor(high)) - torch.maximum(cell, torch.tensor(low))).clamp(0, 1)

    exact = covered(bottom, top, height)[:, None] * covered(left, right, width)
    row, column = torch.arange(height)[:, None], torch.arange(width)
    corner = ((row - bottom).abs().lt(2) | (row - top).abs().lt(2)) & (
        (column - left).abs().lt(2) | (column - right).abs().lt(2)
    )
    assert (out - exact)[~corner].abs().max() < 1e-6
    assert ((out > 0) & (out < 1)).sum() > 30


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 24),
    width=st.integers(1, 40),
    channels=st.integers(1, 5),
    count=st.integers(1, 60),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_stays_within_the_colours_of_the_neighbourhood(seed, height, width, channels, count, dtype):
    pos, _ = scenes.near(batch=2, count=count, seed=seed)
    tri = torch.randint(0, max(3, count), (count, 3), generator=scenes.generator(seed))  # vertices shared at random
    pos = pos.to(dtype)
    rast, _ = dr.rasterize(CPU, pos, tri, (height, width))
    color = colors(rast, channels, seed)
    out = published(color, rast, pos, tri)
    padded = torch.nn.functional.pad(color, (0, 0, 1, 1, 1, 1), value=math.nan)
    views = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    five = torch.stack([padded[:, y : y + height, x : x + width] for y, x in views])
    assert (out >= five.nan_to_num(math.inf).amin(0)).all() and (out <= five.nan_to_num(-math.inf).amax(0)).all()
    ids = torch.nn.functional.pad(rast[..., 3], (1, 1, 1, 1), value=math.nan)
    near = torch.stack([ids[:, y : y + height, x : x + width] for y, x in views])
    # A pixel whose neighbours show the same triangle keeps its colour.
    same = ((near == near[0]) | near.isnan()).all(0)
    assert torch.equal(out[same], color[same])


def sphere(rings=24, segments=40):
    """A closed convex mesh seen in perspective; wound counter-clockwise from outside."""
    vertices = [(0.0, 0.0, 1.0)]
    for r in range(1, rings):
        for s in range(segments):
            polar, turn = math.pi * r / rings, 2 * math.pi * (s + 0.37) / segments
            vertices.append((math.sin(polar) * math.cos(turn), math.sin(polar) * math.sin(turn), math.cos(polar)))
    vertices.append((0.0, 0.0, -1.0))
    last, tri = len(vertices) - 1, []
    for s in range(segments):
        t = (s + 1) % segments
        tri += [(0, 1 + s, 1 + t), (1 + (rings - 2) * segments + s, last, 1 + (rings - 2) * segments + t)]
        for r in range(rings - 2):
            a, b = 1 + r * segments, 1 + (r + 1) * segments
            tri += [(a + s, b + s, b + t), (a + s, b + t, a + t)]
    x, y, z = torch.tensor(vertices, dtype=torch.float64).unbind(-1)
    c, s = math.cos(0.7), math.sin(0.7)
    y, z = c * y - s * z, s * y + c * z
    w = 3 - z
    return torch.stack([2.2 * x, 2.2 * y, (5 * w - 8) / 3, w], -1)[None], torch.tensor(tri, dtype=torch.int32)


@pytest.mark.parametrize("turned", [False, True], ids=["outside", "inside out"])
def test_interior_edges_of_a_closed_mesh_are_untouched(raster, turned):
    pos, tri = (t.to(raster.device) for t in sphere())
    tri = tri.flip(1) if turned else tri
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (60, 60))
    color = colors(rast)
    out = published(color, rast, pos, tri)
    hit = torch.nn.functional.pad(rast[..., 3] > 0, (1, 1, 1, 1), mode="constant", value=True)
    inside = hit[:, 1:-1, 1:-1] & hit[:, :-2, 1:-1] & hit[:, 2:, 1:-1] & hit[:, 1:-1, :-2] & hit[:, 1:-1, 2:]
    ids = rast[..., 3]
    assert ids[inside].unique().numel() > 400
    assert torch.equal(out[inside], color[inside])
    assert changed(out, color).any()


def test_interior_edges_of_a_flat_grid_are_untouched(raster):
    rows, columns = 7, 9
    r, c = torch.meshgrid(torch.arange(rows + 1), torch.arange(columns + 1), indexing="ij")
    flat = torch.stack([1.3 * (2 * c / columns - 1), 1.3 * (2 * r / rows - 1)], -1).double().flatten(0, 1)
    w = 1.5 + 0.3 * flat[:, :1]
    pos = torch.cat([flat * w, 0.2 * w, w], -1)[None].to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, scenes.grid(rows, columns).to(raster.device), (33, 35))
    color = colors(rast)
    assert (rast[..., 3] > 0).all() and rast[..., 3].unique().numel() > 60
    assert torch.equal(published(color, rast, pos, scenes.grid(rows, columns).to(raster.device)), color)


def test_the_line_where_two_surfaces_intersect_is_untouched(raster):
    flat, tri = quad(-2, 2, -2, 2)
    steep = flat.clone()
    steep[..., 2] = 0.4 * flat[..., 0]
    pos, tri = torch.cat([flat, steep], 1).to(raster.device), torch.cat([tri, tri + 4]).to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (10, 10))
    assert rast[..., 3].unique().numel() == 4
    color = colors(rast)
    assert torch.equal(published(color, rast, pos, tri), color)


def test_culled_neighbours_do_not_count(raster):
    pos, tri = (t.to(raster.device) for t in two_faces())
    shown = {}
    for cull in ("none", "back", "front"):
        rast, _ = dr.rasterize(raster.ctx, pos, tri, (16, 16), cull=cull)
        color = (rast[..., 3:] > 0).double()
        out = published(color, rast, pos, tri, cull=cull)
        shown[cull] = changed(out, color)[0, 4:-4, 4:-4].sum().item()
    assert shown["none"] == 0 and shown["back"] > 5 and shown["front"] > 5


def test_a_fold_is_a_silhouette_and_its_front_hides_nothing_else(raster):
    """The neighbour lies on the same side of the edge (folded over), behind: the edge between them is blended."""
    pos = torch.tensor(
        [[[-0.9, -0.8, 0, 1], [0.1, -0.85, 0, 1], [0.13, 0.87, 0, 1], [-0.95, 0.5, 0.5, 1]]], dtype=torch.float64
    )
    tri = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    pos, tri = pos.to(raster.device), tri.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, (16, 16))
    color = (rast[..., 3:] > 0).double()
    edge = changed(published(color, rast, pos, tri), color)[0, 3:13, 7:11]
    assert edge.any(1).all(), "every row of the right-hand edge is blended"


# --- Topology ---------------------------------------------------------------------------------------------------------


def shared_edges(tri):
    """For each half-edge, the set of (half-edge, whether it runs in the same direction), the slow and obvious way."""
    edges = {}
    for f, corners in enumerate(tri.tolist()):
        for e in range(3):
            i, j = corners[(e + 1) % 3], corners[(e + 2) % 3]
            edges.setdefault((min(i, j), max(i, j)), []).append((3 * f + e, i < j, i))
    return edges


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 80), vertices=st.integers(1, 30))
def test_rings_join_the_triangles_on_each_edge(seed, count, vertices):
    tri = torch.randint(0, vertices, (count, 3), generator=scenes.generator(seed), dtype=torch.int32)
    ring = dr.antialias_construct_topology_hash(tri).ring.flatten().tolist()
    seen = 0
    for group in shared_edges(tri).values():
        start = {h: i for h, _, i in group}
        h, walked = group[0][0], []
        for _ in group:
            to = ring[h] if ring[h] >= 0 else ~ring[h]
            assert (ring[h] < 0) == (start[h] == start[to])
            walked.append(h)
            h = to
        assert h == group[0][0] and sorted(walked) == sorted(start)
        seen += len(walked)
    assert seen == 3 * count


def test_a_fan_of_ten_thousand_triangles(raster):
    count = 10_000
    turn = torch.linspace(0, 2 * math.pi, count + 1, dtype=torch.float64)[:-1]
    rim = torch.stack([0.81 * turn.cos(), 0.83 * turn.sin(), 0 * turn, 1 + 0 * turn], -1)
    pos = torch.cat([torch.tensor([[0.0, 0, 0, 1]]), rim])[None].to(raster.device)
    k = torch.arange(count)
    tri = torch.stack([0 * k, 1 + k, 1 + (k + 1) % count], -1).int().to(raster.device)
    size = (40, 40)
    rast, _ = dr.rasterize(raster.ctx, pos, tri, size)
    color = (rast[..., 3:] > 0).double()
    out = published(color, rast, pos, tri)
    noise = colors(rast)
    hit = torch.nn.functional.pad(color[..., 0] > 0, (1, 1, 1, 1))
    inside = hit[:, 1:-1, 1:-1] & hit[:, :-2, 1:-1] & hit[:, 2:, 1:-1] & hit[:, 1:-1, :-2] & hit[:, 1:-1, 2:]
    assert torch.equal(published(noise, rast, pos, tri)[inside], noise[inside])
    # Blending brings the area closer to that of the ellipse.
    area = math.pi * 0.81 * 0.83 * size[0] * size[1] / 4
    assert abs(out.sum().item() - area) <= abs(color.sum().item() - area) + 1e-9


@pytest.mark.parametrize("cull", ["none", "back"])
def test_many_triangles_per_pixel_take_the_other_way_to_the_same_result(raster, cull):
    """Silhouettes are tabulated only where there are fewer triangles than pixels."""
    pos, tri, rast = rendered("stacked", device=raster.device, cull=cull)
    color = colors(rast)
    padded = torch.cat([tri, tri.new_zeros((rast.shape[1] * rast.shape[2] + 1, 3))])
    want = published(color, rast, pos, tri, cull=cull)
    assert changed(want, color).any()
    assert torch.equal(published(color, rast, pos, padded, cull=cull), want)


def test_edges_are_found_again_when_the_triangles_change(raster):
    pos, tri = (t.to(raster.device) for t in two_faces())
    color = colors(rast := dr.rasterize(raster.ctx, pos, tri, (16, 16))[0])
    first = published(color, rast, pos, tri)
    assert torch.equal(published(color, rast, pos, tri), first)
    apart = torch.cat([pos, pos], 1)  # the same picture, with four more vertices
    assert torch.equal(published(color, rast, apart, tri), first)
    tri[1] += 4  # no longer joined along the diagonal
    second = published(color, rast, apart, tri)
    assert not torch.equal(second, first)
    assert torch.equal(published(color, rast, apart, tri, dr.antialias_construct_topology_hash(tri.clone())), second)


def test_given_topology_gives_the_same(raster):
    pos, tri, rast = rendered("sheet", device=raster.device)
    color = colors(rast)
    topology = dr.antialias_construct_topology_hash(tri.long()).to(raster.device)
    assert torch.equal(published(color, rast, pos, tri.long(), topology), published(color, rast, pos, tri))


# --- Operators, repeatability, bad input ------------------------------------------------------------------------------


def test_registered_operators(raster):
    pos, tri, rast = rendered("stacked", size=(7, 8), device=raster.device)
    color = colors(rast).requires_grad_()
    ring = dr.antialias_construct_topology_hash(tri).ring
    args = (color, rast, pos.requires_grad_(), tri, ring, 1.0, "none")
    torch.library.opcheck(torch.ops.diffrast.antialias.default, args)
    torch.library.opcheck(torch.ops.diffrast.topology.default, (tri,))
    _, pairs = torch.ops.diffrast.antialias(*args)
    args = (colors(rast, seed=4), color.detach(), rast, pos.detach(), tri, pairs, 1.0, True, True)
    torch.library.opcheck(torch.ops.diffrast.antialias_backward.default, args)


def test_compiles_to_one_graph(raster):
    pos, tri, rast = rendered("stacked", size=(7, 8), device=raster.device)
    color = colors(rast)
    topology = dr.antialias_construct_topology_hash(tri)
    for given_topology in (None, topology):

        def loss(p, topology=given_topology):
            return published(color, rast, p, tri, topology).square().sum()

        p = pos.clone().requires_grad_()
        (want,) = torch.autograd.grad(loss(p), p)
        (got,) = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(p), p)
        assert want.any() and torch.equal(got, want)


def test_results_repeat_bit_by_bit(raster):
    pos, tri, rast = rendered("soup", size=(150, 220), device=raster.device)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (2, 2, 1):
            torch.set_num_threads(count)
            inputs = colors(rast).requires_grad_(), pos.clone().requires_grad_()
            out = published(inputs[0], rast, inputs[1], tri)
            results.append((out.detach(), *torch.autograd.grad(out.square().sum(), inputs)))
    finally:
        torch.set_num_threads(threads)
    (out, color, position), again, single = results
    assert torch.equal(again[0], out) and torch.equal(again[1], color) and torch.equal(again[2], position)
    assert torch.equal(single[0], out) and torch.equal(single[1], color)
    assert torch.allclose(single[2], position, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_vertices_that_are_not_finite(raster, bad):
    """A broken neighbour covers nothing, so the edge that it shares is a silhouette; it gets no gradient."""
    pos, tri = quad(-0.83, 0.77, -0.81, 0.79)
    pos[0, 3, 1] = bad
    pos, tri = pos.to(raster.device).requires_grad_(), tri.to(raster.device)
    rast, _ = dr.rasterize(raster.ctx, pos.detach(), tri, (12, 12))
    color = (rast[..., 3:] > 0).double().requires_grad_()
    out = published(color, rast, pos, tri)
    middle = changed(out, color)[0][torch.eye(12, dtype=torch.bool, device=raster.device)]
    assert out.isfinite().all() and middle[3:9].all()
    for grad in torch.autograd.grad(out.square().sum(), (color, pos)):
        assert grad.isfinite().all() and grad.any()
    assert not torch.autograd.grad(published(color, rast, pos, tri).sum(), pos)[0][0, 3].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, 1e-320, 1e300])
def test_positions_that_do_not_belong_to_the_picture_never_give_nan(raster, bad):
    pos, tri, rast = rendered("stacked", device=raster.device)
    color = colors(rast).requires_grad_()
    for vertex in range(pos.shape[1]):
        broken = pos.clone()
        broken[:, vertex] = bad
        broken.requires_grad_()
        out = published(color, rast, broken, tri)
        for value in (out, *torch.autograd.grad(out.square().sum(), (color, broken))):
            assert value.isfinite().all()


def test_images_without_neighbours_and_meshes_without_triangles(raster):
    pos, tri = (t.to(raster.device) for t in quad(-0.5, 0.5, -0.5, 0.5))
    for size in ((1, 1), (1, 9), (9, 1)):
        rast, _ = dr.rasterize(raster.ctx, pos, tri, size)
        color = colors(rast).requires_grad_()
        out = published(color, rast, pos, tri)
        assert out.shape == color.shape and changed(out, color).any() == (max(size) > 1)
    rast, _ = dr.rasterize(raster.ctx, pos, tri[:0], (6, 5))
    color = colors(rast).requires_grad_()
    out = published(color, rast, pos, tri[:0])
    assert torch.equal(out, color)
    assert torch.equal(torch.autograd.grad(out.sum(), color)[0], torch.ones_like(color))


def test_strided_inputs(raster):
    pos, tri, rast = rendered("stacked", device=raster.device)
    color = colors(rast)
    want = published(color, rast, pos, tri)
    strided = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (color, rast, pos)]
    assert not any(t.is_contiguous() for t in strided)
    assert torch.equal(published(*strided, tri.t().contiguous().t().long()), want)


BAD = {
    "color rank": (
        {"color": lambda a: a["color"][0]},
        ValueError,
        r"antialias\(\): color must be float64 \[B, H, W, C\]",
    ),
    "color size": ({"color": lambda a: a["color"][:, :-1]}, ValueError, r"color must be .* = 2, 13, 14 \(from rast\)"),
    "color batch": ({"color": lambda a: a["color"][:1]}, ValueError, r"color must be .*; got float64 \[1, 13, 14, 3\]"),
    "color dtype": ({"color": lambda a: a["color"].float()}, ValueError, "color must be float64 .*; got float32"),
    "color type": ({"color": lambda a: 0.5}, TypeError, "color must be a tensor.*; got float 0.5"),
    "rast shape": ({"rast": lambda a: a["rast"][..., :3]}, ValueError, r"rast must be .* \[B, H, W, 4\]; got"),
    "rast dtype": ({"rast": lambda a: a["rast"].half()}, ValueError, "rast must be float32 or float64"),
    "pos batch": (
        {"pos": lambda a: a["pos"][[0, 0, 0]]},
        ValueError,
        r"pos must be .*\[B\|1, V, 4\] with B=2 \(from rast\); got",
    ),
    "pos shape": ({"pos": lambda a: a["pos"][..., :3]}, ValueError, r"pos must be float64 \[V, 4\] or"),
    "pos dtype": ({"pos": lambda a: a["pos"].float()}, ValueError, "pos must be float64 .*; got float32"),
    "tri shape": ({"tri": lambda a: a["tri"][:, :2]}, ValueError, r"tri must be int32 or int64 \[F, 3\]; got"),
    "tri dtype": ({"tri": lambda a: a["tri"].double()}, ValueError, "tri must be int32 or int64"),
    "index too high": (
        {"tri": lambda a: a["tri"] + 3},
        ValueError,
        r"indices in \[0, 7\) \(from pos\); got indices in \[3, 9\]",
    ),
    "index negative": ({"tri": lambda a: a["tri"] - 1}, ValueError, r"tri must hold vertex indices in \[0, 7\)"),
    "index beyond int32": ({"tri": lambda a: a["tri"].long() + 2**32}, ValueError, "tri must hold vertex indices"),
    "topology type": (
        {"topology_hash": lambda a: a["tri"]},
        TypeError,
        "topology_hash must be None or made by .*; got int32",
    ),
    "topology of another mesh": (
        {"topology_hash": lambda a: dr.antialias_construct_topology_hash(a["tri"][:3])},
        ValueError,
        "topology_hash must be of the 5 triangles of tri; got one of 3",
    ),
    "topology elsewhere": (
        {"topology_hash": lambda a: dr.antialias_construct_topology_hash(a["tri"]).to("meta")},
        ValueError,
        "topology_hash must be on .* like tri .*; got one on meta",
    ),
    "boost": (
        {"pos_gradient_boost": lambda a: "much"},
        TypeError,
        "pos_gradient_boost must be a number; got str 'much'",
    ),
    "cull": ({"cull": lambda a: "both"}, ValueError, "cull must be one of 'none', 'back', 'front'; got 'both'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(raster, case):
    change, error, message = BAD[case]
    pos, tri, rast = rendered("stacked", device=raster.device)
    arguments = {"color": colors(rast), "rast": rast, "pos": pos, "tri": tri}
    arguments.update({name: wrong(arguments) for name, wrong in change.items()})
    with pytest.raises(error, match=message):
        published(**arguments)


def test_bad_triangles_for_a_topology():
    name = r"antialias_construct_topology_hash\(\): tri must be"
    with pytest.raises(ValueError, match=rf"{name} int32 or int64 \[F, 3\]; got float32 \[4, 3\]"):
        dr.antialias_construct_topology_hash(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=rf"{name} .*; got int32 \[3\]"):
        dr.antialias_construct_topology_hash(torch.zeros(3, dtype=torch.int32))
    with pytest.raises(TypeError, match=rf"{name} a tensor"):
        dr.antialias_construct_topology_hash([[0, 1, 2]])
