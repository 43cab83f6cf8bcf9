"""Where the project is, and where generated pages go."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PAGES = ROOT / "docs" / "generated"
written: set[Path] = set()


def write(name: str, text: str) -> None:
    """Writes a page, unless it is there already: Sphinx then leaves it alone."""
    path = PAGES / name
    written.add(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def remove_others() -> None:
    """Removes pages of earlier builds whose recipe or module is gone."""
    for path in set(PAGES.rglob("*.md")) - written:
        path.unlink()


def contents(pages: list[str]) -> str:
    """A table of contents that only the navigation shows."""
    return "\n".join(["```{toctree}", ":hidden:", "", *pages, "```", ""])
