"""Photographs to a mesh: a list of stages, each of which can be swapped for another.

Names are loaded when they are first asked for, so that what only reads `Options` does without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Job, Made, Photos, Stage
    from .options import Options
    from .pipeline import reconstruct, with_stage
    from .stages import STAGES, stages_for

_MODULES = {
    "options": ["Options"],
    "job": ["Job", "Made", "Photos", "Stage"],
    "stages": ["STAGES", "stages_for"],
    "pipeline": ["reconstruct", "with_stage"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["STAGES", "Job", "Made", "Options", "Photos", "Stage", "reconstruct", "stages_for", "with_stage"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
