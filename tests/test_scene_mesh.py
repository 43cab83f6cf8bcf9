"""Meshes and their files."""

import pytest
import torch
import trimesh

from diffrast.scene import Mesh, load_mesh, save_mesh
from diffrast.scene.mesh import vertex_normals


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
    with pytest.raises(ValueError, match=r"save_mesh\(\): expected a path that ends in .* got .*m\.stl"):
        save_mesh(tmp_path / "m.stl", sphere())
    with pytest.raises(ValueError, match=r"none\.glb does not exist"):
        load_mesh(tmp_path / "none.glb")
    (tmp_path / "bad.glb").write_bytes(b"glTF but not really")
    with pytest.raises(ValueError, match=r"bad\.glb cannot be read"):
        load_mesh(tmp_path / "bad.glb")
    (tmp_path / "empty.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(ValueError, match=r"empty\.obj (holds no triangle|cannot be read)"):
        load_mesh(tmp_path / "empty.obj")
