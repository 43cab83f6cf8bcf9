"""Work that is not lost: the state of a run on disk, whole or not at all, and going on from it to the same result.

A checkpoint holds what the stage at hand began with and how far its optimization came. Everything before is either in
that, or is read again from the photographs in a moment. It contains tensors and numbers only, so that reading one runs
no code.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..io.atomic import write_bytes

NAME = "checkpoint.pt"


class Checkpoint:
    """Keeps the state of a run in `path`, at most every `every` seconds.

    `key`: what must be equal for a run to go on from another's state, by name. `writes`: false in all but one of
    several processes.
    """

    def __init__(
        self,
        path: Path,
        key: dict[str, Any],
        every: float,
        resume: bool = False,
        device: torch.device | str = "cpu",
        writes: bool = True,
    ) -> None:
        self.path, self.key, self.every, self.writes = path, key, every, writes
        self.loaded = _load(path, key, device) if resume else None
        self.saved = time.monotonic()
        self.begun: dict[str, Any] = {}
        self.final = False

    def passed(self, stage: str, order: list[str]) -> bool:
        """Whether the run goes on behind this stage."""
        return self.loaded is not None and order.index(self.loaded["stage"]) > order.index(stage)

    def begin(self, stage: str, made: dict[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
        """What a stage begins with, dataclasses of tensors by name: as it was where the run goes on in this stage, else
        what is `made` now. `kinds`: their classes."""
        if self.loaded is not None and self.loaded["stage"] == stage:
            made = {name: kinds[name](**values) for name, values in self.loaded["input"].items()}
        self.begun = {"stage": stage, "input": {name: dict(vars(value)) for name, value in made.items()}}
        return made

    def progress(self) -> dict[str, Any] | None:
        """How far the stage at hand came before, once."""
        if self.loaded is None or self.loaded["stage"] != self.begun.get("stage"):
            return None
        state, self.loaded = self.loaded["progress"], None
        return state

    def due(self) -> bool:
        return time.monotonic() - self.saved >= self.every

    def save(self, progress: dict[str, Any], final: bool = False) -> None:
        """Writes the stage at hand with its progress; after the `final` one, nothing more: what follows only finishes
        up."""
        if self.final:
            return
        self.final = final
        self.saved = time.monotonic()
        if not self.writes:
            return
        buffer = io.BytesIO()
        torch.save({"key": self.key, **self.begun, "progress": progress}, buffer)
        write_bytes(self.path, buffer.getvalue())

    def remove(self) -> None:
        """The run is complete."""
        if self.writes:
            self.path.unlink(missing_ok=True)


def _load(path: Path, key: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"there is no run to resume: {path} does not exist")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        before = state["key"]
        _ = state["stage"], state["input"], state["progress"]
    except Exception as error:  # torch.load fails with whatever its parsers raise
        raise ValueError(f"{path} cannot be read: {error}") from error
    changed = [name for name in key if before.get(name) != key[name]]
    if changed:
        name = changed[0]
        raise ValueError(
            f"{path} is of a run with another {name}, {before.get(name)!r}, not {key[name]!r}; go on with the same, or "
            "start anew with overwrite"
        )
    return state
