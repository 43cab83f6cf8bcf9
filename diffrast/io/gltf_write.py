"""Writing glTF 2.0: one node, one primitive per material, images as PNG inside of the file."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import torch

from ..mesh.material_data import TEXTURES, MaterialData
from ..mesh.mesh import Mesh
from .image import encode

FLOAT, UINT = 5126, 5125


class _Document:
    """The JSON as it grows, with its one buffer."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "diffrast"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
        }

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        self.json.setdefault(kind, []).append(entry)
        return len(self.json[kind]) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.data += data
        return self.add("bufferViews", entry | ({} if target is None else {"target": target}))

    def numbers(self, x: torch.Tensor, kind: str, component: int, target: int) -> int:
        array = np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float32 if component == FLOAT else np.uint32)
        entry: dict[str, Any] = {"componentType": component, "count": len(array), "type": kind}
        entry["bufferView"] = self.view(array.tobytes(), target)
        if kind == "VEC3" and len(array):  # required of positions
            entry |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        return self.add("accessors", entry)

    def image(self, image: torch.Tensor, linear: bool) -> dict[str, Any]:
        view = self.view(encode(image, "PNG", linear=linear))
        image_at = self.add("images", {"bufferView": view, "mimeType": "image/png"})
        return {"index": self.add("textures", {"source": image_at})}


def gltf_bytes(mesh: Mesh, materials: list[MaterialData], *, binary: bool) -> bytes:
    """The file's bytes, `.glb` if `binary`, else `.gltf` with everything embedded."""
    mesh = mesh.single_index()
    document = _Document()
    attributes = {
        "POSITION": document.numbers(mesh.vertices, "VEC3", FLOAT, 34962),
        "NORMAL": document.numbers(mesh.normals() if mesh.normal is None else mesh.normal, "VEC3", FLOAT, 34962),
    }
    if mesh.uv is not None:
        flipped = torch.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], dim=1)  # the file's origin is the top left corner
        attributes["TEXCOORD_0"] = document.numbers(flipped, "VEC2", FLOAT, 34962)
    if mesh.colors is not None:
        kind = f"VEC{mesh.colors.shape[1]}"
        attributes["COLOR_0"] = document.numbers(mesh.colors, kind, FLOAT, 34962)
    primitives = []
    for i, m in enumerate(materials):
        faces = mesh.faces if mesh.material_ids is None else mesh.faces[mesh.material_ids == i]
        index = document.numbers(faces.reshape(-1), "SCALAR", UINT, 34963)
        at = document.add("materials", _material(document, m))
        if len(faces):
            primitives.append({"attributes": attributes, "indices": index, "material": at})
    document.add("meshes", {"primitives": primitives})
    return _glb(document) if binary else _embedded(document)


def _material(document: _Document, m: MaterialData) -> dict[str, Any]:
    pbr: dict[str, Any] = {
        "baseColorFactor": list(m.base_color_factor),
        "metallicFactor": m.metallic_factor,
        "roughnessFactor": m.roughness_factor,
    }
    out: dict[str, Any] = {"pbrMetallicRoughness": pbr, "emissiveFactor": list(m.emissive_factor)}
    if max(m.emissive_factor) > 1:  # the specification keeps the factor in 0..1
        strength = max(m.emissive_factor)
        out["emissiveFactor"] = [e / strength for e in m.emissive_factor]
        out["extensions"] = {"KHR_materials_emissive_strength": {"emissiveStrength": strength}}
        document.json["extensionsUsed"] = ["KHR_materials_emissive_strength"]
    if m.name:
        out["name"] = m.name
    if m.alpha_mode != "OPAQUE":
        out["alphaMode"] = m.alpha_mode
    if m.alpha_mode == "MASK":
        out["alphaCutoff"] = m.alpha_cutoff
    if m.double_sided:
        out["doubleSided"] = True
    places = {
        "base_color_texture": (pbr, "baseColorTexture"),
        "metallic_roughness_texture": (pbr, "metallicRoughnessTexture"),
        "normal_texture": (out, "normalTexture"),
        "emissive_texture": (out, "emissiveTexture"),
    }
    for field, (target, key) in places.items():
        image = getattr(m, field)
        if image is not None:
            target[key] = document.image(image, linear=TEXTURES[field])
    if m.normal_texture is not None and m.normal_scale != 1:
        out["normalTexture"]["scale"] = m.normal_scale
    if m.has_occlusion and m.metallic_roughness_texture is not None:
        out["occlusionTexture"] = {"index": pbr["metallicRoughnessTexture"]["index"]}
    return out


def _glb(document: _Document) -> bytes:
    document.data += b"\0" * (-len(document.data) % 4)
    document.json["buffers"] = [{"byteLength": len(document.data)}]
    text = json.dumps(document.json, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + len(document.data)
    return (
        struct.pack("<4sII", b"glTF", 2, size)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(document.data), b"BIN\0")
        + bytes(document.data)
    )


def _embedded(document: _Document) -> bytes:
    uri = "data:application/octet-stream;base64," + base64.b64encode(bytes(document.data)).decode()
    document.json["buffers"] = [{"byteLength": len(document.data), "uri": uri}]
    return json.dumps(document.json).encode()
