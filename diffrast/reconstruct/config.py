"""A run in a file: `config.yaml`, which every run leaves and which `diffrast reconstruct --config` takes."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

import diffrast

from .options import Options, alternatives, check_kind, described

NAME = "config.yaml"
OWN = ("overwrite", "resume", "progress")  # of one call, not of what it makes
PATHS = ("dataset", "masks")


def values(dataset: Path, options: Options) -> dict[str, Any]:
    """What makes a run, by name. Paths are absolute."""
    found = {"dataset": dataset, **{f.name: getattr(options, f.name) for f in fields(Options) if f.name not in OWN}}
    return {k: str(Path(v).resolve()) if k in PATHS and v is not None else v for k, v in found.items()}


def dump(dataset: Path, options: Options) -> str:
    """The YAML text of a run, with the help of each option above it."""
    text = f"# diffrast {diffrast.__version__}; again: diffrast reconstruct --config {NAME} --out DIR\n"
    texts = {name: f"# {about}\n" for name, _, about in described(options) if about}
    return text + "".join(texts.get(k, "") + yaml.safe_dump({k: v}) for k, v in values(dataset, options).items())


def load(path: str | Path) -> dict[str, Any]:
    """What a file says: `dataset` and fields of `Options` by name (with - or _). Paths count from the file's folder.

    Raises `ValueError` that names the file and the entry at fault.
    """
    path = Path(path)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} must hold options by name, like 'steps: 1200'")
    known = {"dataset": str, **{n: hint for n, hint in get_type_hints(Options).items() if n not in OWN}}
    found = {}
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"{path}: there is no option {key!r}" + (f"; is {near[0]!r} meant?" if near else ""))
        if type(value) is int and float in alternatives(known[name]):
            value = float(value)
        check_kind(value, known[name], f"{path}: {key}")
        found[name] = str(path.parent / str(value)) if name in PATHS and value is not None else value
    return found
