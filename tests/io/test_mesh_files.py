"""Files of meshes: several materials both ways, separate indices, and every kind of bad file."""

import json
import math
import struct

import numpy as np
import pytest
import torch
import trimesh

from diffrast.io import load_mesh, save_image, save_mesh
from diffrast.mesh import Mesh, cube, plane, sphere, torus
from diffrast.mesh.batch import concatenate
from diffrast.mesh.material_data import MaterialData
from diffrast.mesh.polygon import triangulate

GEN = torch.Generator().manual_seed(0)


def picture(h: int, w: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(h, w, channels, generator=GEN)


def two_materials() -> Mesh:
    metal = MaterialData(
        name="worn metal",
        base_color_factor=(0.123, 0.5, 0.7, 0.9),
        base_color_texture=picture(8, 16, 4),
        metallic_factor=0.75,
        roughness_factor=0.3,
        metallic_roughness_texture=picture(4, 4),
        has_occlusion=True,
        normal_texture=picture(4, 8),
        normal_scale=0.5,
        emissive_factor=(2.0, 0.5, 0.0),
        emissive_texture=picture(2, 2),
        alpha_mode="MASK",
        alpha_cutoff=0.25,
        double_sided=True,
    )
    paint = MaterialData(name="paint", base_color_factor=(0.9, 0.1, 0.2, 1), metallic_factor=0, roughness_factor=0.6)
    a, b = sphere(segments=12, rings=6), cube()
    a.materials, b.materials = [metal], [paint]
    b.vertices = b.vertices + torch.tensor([3.0, 0, 0])
    return concatenate([a, b])


def corners(mesh: Mesh, what: str) -> torch.Tensor:
    """Values at the corners of all triangles, [F, 3, C], whatever the indices are."""
    table, index = {
        "vertices": (mesh.vertices, mesh.faces),
        "uv": (mesh.uv, mesh.uv_index),
        "normal": (mesh.normal, mesh.normal_index),
    }[what]
    assert table is not None
    return table[index.long()]


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
def test_several_materials_round_trip(tmp_path, suffix):
    mesh = two_materials()
    save_mesh(tmp_path / f"m{suffix}", mesh)
    back = load_mesh(tmp_path / f"m{suffix}")
    assert back.material_ids is not None
    assert mesh.material_ids is not None
    assert torch.equal(back.material_ids, mesh.material_ids)
    for what in ("vertices", "uv", "normal"):
        torch.testing.assert_close(corners(back, what), corners(mesh, what), atol=2e-6, rtol=0)
    assert len(back.vertices) == len(mesh.vertices)  # seams are shared again
    assert back.report().closed
    for got, want in zip(back.materials, mesh.materials, strict=True):
        fields = ["name", "base_color_factor", "metallic_factor", "roughness_factor", "emissive_factor"]
        pictures = ["base_color_texture", "normal_texture", "emissive_texture"]
        if suffix != ".obj":  # what a material library has no words for
            fields += ["normal_scale", "alpha_mode", "alpha_cutoff", "double_sided", "has_occlusion"]
            pictures += ["metallic_roughness_texture"]
        for name in fields:
            assert getattr(got, name) == pytest.approx(getattr(want, name)), name
        for name in pictures:
            if getattr(want, name) is None:
                assert getattr(got, name) is None
            else:
                # 8 bits: of numbers half a level, of linear colours more, by the slope of sRGB.
                torch.testing.assert_close(getattr(got, name), getattr(want, name), atol=0.01, rtol=0)


def test_trimesh_agrees_about_what_we_write(tmp_path):
    mesh = two_materials()
    save_mesh(tmp_path / "m.glb", mesh)
    scene = trimesh.load(tmp_path / "m.glb", process=False)
    parts = list(scene.geometry.values())
    assert [len(p.faces) for p in parts] == [(mesh.material_ids == i).sum() for i in (0, 1)]
    assert [p.visual.material.name for p in parts] == ["worn metal", "paint"]
    assert parts[0].visual.material.alphaMode == "MASK"
    theirs = parts[0].vertices[parts[0].faces]
    np.testing.assert_allclose(theirs, corners(mesh, "vertices")[mesh.material_ids == 0], atol=1e-6)
    uv = parts[0].visual.uv[parts[0].faces]
    np.testing.assert_allclose(uv, corners(mesh, "uv")[mesh.material_ids == 0], atol=1e-6)


def test_we_agree_about_what_trimesh_writes(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0.2, 0.3])
    mirror = np.diag([-1.0, 2, 1, 1])
    scene.add_geometry(box, transform=turn)
    scene.add_geometry(trimesh.creation.icosphere(subdivisions=1), transform=mirror)
    scene.export(tmp_path / "s.glb")
    mesh = load_mesh(tmp_path / "s.glb")
    expected = scene.to_mesh()
    np.testing.assert_allclose(mesh.bounds(), expected.bounds, atol=1e-6)
    ours = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    # The mirrored part is turned over by its matrix; both parts must face outwards.
    assert ours.volume == pytest.approx(1 + 2 * trimesh.creation.icosphere(subdivisions=1).volume, rel=1e-5)
    assert mesh.report().components == 2


