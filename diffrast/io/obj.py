"""Wavefront OBJ with its material library, both ways. Positions, UVs and normals keep their own indices, as in the
file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import torch

from ..mesh.material_data import TEXTURES, MaterialData
from ..mesh.mesh import Mesh
from ..mesh.polygon import triangulate
from .atomic import write_bytes, write_text
from .image import encode, load_image

# Lines of a material library that name an image, and the field it goes to.
MAPS = {"map_Kd": "base_color_texture", "map_Ke": "emissive_texture", "norm": "normal_texture"}


def inside(folder: Path, name: str, listed_in: Path) -> Path:
    """The path of a file that `listed_in` names; `ValueError` if it leaves the folder."""
    relative = Path(os.path.normpath(name.strip().replace("\\", "/")))
    if relative.is_absolute() or relative.parts[:1] == ("..",) or re.match(r"^[A-Za-z]:", str(relative)):
        raise ValueError(f"{listed_in} names a file outside its folder, which is refused: {name}")
    return folder / relative


def load_obj(path: Path, *, textures: bool = True, max_pixels: int) -> Mesh:
    """Read an OBJ; polygons are triangulated. Raises `ValueError` that names the file and the line."""
    columns: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    corners: list[tuple[int, int, int]] = []  # of all polygons, -1 for what a corner has not
    starts, used, libraries = [0], [], []
    names: dict[str, int] = {}
    current: int | None = None
    text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.partition("#")[0].strip().partition(" ")
        try:
            if word in columns:
                columns[word].append([float(x) for x in rest.split()])
            elif word == "f":
                polygon = [_corner(c, columns) for c in rest.split()]
                if len(polygon) < 3:
                    raise ValueError(f"a face needs three corners; got {len(polygon)}")
                corners += polygon
                starts.append(len(corners))
                if current is None:
                    current = names.setdefault("", len(names))
                used.append(current)
            elif word == "usemtl":
                current = names.setdefault(rest.strip(), len(names))
            elif word == "mtllib":
                libraries.append(rest.strip())
        except ValueError as error:
            raise ValueError(f"mesh {path} cannot be read: line {number}: {error}") from error
    if not used:
        raise ValueError(f"mesh {path} holds no triangle")
    v = _table(columns["v"], 3, path, "v")
    which, faces = _triangles(v, np.asarray(corners, dtype=np.int64), np.asarray(starts))
    known = _materials(path, libraries, textures, max_pixels)
    materials = [known.get(name, MaterialData(name=name, metallic_factor=0.0)) for name in names]
    ids = torch.from_numpy(np.asarray(used, dtype=np.int32)[which])
    rows = [len(row) for row in columns["v"]]
    colors = None
    if min(rows) >= 6:  # the widespread extension: r, g, b after x, y, z
        colors = torch.tensor([row[3:6] for row in columns["v"]])
    mesh = Mesh(torch.from_numpy(v), _int32(faces[..., 0]), colors=colors, materials=materials)
    mesh.material_ids = ids if len(materials) > 1 else None
    if columns["vt"] and faces[..., 1].max() >= 0:
        uv, index = _filled(_table(columns["vt"], 2, path, "vt"), faces[..., 1])
        mesh.uv, mesh.uv_faces = torch.from_numpy(uv), _int32(index)
        if torch.equal(mesh.uv_faces, mesh.faces) and len(uv) == len(v):
            mesh.uv_faces = None
    if columns["vn"] and faces[..., 2].min() >= 0:
        mesh.normal, mesh.normal_faces = (torch.from_numpy(_table(columns["vn"], 3, path, "vn")), _int32(faces[..., 2]))
    for i, m in enumerate(materials):
        bare = faces[..., 1].min(axis=1)[ids.numpy() == i] < 0
        if any(getattr(m, name) is not None for name in TEXTURES) and bare.any():
            raise ValueError(
                f"mesh {path}: material {m.name!r} has a texture but {int(bare.sum())} of its triangles have no UVs; "
                "load with textures=False, then diffrast.mesh.unwrap() makes UVs"
            )
    return mesh


def _int32(index: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(index, dtype=np.int32))


def _corner(text: str, columns: dict[str, list[list[float]]]) -> tuple[int, int, int]:
    """`v/vt/vn` to indices from zero, -1 where there is none; negative numbers count from the last line read."""
    parts = [*text.split("/"), "", ""][:3]
    out = []
    for part, (name, rows) in zip(parts, columns.items(), strict=True):
        if not part:
            out.append(-1)
            continue
        index = int(part)
        index = index - 1 if index > 0 else len(rows) + index
        if not 0 <= index < len(rows) or int(part) == 0:
            raise ValueError(f"{name} index {part} is out of range: there are {len(rows)} so far")
        out.append(index)
    if out[0] < 0:
        raise ValueError(f"a face's corner needs a position; got {text!r}")
    return out[0], out[1], out[2]


def _table(rows: list[list[float]], width: int, path: Path, name: str) -> np.ndarray:
    short = next((i for i, row in enumerate(rows) if len(row) < width), None)
    if short is not None and not (name == "vt" and len(rows[short]) == 1):
        raise ValueError(
            f"mesh {path} cannot be read: {name} {short + 1} must have {width} numbers; got {len(rows[short])}"
        )
    return np.array([[*row, 0.0][:width] for row in rows], dtype=np.float32).reshape(-1, width)


def _filled(uv: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners without UVs get (0, 0), so that every corner has some."""
    if index.min() >= 0:
        return uv, index
    return np.concatenate([uv, np.zeros((1, 2), dtype=np.float32)]), np.where(index < 0, len(uv), index)


