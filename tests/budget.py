"""How large the package is, in lines of code: `python tests/budget.py` prints it by room and fails above the limit.

Counted are the package with its pages and templates, the kernels and the shaders, without blank lines, comments and
docstrings.
What is added is paid for by what it replaces; a limit that is raised says why in the commit that raises it.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 19800  # it only goes down; before the rooms there were 20201, and 18585 is the goal

SOURCES = {".py", ".js", ".css", ".html", ".j2", ".cu", ".cpp", ".h", ".vert", ".geom", ".frag", ".comp", ".glsl"}
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def docstring_lines(text: str) -> set[int]:
    """The lines of the docstrings of a Python file."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    docstrings = [node.body[0] for node in owners if ast.get_docstring(node, clean=False) is not None]
    return {line for node in docstrings for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def code_lines(path: Path) -> list[int]:
    """The numbers of the lines that hold code, in Python, C, GLSL or a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        plain = re.sub(
            r"/\*.*?\*/|<!--.*?-->|{#.*?#}", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL
        )
        return [i for i, line in enumerate(plain.splitlines(), 1) if line.split("//")[0].strip()]
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in LAYOUT]
    lines = text.splitlines()
    spans = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)} - docstring_lines(text)
    return [line for line in sorted(spans) if lines[line - 1].strip()]


def parts(root: Path = ROOT) -> dict[str, int]:
    """Lines of code by room; `diffrast` is what lies beside the rooms."""
    count: Counter[str] = Counter()
    for folder in ("diffrast", "cuda", "shaders"):
        for path in sorted((root / folder).rglob("*")):
            # What begins with an underscore was built here.
            if path.suffix in SOURCES and not path.parent.name.startswith("_"):
                count["/".join(path.relative_to(root).parts[:-1][:2])] += len(code_lines(path))
    return dict(count)


def main() -> None:
    lines = parts(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    for name, count in lines.items():
        print(f"{name:24} {count:6}")
    total = sum(lines.values())
    print(f"{'lines of code':24} {total:6}, at most {LIMIT}")
    if total > LIMIT:
        sys.exit(f"{total - LIMIT} lines too many: what is added is paid for by what it replaces")


if __name__ == "__main__":
    main()
