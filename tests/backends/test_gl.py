"""What OpenGL draws, beside what the CPU draws; helpers/edges.py says where triangles have to be the same."""

import logging
import math

import pytest
import torch
from helpers import scenes
from helpers.backends_here import needs_gl
from helpers.edges import assert_differs_on_edges_only

import diffrast.torch as dr
from diffrast import backends
from diffrast.backends import gl, gl_draw
from diffrast.backends.sources import source_folder
from diffrast.io import load_mesh

pytestmark = needs_gl

CPU = dr.RasterizeContext(backend="cpu")


def compare(ctx, pos, tri, resolution, ranges=None, cull="none", most=None):
    """Ids differ on edges only, and where they are the same, everything is, to the last bit."""
    got, got_db = dr.rasterize(ctx, pos, tri, resolution, ranges, cull=cull)
    want, want_db = dr.rasterize(CPU, pos, tri, resolution, ranges, cull=cull)
    ids, want_ids = dr.triangle_id(got), dr.triangle_id(want)
    assert_differs_on_edges_only(ids, want_ids, pos, tri, most)
    same = ids == want_ids
    assert torch.equal(got[same], want[same]) and torch.equal(got_db[same], want_db[same])
    return ids


def perspective(points, distance, focal=2.5, near=0.1, far=10.0):
    x, y, z = points.unbind(-1)
    z = z - distance
    depth = -(far + near) / (far - near) * z - 2 * far * near / (far - near)
    return torch.stack([focal * x, focal * y, depth, -z], -1).float()


# --- The shaders ------------------------------------------------------------------------------------------------------


def test_every_shader_compiles_under_the_version_that_it_names(painter):
    files = sorted(source_folder("shaders").glob("*.*"))
    shaders = {f.name: f.read_text() for f in files if f.suffix != ".md"}
    assert set(shaders) == {"visibility.vert", "visibility.geom", "visibility.frag", "peel.frag"}
    for name, text in shaders.items():
        assert text.startswith("#version 430 core\n"), name
    for fragment in ("visibility.frag", "peel.frag"):  # as they are, linked through the geometry shader
        program = painter.gl.program(
            vertex_shader=shaders["visibility.vert"],
            geometry_shader=shaders["visibility.geom"],
            fragment_shader=shaders[fragment],
        )
        assert "tile" in program
        program.release()


@pytest.mark.parametrize("cull", [0, 1])
def test_layers_by_the_geometry_shader_are_the_same(painter, cull):
    pos, tri = scenes.soup(3, 14)
    shape = (3, 20, 30)

    def two_layers():
        before, drawn = {}, []
        for _ in range(2):
            ids, depth = torch.empty(shape, dtype=torch.int32), torch.empty(shape)
            painter.visibility(backends.Visibility(pos.float(), tri, ids, depth, **before, cull=cull))
            before, drawn = {"before_depth": depth, "before_id": ids}, [*drawn, ids, depth]
        return drawn

    by_vertex = two_layers()
    assert (by_vertex[0] > 0).any() and (by_vertex[2] > 0).any()
    painter.programs = gl_draw.Programs(painter.gl, layer_by_vertex=False)
    for got, want in zip(two_layers(), by_vertex, strict=True):
        # The planes of depth come out of the pipeline with other last bits.
        assert torch.equal(got, want) if got.dtype == torch.int32 else torch.allclose(got, want, atol=1e-6)


# --- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cull", ["none", "back", "front"])
@pytest.mark.parametrize("scene", scenes.SCENES)
def test_scenes(ctx, scene, cull):
    pos, tri = scenes.SCENES[scene]()
    for resolution in ((16, 32), (1, 1), (7, 5), (3, 64), (33, 17), (200, 300)):
        compare(ctx, pos.float(), tri, resolution, cull=cull)


def test_edges_and_corners_exactly_on_pixel_centres_are_exact(ctx):
    """Where snapping moves nothing, the rules are the same, on the edges too."""
    for resolution in ((16, 32), (8, 4)):
        pos, tri = scenes.lattice(resolution)
        pos = pos.float()
        ids = dr.triangle_id(dr.rasterize(ctx, pos, tri, resolution)[0])
        assert torch.equal(ids, dr.triangle_id(dr.rasterize(CPU, pos, tri, resolution)[0]))


@pytest.mark.parametrize("scene", ["soup", "near", "lattice", "ball"])
def test_peeled_layers(ctx, scene):
    pos, tri = scenes.SCENES[scene]()
    pos = pos.float()
    with dr.DepthPeeler(ctx, pos, tri, (48, 40)) as one, dr.DepthPeeler(CPU, pos, tri, (48, 40)) as other:
        layers = 0
        for _ in range(6):
            got, want = (dr.triangle_id(p.rasterize_next_layer()[0]) for p in (one, other))
            assert_differs_on_edges_only(got, want, pos, tri)
            layers += bool((got >= 0).any())
    assert layers >= 2


