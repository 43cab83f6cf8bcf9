"""Finds the kernel and shader sources: beside the package in a checkout or editable install, inside it in a wheel."""

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def source_folder(name: str) -> Path:
    """The folder of sources called `name` ("cuda" or "shaders").

    Raises FileNotFoundError when the installation lacks it.
    """
    places = (PACKAGE / "_sources" / name, PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(str(place) for place in places)
    raise FileNotFoundError(f"diffrast's sources {name!r} are missing (looked in {looked}); reinstall diffrast")


def flatten(path: Path) -> str:
    """The source with its `#include "x"` lines replaced by the files of the same folder, each once (as `#pragma once`
    means).

    What a run-time compiler takes: one text. `#line` directives keep file names and line numbers in its messages.
    """
    seen: set[Path] = set()

    def expand(file: Path) -> list[str]:
        seen.add(file)
        lines = [f'#line 1 "{file.name}"']
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            include = re.match(r'\s*#\s*include\s*"(.+)"', line)
            if include:
                other = file.parent / include[1]
                lines += expand(other) if other not in seen else []
                lines.append(f'#line {number + 1} "{file.name}"')
            elif not re.match(r"\s*#\s*pragma\s+once\b", line):
                lines.append(line)
            else:
                lines.append("")
        return lines

    return "\n".join(expand(path)) + "\n"
