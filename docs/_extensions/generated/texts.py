"""Pages of text that stands elsewhere: the help of the commands, the notebook, the files of the project's root."""

import json
import os
import re
import subprocess
import sys

from .files import ROOT, read, write


def command_help() -> None:
    """What each command that the guide names prints for --help."""
    names = dict.fromkeys(re.findall(r"^diffrast ([a-z-]+)", read("docs/guides/command_line.md"), re.MULTILINE))
    environment = {**os.environ, "COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(ROOT)}
    parts = ["# Options of all commands\n\nWhat `diffrast COMMAND --help` prints.\n"]
    for name in names:
        command = [sys.executable, "-m", "diffrast", name, "--help"]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        parts.append(f"## diffrast {name}\n\n```text\n{said.strip()}\n```\n")
    write("commands.md", "\n".join(parts))


def notebook() -> None:
    """docs/first_steps.ipynb, its text and its code."""
    parts = []
    for cell in json.loads(read("docs/first_steps.ipynb"))["cells"]:
        text = "".join(cell["source"]).strip()
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    write("first_steps.md", "\n\n".join(parts) + "\n")


DEVELOPMENT = {"ARCHITECTURE.md": "map", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
LINK = re.compile(r"\[([^]]+)\]\(([^):#]+)(#[^)]*)?\)")


def development() -> None:
    """Files of the root, with links that lead to pages of the site, or to nothing where it has none."""

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if target in DEVELOPMENT:
            return f"[{text}](/generated/development/{DEVELOPMENT[target]}.md{anchor})"
        return f"[{text}](/{target.removeprefix('docs/')}{anchor})" if target.startswith("docs/") else text

    for name, page in DEVELOPMENT.items():
        write(f"development/{page}.md", LINK.sub(link, read(name)))
