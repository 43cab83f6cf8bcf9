"""Photographs to a mesh: a list of stages, each of which can be swapped for another.

Names are loaded when they are first asked for, so that what only reads `Options` does without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "Job": "job",
    "Made": "job",
    "Options": "options",
    "Photos": "job",
    "STAGES": "stages",
    "Stage": "job",
    "reconstruct": "pipeline",
    "stages_for": "stages",
    "undo_turns": "orient",
    "with_stage": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
