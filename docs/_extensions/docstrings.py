"""Docstrings in plain English with single backticks become reStructuredText before napoleon reads their sections."""

import re
from itertools import groupby

from sphinx.application import Sphinx

LITERAL = re.compile(r"(?<![`:])(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
ROLE = re.compile(r":[a-z:]+:`[^`]+`")
EMPHASIS = re.compile(r"(?<!\S)\*{1,2}\w[^*\n]*\w\*{1,2}(?!\w)")
BULLET = re.compile(r"\s*- ")
HANGING = re.compile(r"\s*(Args|Attributes|Raises):\s*$")
SECTION = re.compile(r"\s*(Args|Attributes|Example|Examples|Raises|Returns|Yields|Note|Notes):\s*$")


def plain(text: str) -> str:
    """Text without literals: what reStructuredText would take for markup is escaped, emphasis stays."""
    parts, end = [], 0
    for found in EMPHASIS.finditer(text):
        parts += [re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", text[end : found.start()]), found[0]]
        end = found.end()
    return "".join(parts) + re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", text[end:])


def literals(text: str) -> str:
    """`x` becomes ``x``, also where a letter follows."""
    parts, end = [], 0
    for found in sorted([*LITERAL.finditer(text), *ROLE.finditer(text)], key=lambda match: match.start()):
        if found.start() < end:
            continue
        parts.append(plain(text[end : found.start()]))
        end = found.end()
        if found[0].startswith(":"):
            parts.append(found[0])
            continue
        before = "\\ " if found.start() and text[found.start() - 1].isalnum() else ""
        after = "\\ " if text[end : end + 1].isalnum() else ""
        parts.append(f"{before}``{' '.join(found[2].split())}``{after}")
    return "".join(parts) + plain(text[end:])


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def introduces(before: str, line: str) -> bool:
    """Whether `before`, the last line of a paragraph, announces the code that begins with `line`."""
    return before.endswith(":") and not SECTION.match(before) and indent(line) >= indent(before) + 4


def paragraphs(lines: list[str]) -> list[tuple[bool, str]]:
    """The same lines as reStructuredText wants them, each with whether it is code.

    A list begins a paragraph of its own, a paragraph that is indented after a colon is code, and the other lines of a
    paragraph begin in one column, but in sections whose hanging indents mean something.
    """
    result: list[tuple[bool, str]] = []
    section = code = 10**6  # the column of a section's title, and of the line that announced code
    text = 0  # where the last line that is not blank stands in the result
    for line in lines:
        before = result[-1][1] if result else ""
        if line.strip():
            section = 10**6 if indent(line) <= section else section
            code = 10**6 if indent(line) <= code else code
        if line.strip() and code == 10**6 and result:
            said = result[text][1]
            if SECTION.match(line):
                section = indent(line) if HANGING.match(line) else section
            elif not before.strip() and introduces(said, line):
                result[text] = (False, said.rstrip(":") + "::")
                code = indent(said)
            elif BULLET.match(line):
                if before.strip() and not BULLET.match(before) and indent(before) == indent(line):
                    result.append((False, ""))
            elif before.strip() and section == 10**6 and not SECTION.match(before) and indent(line) > indent(before):
                line = " " * (indent(before) + 2 * bool(BULLET.match(before))) + line.strip()
        if line.strip():
            text = len(result)
        result.append((code < 10**6, line))
    return result


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    parts = []
    for is_code, group in groupby(paragraphs(lines), key=lambda pair: pair[0]):
        text = "\n".join(line for _, line in group)
        parts.append(text if is_code else literals(text))
    lines[:] = "\n".join(parts).split("\n")


def process_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """What a dataclass makes anew for each object is no Python that Sphinx can read."""
    return signature and signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
