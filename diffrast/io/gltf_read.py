"""Reading glTF 2.0, `.glb` and `.gltf` (Khronos specification 2.0), into one mesh with its materials.

Triangles, strips and fans of every node of the default scene; normalized and quantized attributes; textures with
another set of UVs or a transform of them, as long as those of one material agree (others are left out with a warning).
Skins, morph targets, cameras and animations are left out. What is required but not known here is an error, not a wrong
image.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import torch

from ..mesh.material_data import TEXTURES, MaterialData
from ..mesh.mesh import Mesh
from ..mesh.rotation import quaternion_to_rotation
from .image import decode
from .obj import inside

TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
KNOWN = {"KHR_mesh_quantization", "KHR_materials_unlit", "KHR_materials_emissive_strength", "KHR_texture_transform"}


class _File:
    """A parsed file: the JSON, and the numbers and bytes that it points to."""

    def __init__(self, path: Path, max_pixels: int):
        self.path, self.max_pixels = path, max_pixels
        data = path.read_bytes()
        self.binary = b""
        if data[:4] == b"glTF":
            data = self._chunks(data)
        try:
            self.json: Any = json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"mesh {path} cannot be read: it is not valid JSON: {error}") from error
        if not isinstance(self.json, dict) or "asset" not in self.json:
            raise ValueError(f"mesh {path} cannot be read: it is not glTF 2.0")
        missing = set(self.json.get("extensionsRequired", [])) - KNOWN
        if missing:
            raise ValueError(f"mesh {path} cannot be read: it requires {', '.join(sorted(missing))}")
        self.buffers: dict[int, bytes] = {}

    def _chunks(self, data: bytes) -> bytes:
        if len(data) < 20 or struct.unpack_from("<I", data, 4)[0] != 2:
            raise ValueError(f"mesh {self.path} cannot be read: it is not glTF 2.0, or cut short")
        if struct.unpack_from("<I", data, 8)[0] > len(data):
            raise ValueError(
                f"mesh {self.path} cannot be read: it is cut short: {len(data)} bytes of "
                f"{struct.unpack_from('<I', data, 8)[0]}"
            )
        at, text = 12, b""
        while at + 8 <= len(data):
            length, kind = struct.unpack_from("<I4s", data, at)
            chunk = data[at + 8 : at + 8 + length]
            if kind == b"JSON":
                text = chunk
            elif kind == b"BIN\0":
                self.binary = chunk
            at += 8 + length
        return text

    def get(self, kind: str, index: Any) -> dict[str, Any]:
        rows = self.json.get(kind, [])
        if not isinstance(index, int) or not 0 <= index < len(rows):
            raise ValueError(f"mesh {self.path} cannot be read: {kind} {index} is named but there are {len(rows)}")
        return rows[index]

    def uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        file = inside(self.path.parent, unquote(uri), self.path)
        if not file.is_file():
            raise ValueError(f"{file} does not exist (listed in {self.path})")
        return file.read_bytes()

    def view(self, index: int) -> tuple[bytes, int]:
        """The bytes of a buffer view, and its stride (0: packed)."""
        v = self.get("bufferViews", index)
        which = v["buffer"]
        if which not in self.buffers:
            buffer = self.get("buffers", which)
            self.buffers[which] = self.uri(buffer["uri"]) if "uri" in buffer else self.binary
        start = v.get("byteOffset", 0)
        data = self.buffers[which][start : start + v["byteLength"]]
        if len(data) < v["byteLength"]:
            raise ValueError(f"mesh {self.path} cannot be read: buffer {which} is cut short")
        return data, v.get("byteStride", 0)

    def numbers(self, index: int) -> np.ndarray:
        """An accessor as `[count, width]`: integers as stored, or float32 where they are normalized."""
        a = self.get("accessors", index)
        kind, width, count = np.dtype(TYPES[a["componentType"]]), WIDTHS[a["type"]], a["count"]
        if "sparse" in a:
            raise ValueError(f"mesh {self.path} cannot be read: sparse accessors are not supported")
        if "bufferView" not in a:
            return np.zeros((count, width), dtype=np.float32)
        data, stride = self.view(a["bufferView"])
        stride = stride or kind.itemsize * width
        start = a.get("byteOffset", 0)
        if count and start + (count - 1) * stride + kind.itemsize * width > len(data):
            raise ValueError(f"mesh {self.path} cannot be read: accessor {index} is cut short")
        out = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))
        if a.get("normalized") and kind.kind in "iu":
            return np.maximum(out.astype(np.float32) / np.iinfo(kind).max, -1.0)
        return out

    def image(self, info: dict[str, Any], linear: bool) -> torch.Tensor:
        texture = self.get("textures", info["index"])
        image = self.get("images", texture["source"])
        data = self.uri(image["uri"]) if "uri" in image else self.view(image["bufferView"])[0]
        name = f"mesh {self.path}: image {image.get('name') or image.get('uri', texture['source'])!s:.60}"
        out = decode(data, name, linear=linear, max_pixels=self.max_pixels)
        return out.expand(-1, -1, 3) if out.shape[2] == 1 else out


def load_gltf(path: Path, *, textures: bool = True, max_pixels: int) -> Mesh:
    """Read a glTF file as one mesh, everything in world space. Raises `ValueError` that names the file."""
    file = _File(path, max_pixels)
    try:
        return _load(file, textures)
    except (KeyError, TypeError, IndexError, struct.error, binascii.Error) as error:
        raise ValueError(f"mesh {path} cannot be read: {type(error).__name__} {error} in its structure") from error


def _load(file: _File, textures: bool) -> Mesh:
    materials = [_material(file, m, textures) for m in file.json.get("materials", [])]
    parts: list[dict[str, Any]] = []
    for matrix, index in _nodes(file):
        for primitive in file.get("meshes", index)["primitives"]:
            mode = primitive.get("mode", 4)
            if mode not in STRIPS:
                continue
            material = primitive.get("material", -1)
            layout = materials[material].layout if material >= 0 else _Layout()
            part = _primitive(file, primitive, mode, matrix, layout)
            if material >= 0 and part["uv"] is None and materials[material].has_texture:
                raise ValueError(
                    f"mesh {file.path}: material {materials[material].data.name!r} has a texture but its triangles "
                    "have no UVs; load with textures=False, then diffrast.mesh.unwrap() makes UVs"
                )
            parts.append({**part, "material": material})
    if not parts or not sum(len(p["faces"]) for p in parts):
        raise ValueError(f"mesh {file.path} holds no triangle")
    return _joined(parts, [m.data for m in materials])


def _joined(parts: list[dict[str, Any]], materials: list[MaterialData]) -> Mesh:
    if any(p["material"] < 0 for p in parts):  # the default material of the specification
        for p in parts:
            p["material"] = len(materials) if p["material"] < 0 else p["material"]
        materials = [*materials, MaterialData()]
    starts = np.cumsum([0, *(len(p["vertices"]) for p in parts)])

    def whole(name: str, width: int, fill: float) -> torch.Tensor | None:
        if all(p[name] is None for p in parts):
            return None
        rows = [
            np.full((len(p["vertices"]), width), fill, dtype=np.float32) if p[name] is None else p[name][:, :width]
            for p in parts
        ]
        return torch.from_numpy(np.concatenate(rows))

    vertices = whole("vertices", 3, 0)
    assert vertices is not None
    faces = np.concatenate([p["faces"] + s for p, s in zip(parts, starts, strict=False)])
    ids = np.concatenate([np.full(len(p["faces"]), p["material"]) for p in parts])
    widths = [p["colors"].shape[1] for p in parts if p["colors"] is not None]
    # A part without normals among others with some: the file means flat ones, but ours are better smooth than wrong.
    complete = all(p["normal"] is not None for p in parts)
    return Mesh(
        vertices,
        torch.from_numpy(faces.astype(np.int32)),
        uv=whole("uv", 2, 0),
        normal=whole("normal", 3, 0) if complete else None,
        colors=whole("colors", min(widths, default=3), 1),
        material_ids=torch.from_numpy(ids.astype(np.int32)) if len(materials) > 1 else None,
        materials=materials,
    )


def _nodes(file: _File) -> list[tuple[np.ndarray, int]]:
    """World matrix and mesh index of every node with a mesh."""
    nodes = file.json.get("nodes", [])
    if file.json.get("scenes"):
        roots = file.get("scenes", file.json.get("scene", 0)).get("nodes", [])
    else:
        roots = sorted(set(range(len(nodes))) - {c for n in nodes for c in n.get("children", [])})
    found, visited = [], set()
    stack = [(int(r), np.eye(4)) for r in reversed(roots)]
    while stack:
        index, above = stack.pop()
        if index in visited:
            raise ValueError(f"mesh {file.path} cannot be read: node {index} hangs below two others")
        visited.add(index)
        node = file.get("nodes", index)
        matrix = above @ _local(node)
        if "mesh" in node:
            found.append((matrix, node["mesh"]))
        stack += [(int(c), matrix) for c in reversed(node.get("children", []))]
    return found


def _local(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    xyzw = torch.tensor(node.get("rotation", [0, 0, 0, 1]), dtype=torch.float64)
    m = np.eye(4)
    m[:3, :3] = quaternion_to_rotation(xyzw.roll(1)).numpy() * np.array(node.get("scale", [1.0, 1, 1]))
    m[:3, 3] = node.get("translation", [0.0, 0, 0])
    return m


# How vertices in order become triangles: `[F, 3]` positions in the order, by the primitive's mode.
STRIPS = {
    4: lambda n: np.arange(n - n % 3).reshape(-1, 3),
    5: lambda n: np.array([(i, i + 1 + i % 2, i + 2 - i % 2) for i in range(n - 2)]).reshape(-1, 3),
    6: lambda n: np.array([(i + 1, i + 2, 0) for i in range(n - 2)]).reshape(-1, 3),
}


def _primitive(
    file: _File, primitive: dict[str, Any], mode: int, matrix: np.ndarray, layout: _Layout
) -> dict[str, Any]:
    attributes = primitive["attributes"]
    local = file.numbers(attributes["POSITION"])[:, :3].astype(np.float64)
    order = file.numbers(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(local))
    if order.dtype.kind not in "iu":
        raise ValueError(f"mesh {file.path} cannot be read: indices must be integers; got {order.dtype}")
    faces = order.astype(np.int64)[STRIPS[mode](len(order)).astype(np.int64)]
    if len(faces) and faces.max() >= len(local):
        raise ValueError(
            f"mesh {file.path} cannot be read: vertex index {faces.max()} is out of range: there are {len(local)}"
        )
    linear = matrix[:3, :3]
    if np.linalg.det(linear) < 0:  # a mirror turns triangles over
        faces = faces[:, ::-1]
    out: dict[str, Any] = {"faces": faces, "uv": None, "normal": None, "colors": None}
    out["vertices"] = (local @ linear.T + matrix[:3, 3]).astype(np.float32)
    if "NORMAL" in attributes:
        normal = file.numbers(attributes["NORMAL"])[:, :3] @ np.linalg.pinv(linear)
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        out["normal"] = (normal / np.maximum(length, 1e-30)).astype(np.float32)
    if f"TEXCOORD_{layout.uv_set}" in attributes:
        uv = layout.place(file.numbers(attributes[f"TEXCOORD_{layout.uv_set}"])).astype(np.float32)
        out["uv"] = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)  # the file's origin is the top left corner
    if "COLOR_0" in attributes:
        out["colors"] = file.numbers(attributes["COLOR_0"]).astype(np.float32)
    return out


class _Layout(NamedTuple):
    """Where a texture lies: the set of UVs that it uses, and what is done to them (KHR_texture_transform)."""

    uv_set: int = 0
    offset: tuple[float, ...] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, ...] = (1.0, 1.0)

    def place(self, uv: np.ndarray) -> np.ndarray:
        """UVs `[N, 2]` of the file to those to look up; v points down, the rotation is counter-clockwise to the eye."""
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        return (uv * self.scale) @ np.array([[c, -s], [s, c]]) + self.offset


def _floats(values: Any, factor: float = 1.0) -> Any:
    return tuple(factor * float(x) for x in values)


def _layout(info: dict[str, Any]) -> _Layout:
    t = info.get("extensions", {}).get("KHR_texture_transform", {})
    uv_set, rotation = t.get("texCoord", info.get("texCoord", 0)), float(t.get("rotation", 0))
    return _Layout(uv_set, _floats(t.get("offset", (0, 0))), rotation, _floats(t.get("scale", (1, 1))))


class _Material(NamedTuple):
    """A material with the layout that its textures share."""

    data: MaterialData
    layout: _Layout
    has_texture: bool


def _material(file: _File, m: dict[str, Any], textures: bool) -> _Material:
    pbr = m.get("pbrMetallicRoughness", {})
    strength = m.get("extensions", {}).get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1.0)
    data = MaterialData(
        name=m.get("name", ""),
        base_color_factor=_floats(pbr.get("baseColorFactor", (1, 1, 1, 1))),
        metallic_factor=float(pbr.get("metallicFactor", 1)),
        roughness_factor=float(pbr.get("roughnessFactor", 1)),
        emissive_factor=_floats(m.get("emissiveFactor", (0, 0, 0)), strength),
        alpha_mode=m.get("alphaMode", "OPAQUE"),
        alpha_cutoff=float(m.get("alphaCutoff", 0.5)),
        double_sided=bool(m.get("doubleSided", False)),
    )
    infos = {
        "base_color_texture": pbr.get("baseColorTexture"),
        "metallic_roughness_texture": pbr.get("metallicRoughnessTexture"),
        "normal_texture": m.get("normalTexture"),
        "emissive_texture": m.get("emissiveTexture"),
        "occlusion_texture": m.get("occlusionTexture"),
    }
    infos = {k: v for k, v in infos.items() if v is not None and textures}
    layouts = {k: _layout(v) for k, v in infos.items()}
    layout = next(iter(layouts.values()), _Layout())
    for name, own in layouts.items():
        if own != layout:
            logging.getLogger("diffrast").warning(
                "mesh %s: the %s of material %r has UVs of its own (TEXCOORD_%d, or KHR_texture_transform) and is left "
                "out: a mesh here has one set of UVs",
                *(file.path, name.replace("_", " "), data.name, own.uv_set),
            )
            del infos[name]
    images = {name: file.image(info, linear=TEXTURES.get(name, False)) for name, info in infos.items()}
    for name in TEXTURES.keys() & images.keys():
        setattr(data, name, images[name] if name == "base_color_texture" else images[name][..., :3])
    if "normal_texture" in infos:
        data.normal_scale = float(infos["normal_texture"].get("scale", 1))
    if "occlusion_texture" in infos:
        red = images["occlusion_texture"][..., :1]
        _pack_occlusion(data, 1 + float(infos["occlusion_texture"].get("strength", 1)) * (red - 1))
    return _Material(data, layout, bool(infos))


def _pack_occlusion(data: MaterialData, red: torch.Tensor) -> None:
    """Into the red channel beside roughness and metalness; resized where the images differ."""
    other = data.metallic_roughness_texture
    if other is None:
        other = torch.ones(*red.shape[:2], 3)
    if red.shape[:2] != other.shape[:2]:
        red = torch.nn.functional.interpolate(
            red.movedim(-1, 0)[None], size=tuple(other.shape[:2]), mode="bilinear", antialias=True
        )[0].movedim(0, -1)
    data.metallic_roughness_texture = torch.cat([red, other[..., 1:3]], dim=-1)
    data.has_occlusion = True
