"""How to reconstruct: each option once, with its type, its range, its default and its help.

The command line, `config.yaml` and the report read them from here. Importing this module does not import torch.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import FlagCreatePairsOff

import diffrast

DEFAULT_STEPS = 1200

Baseline = Literal["adam-vertices", "no-remeshing"]
BASELINES = get_args(Baseline)

#: An option without a value: `--name` turns it on or, where it is on by default, `--no-name` turns it off.
Switch = FlagCreatePairsOff[bool]

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}


@dataclass(frozen=True)
class Range:
    """The least and the greatest value of an option: `Annotated[int, Range(1, 8)]`."""

    low: float
    high: float = math.inf

    def check(self, value: Any, what: str) -> None:
        if not (math.isfinite(value) and self.low <= value <= self.high):
            limits = f"at least {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"
            raise ValueError(f"{what} must be {limits}; got {value:g}")


@dataclass(frozen=True)
class Options:
    """How to reconstruct."""

    #: keep this many views out, or those of transforms_test.json, and judge the result by them
    holdout: int | Literal["test"] = 0
    #: optimization steps of all stages together (default: 1200)
    steps: Annotated[int | None, Range(1)] = None
    #: finish, outputs included, in at most about this many seconds
    time_limit: Annotated[float | None, Range(1e-9)] = None
    #: seed of the order in which views are used
    seed: int = 0
    #: folder of masks, one per photograph, by the same name; bright is the object (default: alpha or a threshold)
    masks: str | None = None
    #: reduce photographs to at most this many pixels a side (default: 1600, less where they are many)
    resolution: Annotated[int | None, Range(16)] = None
    #: cpu or cuda
    device: str = "cpu"
    #: replace another run in --out
    overwrite: Switch = False
    #: go on with a run in --out that was stopped or killed; same options
    resume: Switch = False
    #: save the state for --resume this often, in seconds
    checkpoint: Annotated[float, Range(0)] = 30.0
    #: what to start from: visual hull, ellipsoid, grid (optimizes topology), or a closed mesh in the cameras' world
    init: Literal["hull", "sphere", "grid"] | str = "hull"
    #: triangles of the mesh (default: by the photographs' size)
    faces: Annotated[int | None, Range(100)] = None
    #: never more triangles than this
    max_faces: Annotated[int, Range(100)] = 20000
    #: texels along the texture's side (default: by the photographs' size)
    texture: Annotated[int | None, Range(16)] = None
    #: views of each step
    batch: Annotated[int, Range(1)] = 4
    #: refine the principal point of each camera (default: where photographs have no alpha)
    refine: bool | None = None
    #: refine poses and a common focal length together with the shape, from errors of a few degrees on
    refine_cameras: Switch = False
    #: refine exposure and white balance of each photograph (default: where photographs have no alpha)
    exposure: bool | None = None
    #: find a material (base colour, roughness, metalness) and the light, instead of a texture with the light in it
    pbr: Switch = False
    #: with --pbr: find a normal map, too
    normal_map: Switch = False
    #: leave an ingredient out, to see what it gains: Large Steps (adam-vertices) or remeshing
    baseline: Baseline | None = None
    #: frames of the turntable film, 0 for none
    frames: Annotated[int, Range(0)] = 60
    #: show a progress bar
    progress: bool = True


def check(options: Options) -> None:
    """Raise `ValueError` for options that cannot be used."""
    check_values(options)
    if options.normal_map and not options.pbr:
        raise ValueError("--normal-map is a part of the material that --pbr finds; give both")
    shapes = [word for word in alternatives(get_type_hints(Options)["init"]) if word is not str]
    if options.init not in shapes and not Path(options.init).is_file():
        raise ValueError(f"--init must be {', '.join(shapes)} or the file of a mesh; got {options.init}")


def check_values(options: Any) -> None:
    """Raise `ValueError` for a number out of the range, or a word not among those, that a dataclass's field names."""
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        value, what = getattr(options, name), f"--{name.replace('_', '-')}"
        if isinstance(value, str):
            check_kind(value, hint, what)
        for limits in getattr(hint, "__metadata__", ()):
            if isinstance(limits, Range):
                for number in value if isinstance(value, tuple) else (value,):
                    if number is not None:
                        limits.check(number, what)


def alternatives(hint: Any) -> list[Any]:
    """The types and, of a `Literal`, the words that an annotation allows."""
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return [a for part in get_args(hint) for a in alternatives(part)]
    return [hint]


def check_kind(value: Any, hint: Any, what: str) -> None:
    """Raise `ValueError` if an annotation does not allow a value."""
    allowed = alternatives(hint)
    if type(value) not in allowed and not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{what} must be {' or '.join(KINDS.get(a, str(a)) for a in allowed)}; got {value!r}")


def described(options: Options) -> Iterator[tuple[str, Any, str]]:
    """The name, value and help of each option; no help where a program was packed without its sources."""
    try:
        source = inspect.getsource(Options)
    except OSError:
        source = ""
    texts = {name: text for text, name in re.findall(r"^    #: (.*)\n    (\w+):", source, re.MULTILINE)}
    for field in fields(Options):
        yield field.name, getattr(options, field.name), texts.get(field.name, "")


def key_of(dataset: Path, options: Options) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes, besides the photographs themselves."""
    own = ("device", "overwrite", "resume", "checkpoint", "frames", "progress")  # of a call, not of what it makes
    names = [f.name for f in fields(Options) if f.name not in own]
    values = {"data set": dataset.resolve().name, "version of diffrast": diffrast.__version__}
    return values | {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}
