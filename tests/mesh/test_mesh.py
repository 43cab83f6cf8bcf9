"""Meshes and their files."""

import math

import pytest
import torch
import trimesh

import diffrast.torch as dr
from diffrast.camera import Camera
from diffrast.io import load_mesh, save_mesh
from diffrast.mesh import Mesh, cube, icosphere, plane, torus, unwrap
from diffrast.mesh import sphere as primitive_sphere
from diffrast.mesh.batch import batch
from diffrast.mesh.mesh import vertex_normals
from diffrast.optimize import MeshParameters


def sphere() -> Mesh:
    m = trimesh.creation.icosphere(subdivisions=3)
    return Mesh(torch.tensor(m.vertices, dtype=torch.float32), torch.tensor(m.faces, dtype=torch.int32))


def test_normals_of_a_sphere_point_outwards():
    mesh = sphere()
    cosine = (mesh.normals() * mesh.vertices).sum(dim=1)
    assert cosine.min() > 0.9998
    assert cosine.max() < 1.00001


def test_normals_gradcheck_and_unused_vertices():
    v = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    f = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    assert torch.autograd.gradcheck(lambda x: vertex_normals(x, f)[:4], v)
    assert vertex_normals(v, f)[4].abs().max() == 0


def test_textured_glb_round_trip(tmp_path):
    gen = torch.Generator().manual_seed(0)
    mesh = sphere()
    mesh.uv = torch.rand(len(mesh.vertices), 2, generator=gen)
    mesh.texture = torch.rand(16, 32, 3, generator=gen)
    save_mesh(tmp_path / "m.glb", mesh)
    back = load_mesh(tmp_path / "m.glb")
    torch.testing.assert_close(back.vertices, mesh.vertices)
    torch.testing.assert_close(back.faces, mesh.faces)
    assert back.uv is not None
    assert back.texture is not None
    torch.testing.assert_close(back.uv, mesh.uv, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.texture, mesh.texture, atol=0.01, rtol=0)  # 8 bits of sRGB
    material = trimesh.load(tmp_path / "m.glb", force="mesh", process=False).visual.material
    assert material.metallicFactor == 0
    assert material.roughnessFactor == 1


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_geometry_round_trip(tmp_path, suffix):
    mesh = sphere()
    save_mesh(tmp_path / f"m{suffix}", mesh)
    back = load_mesh(tmp_path / f"m{suffix}")
    torch.testing.assert_close(back.vertices, mesh.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.faces, mesh.faces)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"save_mesh\(\): expected a path that ends in .* got .*m\.xyz"):
        save_mesh(tmp_path / "m.xyz", sphere())
    with pytest.raises(ValueError, match=r"none\.glb does not exist"):
        load_mesh(tmp_path / "none.glb")
    (tmp_path / "bad.glb").write_bytes(b"glTF but not really")
    with pytest.raises(ValueError, match=r"bad\.glb cannot be read"):
        load_mesh(tmp_path / "bad.glb")
    (tmp_path / "empty.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(ValueError, match=r"empty\.obj (holds no triangle|cannot be read)"):
        load_mesh(tmp_path / "empty.obj")


# --- Geometry ---------------------------------------------------------------------------------------------------------


def test_areas_normals_and_edges_of_a_cube():
    mesh = cube(2.0)
    torch.testing.assert_close(mesh.areas(), torch.full((12,), 2.0))
    assert mesh.normal is not None
    torch.testing.assert_close(mesh.face_normals(), mesh.normal[mesh.normal_index[:, 0].long()])
    lengths = mesh.edge_lengths().sort().values
    torch.testing.assert_close(lengths, torch.tensor([2.0] * 12 + [8**0.5] * 6))
    assert mesh.edges().shape == (18, 2)


def test_geometry_gradchecks():
    mesh = icosphere(level=0)
    v = (mesh.vertices + 0.05 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))).double()

    def measures(v):
        m = Mesh(v, mesh.faces)
        return m.areas(), m.face_normals(), m.edge_lengths(), m.normals()

    assert torch.autograd.gradcheck(measures, v.requires_grad_())


