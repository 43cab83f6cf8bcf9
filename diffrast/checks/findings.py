"""What a check found, in words."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong: a short stable `code` and a `message` for people."""

    code: str
    message: str


class Findings(list[Finding]):
    """What was found; empty, and so false, if nothing is wrong. `print` it."""

    @property
    def codes(self) -> set[str]:
        return {f.code for f in self}

    def __str__(self) -> str:
        return "\n".join(f"{f.code}: {f.message}" for f in self) or "nothing wrong was found"
