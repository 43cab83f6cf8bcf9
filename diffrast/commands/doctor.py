"""`diffrast doctor`: which backends work here."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from .command import Command, json_option, say


def run(args: argparse.Namespace) -> int:
    from ..checks.machine import examine, screen

    states = examine()
    say(args, {"backends": [asdict(state) for state in states]}, screen(states))
    return 0 if any(state.works for state in states) else 1


COMMAND = Command("say which backends work here, and what would mend the others", json_option, run, "diffrast doctor")