@pytest.mark.parametrize(
    ("make", "euler", "area", "volume"),
    [
        (lambda: cube(1.5), 2, 6 * 1.5**2, 1.5**3),
        (lambda: primitive_sphere(2.0, 96, 48), 2, 4 * math.pi * 4, 4 / 3 * math.pi * 8),
        (lambda: icosphere(2.0, 4), 2, 4 * math.pi * 4, 4 / 3 * math.pi * 8),
        (lambda: torus(1.0, 0.3, 128, 64), 0, 4 * math.pi**2 * 0.3, 2 * math.pi**2 * 0.09),
    ],
)
def test_primitives_are_closed_face_outwards_and_have_their_size(make, euler, area, volume):
    mesh = make()
    report = mesh.report()
    assert report.closed, report
    assert "\n" not in str(report)  # no fault at all
    assert (report.euler, report.components) == (euler, 1)
    assert float(mesh.areas().sum()) == pytest.approx(area, rel=0.01)
    a, b, c = mesh.vertices[mesh.faces.long()].double().unbind(1)
    assert float((a * torch.linalg.cross(b, c)).sum() / 6) == pytest.approx(volume, rel=0.01)
    normal, index = mesh.shading_normals()
    agree = (normal[index.long()] * mesh.face_normals()[:, None]).sum(-1)
    assert agree.min() > 0.97
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(len(normal)))


def test_primitives_uv_run_with_the_texture():
    # Where u and v grow, counter-clockwise from outside: the charts are not mirrored.
    for mesh in (cube(), primitive_sphere(), torus(), plane(cells=3)):
        a, b, c = mesh.require_uv()[mesh.uv_index.long()].unbind(1)
        (ax, ay), (bx, by) = (b - a).unbind(1), (c - a).unbind(1)
        assert (ax * by - ay * bx).min() > 0
        assert mesh.uv is not None
        assert mesh.uv.min() >= 0
        assert mesh.uv.max() <= 1
    globe = primitive_sphere()
    point, uv = globe.vertices[globe.faces.long()], globe.require_uv()[globe.uv_index.long()]
    torch.testing.assert_close(point[..., 1], ((uv[..., 1] - 0.5) * math.pi).sin(), atol=1e-5, rtol=0)
    assert plane().report().boundary_edges.shape == (4, 2)
    assert plane().face_normals().tolist() == [[0, 1, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match=r"sphere\(\): rings must be at least 2"):
        primitive_sphere(rings=1)
    with pytest.raises(ValueError, match=r"torus\(\): needs at least 3 x 3 cells; got 2 x 32"):
        torus(segments=2)


def test_weld_and_single_index_are_inverse_up_to_numbering():
    mesh = torus(segments=6, sides=5)
    single = mesh.single_index()
    assert single.uv_faces is None
    assert len(single.vertices) == 7 * 6
    back = single.welded()
    assert len(back.vertices) == len(mesh.vertices) == 30
    for a, b in ((mesh, single), (mesh, back)):
        torch.testing.assert_close(a.vertices[a.faces.long()], b.vertices[b.faces.long()])
        torch.testing.assert_close(a.require_uv()[a.uv_index.long()], b.require_uv()[b.uv_index.long()])
    assert mesh.welded() is mesh
    assert single.report().boundary_edges.shape[0] > 0  # a seam that every silhouette test would see
    assert back.report().closed


def test_welding_keeps_colours_apart_and_joins_signed_zeros():
    v = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    mesh = Mesh(v, torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32))
    assert mesh.welded().faces.tolist() == [[0, 1, 2], [0, 2, 1]]
    mesh.colors = torch.tensor([[0.0], [0], [0], [1], [0], [0]]).expand(-1, 3)
    assert mesh.welded().faces.tolist() == [[0, 1, 2], [3, 2, 1]]


# --- The report -------------------------------------------------------------------------------------------------------