def test_the_picture_that_the_figures_are_of(ctx):
    """A sphere of 1.3k triangles at 1024x1024: at most 1e-4 of the pixels differ."""
    u, v = torch.meshgrid(torch.linspace(0, math.pi, 19), torch.linspace(0, 2 * math.pi, 37), indexing="ij")
    points = torch.stack([u.sin() * v.cos(), u.sin() * v.sin(), u.cos()], -1).reshape(-1, 3)
    tri = scenes.grid_mesh(18, 36)
    ids = compare(ctx, perspective(points, 3.0)[None], tri, (1024, 1024), most=1e-4)
    assert (ids >= 0).float().mean() > 0.4


def test_a_fine_mesh_differs_no_more(ctx):
    """20k triangles at 1024x1024, where snapping alone moves 1.5e-4 of the pixels: what cuda/repair.cu is for."""
    u, v = torch.meshgrid(torch.linspace(0, math.pi, 72), torch.linspace(0, 2 * math.pi, 143), indexing="ij")
    points = torch.stack([u.sin() * v.cos(), u.cos(), u.sin() * v.sin()], -1).flatten(0, 1)
    compare(ctx, perspective(points, 3.0)[None], scenes.grid(71, 142), (1024, 1024), most=1e-4)


def test_slivers_are_covered_where_they_are_or_not_at_all(ctx):
    """A millionth of a pixel wide, or of no area: snapped vertices would show them, with depths from anywhere."""
    corner = scenes.random((4000, 1, 2), 0, -1, 1)
    along = scenes.random((4000, 1, 2), 1, -0.3, 0.3)
    off = scenes.random((4000, 1, 2), 2, -1e-6, 1e-6)
    wide = torch.arange(4000) % 2 == 1  # the others have two corners in one place
    xy = torch.cat([corner, corner + along, torch.where(wide.view(-1, 1, 1), corner + 2 * along + off, corner)], 1)
    z = scenes.random((4000, 3, 1), 3, -0.9, 0.9)
    pos = torch.cat([xy, z, torch.ones_like(z)], -1).reshape(1, -1, 4).float()
    tri = torch.arange(12000, dtype=torch.int32).view(-1, 3)
    rast, rast_db = dr.rasterize(ctx, pos, tri, (256, 256))
    assert rast.isfinite().all() and rast_db.isfinite().all()
    assert rast[..., 2].abs().max() <= 0.9
    seen = dr.triangle_id(rast).unique()
    assert wide[seen[seen >= 0]].all()


@pytest.mark.parametrize("name", ["bunny/stanford-bunny.obj", "spot/spot_triangulated.obj"])
def test_real_meshes(ctx, data_folder, name):
    mesh = load_mesh(data_folder / name)
    points = mesh.vertices - (mesh.vertices.amax(0) + mesh.vertices.amin(0)) / 2
    points = (points / points.norm(dim=1).max()).double()
    turn = torch.linalg.qr(torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    pos = torch.stack([perspective(points @ t, 3.0) for t in turn])
    ids = compare(ctx, pos, mesh.faces.int(), (160, 200), most=5e-3)
    assert (ids >= 0).float().mean() > 0.1


def test_a_ground_plane_through_the_near_plane_and_behind_the_eye(ctx):
    ground = scenes.grid_positions(12, 12, -40.0, 40.0).double()
    x, z = ground[:, 0], ground[:, 1]
    c, s = math.cos(0.2), math.sin(0.2)
    ye, ze = -0.7 * c - z * s, -0.7 * s + z * c
    near, far = 0.3, 30.0
    a, b = -(far + near) / (far - near), -2 * far * near / (far - near)
    pos = torch.stack([x, ye, a * ze + b, -ze], 1).float()[None]
    assert (pos[..., 3] < 0).any()
    ids = compare(ctx, pos, scenes.grid_mesh(12, 12), (97, 128))
    assert 0.2 < (ids >= 0).float().mean() < 0.9


def test_equal_surfaces_go_to_the_lower_index(ctx):
    """Triangles of the same corners have the same depths in OpenGL too; of others in one plane that is not promised."""
    pos, tri = scenes.soup(1, 14)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    tri = torch.cat([tri[order], tri, tri[order.flip(0)]])
    ids = dr.triangle_id(dr.rasterize(ctx, pos.float(), tri, (64, 64))[0])
    assert ids.max() < 14 and ids.max() >= 0
    with dr.DepthPeeler(ctx, pos.float(), tri, (64, 64)) as peeler:
        first, second, third = (dr.triangle_id(peeler.rasterize_next_layer()[0]) for _ in range(3))
    seen = first >= 0
    assert torch.equal(first, ids)
    # The copies follow in the order of their indices.
    assert ((second[seen] >= 14) & (second[seen] < 28) & (third[seen] >= 28)).all()
    assert torch.equal(tri[first[seen]], tri[second[seen]]) and torch.equal(tri[first[seen]], tri[third[seen]])


def test_ranges_with_overlaps_gaps_and_nothing(ctx):
    pos, tri = scenes.soup(1, 40)
    ranges = torch.tensor([[0, 40], [10, 5], [12, 0], [12, 28], [39, 1]], dtype=torch.int32)
    ids = compare(ctx, pos[0].float(), tri, (40, 56), ranges)
    assert (ids[2] == -1).all()
    assert all(
        ((image == -1) | ((image >= a) & (image < a + n))).all()
        for image, (a, n) in zip(ids, ranges.tolist(), strict=True)
    )


def test_positions_that_are_not_finite_take_their_triangles_with_them(ctx):
    pos, tri = scenes.soup(3, 20)
    pos = pos.float()
    pos[0, 4, 0], pos[1, 9, 3], pos[2, 0] = torch.nan, torch.inf, -torch.inf
    ids = compare(ctx, pos, tri, (33, 29))
    for image, vertex in enumerate((4, 9, 0)):
        assert not torch.isin(ids[image], (tri == vertex).any(1).nonzero()).any()
    compare(ctx, pos[0], tri, (33, 29), torch.tensor([[0, 12], [5, 15]], dtype=torch.int32))


def test_five_million_triangles_leave_no_hole(ctx):
    rows = columns = 1581
    pos = scenes.grid_positions(rows, columns, -1.1, 1.1)
    a = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).reshape(-1).int()
    tri = torch.cat(
        [torch.stack([a, a + 1, a + columns + 2], 1), torch.stack([a, a + columns + 2, a + columns + 1], 1)]
    )
    rast, _ = dr.rasterize(ctx, pos[None], tri, (256, 256))
    assert (rast[..., 3] > 0).all()
    out, _ = dr.interpolate(pos[:, :2].contiguous(), rast, tri)
    x = (2 * torch.arange(256) + 1 - 256) / 256
    # The seen triangle is at most the grid's 1/256 pixel (times 2/256) away from the pixel's centre.
    assert (out[0, ..., 0] - x).abs().max() < 2 / 256 / 128


