"""The gallery: a page for each recipe, from its docstring, its image, recipes/README.md and its source."""

import ast
import re
from pathlib import Path

from .files import ROOT, contents, read, write

IMAGE = re.compile(r"!\[([^]]*)\]\(\.\./([^)]+)\)")
HELPERS = {"common"}  # modules that recipes share

INDEX = """# Recipes

Complete programs, one file each, in the order in which to read them; each is meant to be read from top to bottom and to
be copied from. They need no data but what they make themselves, and no GPU. Seeds are fixed, so that a run repeats.
All but the first take `--out`, `--smoke` (small, with a check) and `--device`; `--help` lists the rest.

:::::{{grid}} 1 1 2 2
:gutter: 3

{cards}
:::::

{contents}"""

CARD = """::::{{grid-item-card}} {name}
:link: {name}
:link-type: doc

{image}

{title}.
::::
"""

PAGE = """# {name}

**{title}.**

{text}

{results}

## The program

`recipes/{name}.py`

```{{literalinclude}} /../recipes/{name}.py
:language: python
:lines: {first}-
```
"""


def results(name: str) -> str:
    """What recipes/README.md says of the recipe `name`, with or without its number: text and images."""
    begin = rf"^(?:\*\*|#+ +)`?(?:\d\d_)?{name}(?:\.py)?`?(?:\*\*)?\s+"
    end = r"(?=^\*\*[`\w]+(?:\.py)?`?\*\*\s|^#|\Z)"
    found = re.search(f"{begin}(.*?){end}", read("recipes/README.md"), re.MULTILINE | re.DOTALL)
    return IMAGE.sub(r"![\1](/../\2)", found[1].strip()) if found else ""


def entry(path: Path) -> str:
    """Writes the page of a recipe and returns its card."""
    name = re.sub(r"^\d\d_", "", path.stem)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    title, _, text = (ast.get_docstring(tree) or name).partition("\n\n")
    title = " ".join(title.split()).rstrip(".")
    file = f"assets/readme/{name}.png"
    image = f"![{title}](/../{file})" if (ROOT / file).is_file() else ""
    said = results(name)
    if image and file not in said:
        said = f"{image}\n\n{said}"
    first = (tree.body[0].end_lineno or 0) + 2 if ast.get_docstring(tree) else 1
    said = f"## What comes out\n\n{said}" if said else ""
    write(f"recipes/{path.stem}.md", PAGE.format(name=path.stem, title=title, text=text, results=said, first=first))
    return CARD.format(name=path.stem, title=title, image=image)


def gallery() -> None:
    paths = [path for path in sorted((ROOT / "recipes").glob("*.py")) if path.stem not in HELPERS]
    cards = "\n".join(map(entry, paths))
    write("recipes/index.md", INDEX.format(cards=cards, contents=contents([path.stem for path in paths])))