def test_report_names_every_fault():
    v = torch.tensor(
        [
            [0.0, 0, 0],
            [1, 0, 0],
            [0, 1, 0],
            [0, 0, 1],
            [1, 1, 1],
            [2, 2, 2],
            [2, 3, 2],
            [3, 2, 2],
            [0, 0, 0],
            [math.nan, 0, 0],
            [-1, 0, 0.5],
            [-1, -1, 0.7],
            [0, 0, -1],
            [0, 0, -2],
        ]
    )
    f = torch.tensor(
        [
            [0, 1, 2],
            [0, 1, 3],
            [0, 1, 4],  # three faces at the edge 0-1
            [5, 6, 7],
            [5, 7, 6][::-1],  # the same triangle twice, wound alike: every edge runs the same way
            [0, 12, 13],  # on a line
            [2, 10, 11],
        ],
        dtype=torch.int32,
    )
    report = Mesh(v, f).report()
    assert report.non_manifold_edges.tolist() == [[0, 1]]
    assert report.inconsistent_edges.tolist() == [[5, 6], [5, 7], [6, 7]]
    assert report.degenerate_faces.tolist() == [5]
    assert report.duplicated_vertices.tolist() == [8]
    assert report.unused_vertices.tolist() == [8, 9]
    assert report.not_finite.tolist() == [9]
    assert 2 in report.non_manifold_vertices.tolist()
    assert 11 not in report.non_manifold_vertices.tolist()
    assert not report.closed
    text = str(report)
    for words in ("more than two faces", "wound against each other", "without an area", "not finite", "no face uses"):
        assert words in text, words