def _triangles(v: np.ndarray, corners: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each triangle the polygon that it came from `[F]`, and its corners `[F, 3, 3]` (v, vt, vn)."""
    sizes = np.diff(starts)
    three = np.flatnonzero(sizes == 3)
    which, faces = [three], [corners[starts[three][:, None] + np.arange(3)]]
    for p in np.flatnonzero(sizes != 3):
        polygon = corners[starts[p] : starts[p + 1]]
        cut = np.array(triangulate(v[polygon[:, 0]].astype(np.float64)))
        which.append(np.full(len(cut), p))
        faces.append(polygon[cut])
    owner = np.concatenate(which)
    order = owner.argsort(kind="stable")
    return owner[order], np.concatenate(faces)[order]


# --- Materials --------------------------------------------------------------------------------------------------------


def _materials(path: Path, libraries: list[str], textures: bool, max_pixels: int) -> dict[str, MaterialData]:
    found: dict[str, MaterialData] = {}
    for name in libraries:
        library = inside(path.parent, name, path)
        if not library.is_file():
            raise ValueError(f"material library {library} does not exist (listed in {path})")
        for material, fields in _sections(library).items():
            found[material] = _material(material, fields, library, textures, max_pixels)
    return found


def _sections(library: Path) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for line in library.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition("#")[0].strip().partition(" ")
        if word == "newmtl":
            fields = sections.setdefault(rest.strip(), {})
        elif word:
            fields[word] = rest.strip()
    return sections


def _material(name: str, fields: dict[str, str], library: Path, textures: bool, max_pixels: int) -> MaterialData:
    def numbers(key: str, *default: float) -> list[float]:
        try:
            values = [float(x) for x in fields[key].split()] if key in fields else list(default)
            return values if len(values) == len(default) else values * len(default)
        except ValueError as error:
            raise ValueError(f"{library}: {key} of material {name!r} must be numbers; got {fields[key]!r}") from error

    (shininess,) = numbers("Ns", 0.0)
    # Blinn-Phong's exponent as a roughness: alpha^2 = 2 / (Ns + 2) (Walter et al. 2007), alpha = roughness^2.
    (roughness,) = numbers("Pr", (2 / (max(shininess, 0.0) + 2)) ** 0.25 if shininess > 0 else 1.0)
    (alpha,) = numbers("d", 1 - numbers("Tr", 0.0)[0])
    r, g, b = numbers("Kd", 1.0, 1.0, 1.0)
    e = numbers("Ke", 0.0, 0.0, 0.0)
    m = MaterialData(
        name=name,
        base_color_factor=(r, g, b, alpha),
        metallic_factor=numbers("Pm", 0.0)[0],
        roughness_factor=roughness,
        emissive_factor=(e[0], e[1], e[2]),
        alpha_mode="BLEND" if alpha < 1 else "OPAQUE",
    )
    for key, target in MAPS.items():
        if key not in fields or not textures:
            continue
        # A name may hold spaces; options before it begin with a dash and take numbers or on/off.
        file = re.sub(r"^(-\w+(\s+(-?[\d.]+|on|off))*\s+)+", "", fields[key])
        picture = inside(library.parent, file, library)
        if not picture.is_file():
            raise ValueError(f"image {picture} does not exist (listed in {library})")
        image = load_image(picture, linear=TEXTURES[target], max_pixels=max_pixels)
        if image.shape[2] == 1:
            image = image.expand(-1, -1, 3)
        setattr(m, target, image if target == "base_color_texture" else image[..., :3])
    if m.emissive_texture is not None and "Ke" not in fields:
        m.emissive_factor = (1.0, 1.0, 1.0)
    return m


# --- Writing ----------------------------------------------------------------------------------------------------------


def save_obj(path: Path, mesh: Mesh, materials: list[MaterialData]) -> None:
    """Write an OBJ, and beside it the library and its images where there is a material to write."""
    lines = []
    if materials:
        lines.append(f"mtllib {path.stem}.mtl")
    v = mesh.vertices.detach().cpu().double().numpy()
    if mesh.colors is not None:
        v = np.concatenate([v, mesh.colors[:, :3].detach().cpu().double().numpy()], axis=1)
    lines += ["v " + " ".join(f"{x:.9g}" for x in row) for row in v]
    tables = [(mesh.uv, mesh.uv_index, "vt"), (mesh.normal, mesh.normal_index, "vn")]
    for table, _, word in tables:
        if table is not None:
            lines += [f"{word} " + " ".join(f"{x:.9g}" for x in row) for row in table.detach().cpu().tolist()]
    index = [mesh.faces, *(i if t is not None else torch.full_like(mesh.faces, -1) for t, i, _ in tables)]
    corners = torch.stack([i.cpu().long() for i in index], dim=-1) + 1
    text = [["/".join(str(c) if c else "" for c in corner).rstrip("/") for corner in face] for face in corners.tolist()]
    ids = [0] * len(text) if mesh.material_ids is None else mesh.material_ids.tolist()
    names = [m.name or f"material_{i}" for i, m in enumerate(materials)]
    last = None
    for face, i in zip(text, ids, strict=True):
        if materials and i != last:
            lines.append(f"usemtl {names[i]}")
            last = i
        lines.append("f " + " ".join(face))
    if materials:
        _save_library(path, materials, names)
    write_text(path, "\n".join(lines) + "\n")


def _save_library(path: Path, materials: list[MaterialData], names: list[str]) -> None:
    lines = []
    for i, (m, name) in enumerate(zip(materials, names, strict=True)):
        r, g, b, alpha = m.base_color_factor
        er, eg, eb = m.emissive_factor
        lines += [f"newmtl {name}", f"Kd {r:.9g} {g:.9g} {b:.9g}", f"d {alpha:.9g}"]
        lines += [f"Pm {m.metallic_factor:.9g}", f"Pr {m.roughness_factor:.9g}", f"Ke {er:.9g} {eg:.9g} {eb:.9g}"]
        for key, source in MAPS.items():
            picture = getattr(m, source)
            if picture is not None:
                file = f"{path.stem}_{i}_{source}.png"
                write_bytes(path.parent / file, encode(picture, "PNG", linear=TEXTURES[source]))
                lines.append(f"{key} {file}")
    write_text(path.with_suffix(".mtl"), "\n".join(lines) + "\n")
