"""`diffrast doctor`: which backends work here."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .command import Json, say


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say which backends work here, and what would mend the others.

    Example: diffrast doctor
    """

    json: Json = False

    def run(self) -> int:
        from ..checks.machine import examine, screen

        states = examine()
        say(self.json, {"backends": [asdict(state) for state in states]}, screen(states))
        return 0 if any(state.works for state in states) else 1
