"""How to reconstruct: the options, what they may be, and what two runs must share for one to go on from the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import diffrast

DEFAULT_STEPS = 1200
INITS = ("hull", "sphere", "grid")
BASELINES = ("adam-vertices", "no-remeshing")


@dataclass(frozen=True)
class Options:
    """How to reconstruct. ``holdout``: how many views are kept out to judge by, or "test" for those of
    `transforms_test.json`;
    ``None`` means: chosen from the data (faces, texture) or without limit (time); ``refine``
    fits each view's principal point, by default where there is no alpha, that is for real photographs;
    ``refine_cameras``: their poses and a common factor on their focal lengths; ``exposure``: a factor on the light of
    each, per channel, by default like ``refine``;
    ``pbr``: a material and light instead of a texture with the light in it, ``normal_map``: with bumps; ``baseline``:
    leave an ingredient out, one of ``BASELINES``, to see what it gains; ``resume`` goes on with an interrupted run in
    the output folder; ``checkpoint``: seconds between its saved states; ``init``: the shape to begin with, ``hull``,
    ``sphere``,
    ``grid`` or the file of a closed mesh in the cameras' world."""

    holdout: int | str = 0
    steps: int | None = None
    time_limit: float | None = None
    seed: int = 0
    masks: str | None = None
    resolution: int | None = None
    device: str = "cpu"
    overwrite: bool = False
    resume: bool = False
    checkpoint: float = 30.0
    init: str = "hull"
    faces: int | None = None
    max_faces: int = 20000
    texture: int | None = None
    batch: int = 4
    refine: bool | None = None
    refine_cameras: bool = False
    exposure: bool | None = None
    pbr: bool = False
    normal_map: bool = False
    baseline: str | None = None
    frames: int = 60
    progress: bool = True


def check(options: Options) -> None:
    for name, low in (
        ("steps", 1),
        ("time_limit", 1e-9),
        ("faces", 100),
        ("max_faces", 100),
        ("texture", 16),
        ("batch", 1),
        ("frames", 0),
        ("resolution", 16),
        ("checkpoint", 0),
    ):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value >= low):
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low:g}; got {value}")
    if isinstance(options.holdout, str) and options.holdout != "test":
        raise ValueError(f"--holdout must be a number of views or test; got {options.holdout}")
    if options.baseline is not None and options.baseline not in BASELINES:
        raise ValueError(f"--baseline must be {' or '.join(BASELINES)}; got {options.baseline}")
    if options.normal_map and not options.pbr:
        raise ValueError("--normal-map is a part of the material that --pbr finds; give both")
    if options.init not in INITS and not Path(options.init).is_file():
        raise ValueError(f"--init must be {', '.join(INITS)} or the file of a mesh; got {options.init}")


def key_of(dataset: Path, options: Options) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes, besides the photographs themselves."""
    own = ("device", "overwrite", "resume", "checkpoint", "frames", "progress")  # of a call, not of what it makes
    names = [f.name for f in fields(options) if f.name not in own]
    values = {"data set": dataset.resolve().name, "version of diffrast": diffrast.__version__}
    return values | {f"--{name.replace('_', '-')}": getattr(options, name) for name in names}