def test_bow_tie_is_one_non_manifold_vertex():
    v = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-1, -1, 0]])
    report = Mesh(v, torch.tensor([[0, 1, 2], [0, 3, 4]], dtype=torch.int32)).report()
    assert report.non_manifold_vertices.tolist() == [0]
    assert report.components == 2
    assert len(report.boundary_edges) == 6
    assert report.euler == 5 - 6 + 2


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_different_meshes_render_in_one_call_as_each_alone():
    meshes = [cube(), torus(), icosphere(level=2), plane()]
    cameras = [Camera.orbit(0.4 * i, 0.5, 4.0, fov_y=0.6, width=40, height=30) for i in range(4)]
    matrices = torch.stack([c.clip_matrix() for c in cameras]).float()
    b = batch(meshes)
    ctx = dr.RasterizeContext()
    clip = b.to_clip(matrices)
    rast, db = dr.rasterize(ctx, clip, b.mesh.faces, (30, 40), ranges=b.ranges)
    uv, _ = dr.interpolate(b.mesh.require_uv(), rast, b.mesh.uv_index)
    normal, _ = dr.interpolate(*_table(b.mesh.shading_normals(), rast))
    assert rast.shape == (4, 30, 40, 4)
    for i, mesh in enumerate(meshes):
        own, own_db = dr.rasterize(ctx, cameras[i].to_clip(mesh.vertices)[None], mesh.faces, (30, 40))
        assert bool((own[..., 3] > 0).any())
        torch.testing.assert_close(rast[i, ..., :3], own[0, ..., :3], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(db[i], own_db[0], atol=1e-4, rtol=1e-4)
        hit = own[0, ..., 3] > 0
        assert torch.equal(rast[i, ..., 3][hit] - b.ranges[i, 0], own[0, ..., 3][hit])
        alone, _ = dr.interpolate(*_table(mesh.shading_normals(), own))
        torch.testing.assert_close(normal[i], alone[0], atol=1e-5, rtol=1e-5)
        if mesh.uv is not None:
            torch.testing.assert_close(uv[i], dr.interpolate(mesh.uv, own, mesh.uv_index)[0][0], atol=1e-5, rtol=1e-5)


def _table(pair, rast):
    values, index = pair
    return values, rast, index


def test_batch_is_differentiable_and_splits():
    first, second = cube(), icosphere(level=0)
    first.vertices.requires_grad_()
    b = batch([first, second])
    matrices = torch.stack([torch.eye(4), 2 * torch.eye(4)])
    clip = b.to_clip(matrices)
    torch.testing.assert_close(clip[8:, :3], 2 * second.vertices)
    clip.sum().backward()
    assert first.vertices.grad is not None
    assert bool((first.vertices.grad == 1).all())
    assert [len(p) for p in b.split(clip)] == [8, 12]
    assert b.ranges.tolist() == [[0, 12], [12, 20]]
    torch.testing.assert_close(b.to_clip(torch.eye(4))[:, :3], b.mesh.vertices)


def test_batch_refuses():
    with pytest.raises(ValueError, match=r"batch\(\): meshes must not be empty"):
        batch([])
    broken = cube()
    broken.faces = broken.faces + 1
    with pytest.raises(ValueError, match=r"meshes\[1\]: faces must lie in 0..7"):
        batch([cube(), broken])
    with pytest.raises(TypeError, match=r"meshes\[0\] must be a Mesh; got list"):
        batch([[1]])  # type: ignore[list-item]


# --- Parameters -------------------------------------------------------------------------------------------------------


def test_mesh_parameters_are_a_module_as_people_expect():
    mesh = cube()
    mesh.texture = torch.rand(4, 4, 3)
    parameters = MeshParameters(mesh, ("vertices", "texture"))
    assert sorted(n for n, _ in parameters.named_parameters()) == ["texture", "vertices"]
    assert {"faces", "uv", "uv_faces", "normal"} <= set(parameters.state_dict())
    now = parameters()
    (now.vertices.sum() + now.texture.sum()).backward()
    assert all(p.grad is not None for p in parameters.parameters())
    with torch.no_grad():
        next(parameters.parameters()).add_(1)
    other = MeshParameters(mesh, ("vertices", "texture"))
    other.load_state_dict(parameters.state_dict())
    torch.testing.assert_close(other().vertices, parameters().vertices)
    assert torch.equal(mesh.vertices, cube().vertices)
    assert parameters.to("meta")().faces.device.type == "meta"
    with pytest.raises(ValueError, match="the mesh has no colors to optimize"):
        MeshParameters(mesh, ("colors",))
    with pytest.raises(ValueError, match="optimize must name some of vertices"):
        MeshParameters(mesh, ("faces",))


def test_smooth_parameters_begin_at_the_mesh_and_move_together():
    mesh = icosphere(level=2)
    parameters = MeshParameters(mesh, smoothness=10.0)
    torch.testing.assert_close(parameters().vertices, mesh.vertices, atol=1e-5, rtol=0)
    parameters().vertices[0, 0].backward()
    (p,) = parameters.parameters()
    assert p.grad is not None
    with torch.no_grad():
        p -= p.grad
    moved = (parameters().vertices - mesh.vertices).norm(dim=1)
    assert (moved > 0.05 * moved.max()).sum() > 20  # not the one vertex alone


# --- Unwrapping -------------------------------------------------------------------------------------------------------


def overlaps(mesh: Mesh, size: int) -> int:
    """Texels of a size x size texture whose centre is covered by more than one triangle, by a second rasterization of
    each."""
    uv = mesh.require_uv()[mesh.uv_index.long()].reshape(-1, 2)
    flat = torch.cat([2 * uv - 1, torch.zeros(len(uv), 1), torch.ones(len(uv), 1)], dim=1)[None]
    tri = torch.arange(len(uv), dtype=torch.int32).view(-1, 3)
    with dr.DepthPeeler(dr.RasterizeContext(), flat, tri, (size, size)) as peeler:
        first, second = peeler.rasterize_next_layer()[0], peeler.rasterize_next_layer()[0]
    assert bool((first[..., 3] > 0).any())
    return int((second[..., 3] > 0).sum())


@pytest.mark.parametrize("time_limit", [60.0, 1e-3])
def test_unwrap_covers_every_face_once(time_limit, caplog):
    mesh = icosphere(level=2)
    with caplog.at_level("WARNING", logger="diffrast"):
        unwrapped = unwrap(mesh, size=256, padding=2, time_limit=time_limit)
    fell_back = "took longer than 0.001 s; every triangle is its own chart" in caplog.text
    assert fell_back == (time_limit < 1), caplog.text
    assert torch.equal(unwrapped.faces, mesh.faces)
    assert torch.equal(unwrapped.vertices, mesh.vertices)
    uv = unwrapped.require_uv()
    assert uv.min() >= 0
    assert uv.max() <= 1
    assert overlaps(unwrapped, 256) == 0
    a, b, c = (uv[unwrapped.uv_index.long()] * 256).unbind(1)
    (ax, ay), (bx, by) = (b - a).unbind(1), (c - a).unbind(1)
    assert (ax * by - ay * bx).abs().min() > 2  # every triangle has texels to draw on
    if fell_back:
        assert len(uv) == 3 * len(mesh.faces)


def test_unwrap_says_when_nothing_fits():
    with pytest.raises(ValueError, match=r"1280 triangles do not fit into 64x64 texels .* size must be at least 156"):
        unwrap(icosphere(level=3), size=64, time_limit=1e-3)


def test_a_texture_without_uv_is_refused():
    with pytest.raises(ValueError, match=r"a texture needs UVs and the mesh has none; .*unwrap\(mesh\)"):
        icosphere(level=0).require_uv()