# --- Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [(16384, 64), (40, 20000), (20001, 3)])
def test_images_as_large_as_the_largest_and_larger(ctx, resolution):
    pos, tri = scenes.ball(1)
    compare(ctx, pos.float(), tri, resolution)


def test_work_is_split_by_layers_pixels_and_sizes(painter, monkeypatch):
    """Small limits in place of a driver's: the pictures are the same."""
    pos, tri = scenes.soup(5, 14)
    pos, ranges = pos.float(), torch.tensor([[0, 14], [3, 5], [7, 0], [1, 12], [13, 1]], dtype=torch.int32)
    shape = (5, 48, 80)

    def draw(given=None, **before):
        ids, depth = torch.full(shape, -7, dtype=torch.int32), torch.empty(shape)
        p = pos if given is None else pos[0]
        painter.visibility(backends.Visibility(p, tri, ids, depth, given, **before))
        return ids, depth

    def pictures():
        ids, depth = draw()
        return [ids, draw(before_id=ids, before_depth=depth)[0], draw(given=ranges)[0]]

    whole = pictures()
    assert all((picture > 0).any() for picture in whole)
    for limits in ({"most_layers": 2}, {"largest": 32}, {"most_layers": 3, "largest": 16}):
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(painter, name, value)
            split = pictures()
        for got, want in zip(split, whole, strict=True):
            # Scaling to a tile rounds once more: on edges, a picture in tiles may differ from a whole one.
            p = pos if want is not whole[2] else pos[:1].expand(5, -1, -1)
            assert_differs_on_edges_only(got, want, p, tri)
            assert "largest" in limits or torch.equal(got, want)
    monkeypatch.setattr(gl, "MOST_PIXELS", 80 * 20)
    for got, want in zip(pictures(), whole, strict=True):
        assert_differs_on_edges_only(got, want, pos if want is not whole[2] else pos[:1].expand(5, -1, -1), tri)


def test_nothing_to_draw(ctx):
    tri = torch.zeros(0, 3, dtype=torch.int32)
    with dr.DepthPeeler(ctx, torch.rand(2, 5, 4), tri, (4, 5)) as peeler:
        for _ in range(2):
            assert not peeler.rasterize_next_layer()[0].any()


# --- Types and devices ------------------------------------------------------------------------------------------------


def test_float64_is_searched_exactly_and_said_once(ctx, caplog):
    gl.say.cache_clear()
    pos, tri = scenes.soup(2, 14)
    for _ in range(2):
        got, want = (dr.rasterize(c, pos, tri, (33, 50)) for c in (ctx, CPU))
        assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert messages == ["OpenGL computes in float32: float64 positions are rasterized by 'cpu'"]


def test_gradients_are_those_of_the_cpu(ctx):
    """Where the same triangles are seen, here everywhere, the backward pass has nothing to do with who drew."""
    pos, tri = scenes.lattice((16, 32))
    pos = pos.float()
    grads = []
    for c in (ctx, CPU):
        p = pos.clone().requires_grad_()
        rast, rast_db = dr.rasterize(c, p, tri, (16, 32))
        color = dr.antialias(rast[..., :3].contiguous(), rast, p, tri)
        grads.append(torch.autograd.grad((color**2).sum() + (rast_db**2).sum(), p)[0])
    assert grads[0].any() and torch.equal(*grads)