def test_single_texture_is_the_mesh_s(tmp_path):
    mesh = torus(segments=8, sides=6)
    mesh.texture = picture(8, 8)
    save_mesh(tmp_path / "t.obj", mesh)
    back = load_mesh(tmp_path / "t.obj")
    assert back.texture is not None
    torch.testing.assert_close(back.texture, mesh.texture, atol=0.01, rtol=0)
    assert load_mesh(tmp_path / "t.obj", textures=False).texture is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.mtl", "t.obj", "t_0_base_color_texture.png"]


@pytest.mark.parametrize("suffix", [".ply", ".stl"])
def test_geometry_only_formats(tmp_path, suffix):
    mesh = torus(segments=8, sides=6)
    mesh.colors = torch.rand(len(mesh.vertices), 3, generator=GEN)
    save_mesh(tmp_path / f"t{suffix}", mesh)
    back = load_mesh(tmp_path / f"t{suffix}")
    torch.testing.assert_close(corners(back, "vertices"), corners(mesh, "vertices"), atol=1e-6, rtol=0)
    assert len(back.vertices) == len(mesh.vertices)
    assert back.report().closed
    if suffix == ".ply":
        assert back.colors is not None
        torch.testing.assert_close(back.colors, mesh.colors, atol=0.01, rtol=0)
    raw = load_mesh(tmp_path / f"t{suffix}", weld=False)
    assert len(raw.vertices) == (3 * len(mesh.faces) if suffix == ".stl" else len(mesh.vertices))


def test_spot_keeps_its_two_index_sets(data_folder):
    mesh = load_mesh(data_folder / "spot" / "spot_triangulated.obj")
    assert (len(mesh.vertices), len(mesh.faces)) == (2930, 5856)
    assert mesh.uv is not None
    assert mesh.uv_faces is not None
    assert len(mesh.uv) > len(mesh.vertices)
    report = mesh.report()
    assert report.closed
    assert report.euler == 2
    reference = trimesh.load(data_folder / "spot" / "spot_triangulated.obj", process=False)
    np.testing.assert_allclose(corners(mesh, "vertices"), reference.vertices[reference.faces], atol=1e-6)
    np.testing.assert_allclose(corners(mesh, "uv"), reference.visual.uv[reference.faces], atol=1e-6)


# --- OBJ in detail ----------------------------------------------------------------------------------------------------


def obj(tmp_path, text: str):
    (tmp_path / "m.obj").write_text(text)
    return load_mesh(tmp_path / "m.obj")


SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def test_polygons_negative_indices_continued_lines_and_colours(tmp_path):
    mesh = obj(tmp_path, SQUARE + "f -4 -3 \\\n -2 -1 # all four\n")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    colored = obj(tmp_path, "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 0.5\nf 1 2 3\n")
    assert colored.colors is not None
    assert colored.colors.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0.5]]


