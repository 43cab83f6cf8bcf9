"""Options that several commands share, and what commands do alike."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from tyro.conf import Positional, arg

from ..reconstruct.options import Range, Switch

if TYPE_CHECKING:
    from ..mesh.mesh import Mesh
    from ..viewer.orbit import Pose

T = TypeVar("T")

Json = Annotated[Switch, arg(help="print one JSON object instead of text")]
Quiet = Annotated[Switch, arg(help="no progress bar")]
Up = Annotated[Literal["y", "z"], arg(help="the axis that points up")]
Device = Annotated[str, arg(help="cpu or cuda")]
Fov = Annotated[float, Range(1, 150)]
Samples = Annotated[int, Range(1, 8), arg(help="this many samples along each side of a pixel")]


@dataclass(frozen=True, kw_only=True)
class MeshFile:
    """A command that reads a mesh."""

    #: a .glb, .gltf, .obj, .ply or .stl file
    mesh: Positional[Path]
    #: an image to use as base colour (the mesh must have UVs)
    texture: Path | None = None

    def load(self) -> Mesh:
        from ..io import load_image, load_mesh

        mesh = load_mesh(self.mesh)
        if self.texture:
            if mesh.uv is None:
                raise ValueError(f"--texture needs UVs, and mesh {self.mesh} has none")
            image = load_image(self.texture)
            mesh.materials, mesh.material_ids = [], None  # the image takes their place
            mesh.texture = image[..., :3].expand(-1, -1, 3).contiguous()
        return mesh


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """A command that looks at a mesh from somewhere."""

    #: around the object, in degrees
    yaw: float = 35.0
    #: above the horizon, in degrees, -89 to 89
    pitch: Annotated[float, Range(-89, 89)] = 20.0
    #: from the middle of the object, in its units (default: so that all of it fits)
    distance: Annotated[float | None, Range(1e-6, 1e9)] = None
    #: vertical field of view, in degrees
    fov: Fov = 35.0
    up: Up = "y"

    def pose(self, mesh: Mesh) -> Pose:
        from ..viewer.shown import Shown

        fit = Shown().changed(mesh=mesh).fitting_pose()
        # Keep the object's size in the image when the field of view is another than the usual one.
        wide = math.sin(math.radians(fit.fov / 2)) / math.sin(math.radians(self.fov / 2))
        distance = self.distance or fit.distance * wide
        return type(fit)(fit.target, math.radians(self.yaw), math.radians(self.pitch), distance, self.fov)


def out_file(path: Path, *suffixes: str) -> Path:
    """A path to write, checked before the work starts."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"the output must end in {' or '.join(suffixes)}; got {path}")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist")
    return path


def say(as_json: bool, facts: dict[str, Any], sentence: str) -> None:
    """The result: for machines with --json, for people without."""
    print(json.dumps(facts) if as_json else sentence)


def progress(items: Iterable[T], label: str, quiet: bool) -> Iterable[T]:
    """The items, with a bar on stderr where somebody looks."""
    from tqdm import tqdm

    return tqdm(items, desc=label, disable=quiet or not sys.stderr.isatty(), leave=False)


def stopped(state: str) -> int:
    """The exit code after Ctrl-C, when what there is has been written."""
    print(f"diffrast: stopped early: {state}", file=sys.stderr)
    return 130