def test_concave_polygons_are_cut_along_ears():
    star = np.array(
        [
            [np.cos(a) * r, np.sin(a) * r, 0.2 * np.cos(a) * r]
            for a, r in zip(np.arange(10) * np.pi / 5, [1, 0.4] * 5, strict=True)
        ]
    )
    for points in (star, np.roll(star, 3, axis=0), star[:, [1, 2, 0]], star[:, [2, 0, 1]], star[::-1]):
        cut = np.array(triangulate(points))
        assert cut.shape == (8, 3)
        normals = np.cross(points[cut[:, 1]] - points[cut[:, 0]], points[cut[:, 2]] - points[cut[:, 0]])
        whole = np.cross(points, np.roll(points, -1, axis=0)).sum(0)
        assert (normals @ whole > 0).all()
        np.testing.assert_allclose(normals.sum(0), whole, atol=1e-12)  # the area, once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SQUARE + "f 1 2 9\n", r"m\.obj cannot be read: line 5: v index 9 is out of range: there are 4"),
        (SQUARE + "f 1 2 0\n", "line 5: v index 0 is out of range"),
        (SQUARE + "f 1/7 2/1 3/1\n", "line 5: vt index 7 is out of range"),
        (SQUARE + "f 1 2\n", "line 5: a face needs three corners; got 2"),
        (SQUARE + "f 1 2 x\n", "line 5: invalid literal"),
        (SQUARE, "holds no triangle"),
        ("v 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "v 1 must have 3 numbers; got 2"),
        ("v nan 0 0\nv 1 0 0\nv 0 1 inf\nf 1 2 3\n", "2 of 3 vertices are not finite"),
        ("v 0 0 zero\n", "line 1: could not convert"),
        ("mtllib none.mtl\n" + SQUARE + "f 1 2 3\n", r"none\.mtl does not exist \(listed in"),
        ("mtllib ../secret.mtl\n" + SQUARE + "f 1 2 3\n", r"outside its folder, which is refused: \.\./secret"),
        ("mtllib /etc/passwd\n" + SQUARE + "f 1 2 3\n", "outside its folder"),
        ("mtllib ..\\\\secret.mtl\n" + SQUARE + "f 1 2 3\n", "outside its folder"),
        ("\x00\x01binary" * 50, "holds no triangle"),
    ],
)
def test_bad_obj(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        obj(tmp_path, text)


TEXTURED = "mtllib m.mtl\nusemtl a\n" + SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\n"


def test_bad_materials(tmp_path):
    library = tmp_path / "m.mtl"
    library.write_text("newmtl a\nmap_Kd ../../x.png\n")
    with pytest.raises(ValueError, match=r"m\.mtl names a file outside its folder, which is refused: \.\./\.\./x"):
        obj(tmp_path, TEXTURED)
    library.write_text("newmtl a\nmap_Kd none.png\n")
    with pytest.raises(ValueError, match=r"none\.png does not exist \(listed in .*m\.mtl\)"):
        obj(tmp_path, TEXTURED)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    library.write_text("newmtl a\nmap_Kd bad.png\n")
    with pytest.raises(ValueError, match=r"bad\.png cannot be read"):
        obj(tmp_path, TEXTURED)
    library.write_text("newmtl a\nKd red\n")
    with pytest.raises(ValueError, match="Kd of material 'a' must be numbers; got 'red'"):
        obj(tmp_path, TEXTURED)
    save_image(tmp_path / "my picture.png", picture(4, 4))
    library.write_text("newmtl a\nmap_Kd -s 1 1 1 -clamp on my picture.png\nNs 30\nd 0.5\n")
    material = obj(tmp_path, TEXTURED).materials[0]
    assert material.base_color_texture is not None
    assert material.alpha_mode == "BLEND"
    assert material.roughness_factor == pytest.approx((2 / 32) ** 0.25)
    with pytest.raises(ValueError, match=r"'a' has a texture but 1 of its triangles have no UVs; .*unwrap"):
        obj(tmp_path, TEXTURED.replace("f 1/1 2/2 3/3", "f 1 2 3"))
    (tmp_path / "m.obj").write_text(TEXTURED)
    with pytest.raises(ValueError, match=r"my picture\.png has 4x4 pixels, more than max_pixels=15; raise"):
        load_mesh(tmp_path / "m.obj", max_pixels=15)


def test_two_gigapixels_are_refused_before_they_are_decoded(tmp_path):
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50000, 40000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(data)
    (tmp_path / "m.mtl").write_text("newmtl a\nmap_Kd huge.png\n")
    with pytest.raises(ValueError, match=r"huge\.png has 50000x40000 pixels, more than max_pixels=268435456"):
        obj(tmp_path, TEXTURED)


# --- glTF in detail ---------------------------------------------------------------------------------------------------


def edited(tmp_path, change) -> None:
    """A small .gltf with ``change`` made to its JSON, loaded."""
    mesh = plane()
    mesh.texture = picture(4, 4)
    save_mesh(tmp_path / "m.gltf", mesh)
    document = json.loads((tmp_path / "m.gltf").read_text())
    change(document)
    (tmp_path / "m.gltf").write_text(json.dumps(document))
    load_mesh(tmp_path / "m.gltf")


def bad_index(d):
    d["accessors"][d["meshes"][0]["primitives"][0]["indices"]]["componentType"] = 5126


def cut_buffer(d):
    d["bufferViews"][0]["byteLength"] = 1 << 20


def long_accessor(d):
    d["accessors"][0]["count"] = 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("asset"), "it is not glTF 2.0"),
        (lambda d: d.update(extensionsRequired=["KHR_draco"]), "it requires KHR_draco"),
        (lambda d: d["nodes"][0].update(mesh=7), "meshes 7 is named but there are 1"),
        (lambda d: d["nodes"][0].update(children=[0]), "node 0 hangs below two others"),
        (lambda d: d["meshes"][0]["primitives"][0].pop("attributes"), "KeyError 'attributes' in its structure"),
        (lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("TEXCOORD_0"), "has a texture but its triangles"),
        (lambda d: d["meshes"][0].update(primitives=[]), "holds no triangle"),
        (lambda d: d["buffers"][0].update(uri="../other.bin"), "outside its folder, which is refused"),
        (lambda d: d["buffers"][0].update(uri="none.bin"), r"none\.bin does not exist"),
        (lambda d: d["images"][0].update(uri="%2e%2e/x.png"), "outside its folder"),
        (cut_buffer, "buffer 0 is cut short"),
        (long_accessor, "accessor 0 is cut short"),
        (bad_index, "indices must be integers; got float32"),
    ],
)
def test_bad_gltf(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        edited(tmp_path, change)
    assert "m.gltf" in str(error.value)


def test_truncated_and_foreign_files(tmp_path):
    save_mesh(tmp_path / "m.glb", cube())
    data = (tmp_path / "m.glb").read_bytes()
    for length in (3, 11, 19, 100, len(data) - 1):
        (tmp_path / "cut.glb").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.glb cannot be read"):
            load_mesh(tmp_path / "cut.glb")
    for name in ("a.glb", "a.ply", "a.stl", "a.gltf", "a.xyzzy"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0 this is a JPEG")
        with pytest.raises(ValueError, match=rf"a\.{name[2:]} (cannot be read|holds no triangle)"):
            load_mesh(tmp_path / name)
    for suffix in (".ply", ".stl"):
        save_mesh(tmp_path / f"m{suffix}", cube())
        (tmp_path / f"cut{suffix}").write_bytes((tmp_path / f"m{suffix}").read_bytes()[:-20])
        with pytest.raises(ValueError, match=rf"cut\{suffix} cannot be read: .*(cut short|length)"):
            load_mesh(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize(
    ("corner", "face", "message"),
    [
        ("nan 0 0", "3 0 1 2", r"m\.ply: 1 of 4 vertices are not finite"),
        ("0 0 0", "3 0 1 7", r"m\.ply: faces must lie in 0\.\.3, the vertices; got 0\.\.7"),
        ("0 0 0", "4 0 1 2 3", None),
    ],
)
def test_ply_by_hand(tmp_path, corner, face, message):
    """Vertices that are not finite, indices out of range; a quadrangle becomes two triangles."""
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "m.ply").write_text(f"{head}{corner}\n1 0 0\n1 1 0\n0 1 0\n{face}\n")
    if message is None:
        assert load_mesh(tmp_path / "m.ply").areas().sum() == 1
        return
    with pytest.raises(ValueError, match=message):
        load_mesh(tmp_path / "m.ply")


def test_strips_fans_quantized_and_interleaved(tmp_path):
    save_mesh(tmp_path / "m.gltf", plane())
    document = json.loads((tmp_path / "m.gltf").read_text())
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0], [0, 4, 0]], dtype=np.int16)
    data = b"".join(p.tobytes() + b"\0\0" for p in points)
    import base64

    document["buffers"] = [{"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()}]
    document["bufferViews"] = [{"buffer": 0, "byteLength": len(data), "byteStride": 8}]
    document["accessors"] = [{"bufferView": 0, "componentType": 5122, "count": 5, "type": "VEC3", "normalized": True}]
    document["extensionsRequired"] = ["KHR_mesh_quantization"]
    scale = 32767.0
    document["nodes"] = [{"mesh": 0, "scale": [scale, scale, scale], "translation": [1, 0, 0]}]
    for mode, faces in ((5, [[0, 1, 2], [1, 3, 2], [2, 3, 4]]), (6, [[1, 2, 0], [2, 3, 0], [3, 4, 0]])):
        document["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0}, "mode": mode}]}]
        (tmp_path / "m.gltf").write_text(json.dumps(document))
        mesh = load_mesh(tmp_path / "m.gltf")
        assert mesh.faces.tolist() == faces
        np.testing.assert_allclose(mesh.vertices, points + np.array([1, 0, 0]), atol=1e-4)


def test_occlusion_of_its_own_is_packed(tmp_path):
    mesh = plane()
    mesh.materials = [MaterialData(metallic_roughness_texture=picture(8, 8), has_occlusion=True)]
    save_mesh(tmp_path / "m.gltf", mesh)
    document = json.loads((tmp_path / "m.gltf").read_text())
    material = document["materials"][0]
    del material["pbrMetallicRoughness"]["metallicRoughnessTexture"]
    material["occlusionTexture"]["strength"] = 0.5
    (tmp_path / "m.gltf").write_text(json.dumps(document))
    (back,) = load_mesh(tmp_path / "m.gltf").materials
    stored = mesh.materials[0].metallic_roughness_texture
    assert back.metallic_roughness_texture is not None
    assert stored is not None
    assert back.has_occlusion
    torch.testing.assert_close(back.metallic_roughness_texture[..., 0], 0.5 + 0.5 * stored[..., 0], atol=0.003, rtol=0)
    assert bool((back.metallic_roughness_texture[..., 1:] == 1).all())


def test_second_uvs_and_their_transform(tmp_path, caplog):
    """The example of KHR_texture_transform: the lower left quarter of the picture, turned by 90 degrees clockwise."""
    mesh, data = plane(), MaterialData(base_color_texture=picture(4, 4), emissive_texture=picture(4, 4))
    mesh.materials = [data]
    save_mesh(tmp_path / "m.gltf", mesh)
    document = json.loads((tmp_path / "m.gltf").read_text())
    quarter = {"offset": [0, 1], "rotation": math.pi / 2, "scale": [0.5, 0.5], "texCoord": 1}
    material, attributes = document["materials"][0], document["meshes"][0]["primitives"][0]["attributes"]
    attributes["TEXCOORD_1"] = attributes.pop("TEXCOORD_0")
    document["extensionsRequired"] = ["KHR_texture_transform"]
    for info in (material["pbrMetallicRoughness"]["baseColorTexture"], material["emissiveTexture"]):
        info["extensions"] = {"KHR_texture_transform": quarter}
    (tmp_path / "m.gltf").write_text(json.dumps(document))
    back = load_mesh(tmp_path / "m.gltf")
    assert not caplog.records
    # The picture's lower left corner is seen at the mesh's upper left one: the picture was turned clockwise.
    assert mesh.uv is not None and back.uv is not None
    torch.testing.assert_close(back.uv, 0.5 * torch.stack([1 - mesh.uv[:, 1], mesh.uv[:, 0]], dim=1))
    (read,) = back.materials
    assert read.base_color_texture is not None and read.emissive_texture is not None
    # A texture that wants other UVs than the first cannot be kept, and the warning says so.
    del material["emissiveTexture"]["extensions"]
    (tmp_path / "m.gltf").write_text(json.dumps(document))
    (read,) = load_mesh(tmp_path / "m.gltf").materials
    assert read.emissive_texture is None
    assert "the emissive texture of material '' has UVs of its own" in caplog.text


def test_writing_is_refused_for_broken_meshes(tmp_path):
    mesh = cube()
    mesh.faces = mesh.faces + 3
    with pytest.raises(ValueError, match=r"save_mesh\(\): faces must lie in 0..7, the vertices; got 3..10"):
        save_mesh(tmp_path / "m.glb", mesh)
    assert list(tmp_path.iterdir()) == []
