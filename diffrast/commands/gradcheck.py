"""`diffrast gradcheck`: gradients of images against a supersampled truth."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction

from .command import Json, Range, Switch, stopped


@dataclass(frozen=True, kw_only=True)
class Gradcheck:
    """Compare gradients of images with the truth.

    Example: diffrast gradcheck rotation --samples 3
    """

    #: such as rotation, or cube for all scenes that begin with it; a wrong name lists them (default: all, minutes)
    names: Positional[tuple[str, ...]] = ()
    #: of antialias; may be given twice (default: both)
    mode: UseAppendAction[tuple[Literal["silhouette", "area"], ...]] = ()
    #: random parameters per scene
    samples: Annotated[int, Range(1, 1000)] = 3
    #: pixels drawn beyond the border and cut off
    guard: Annotated[int, Range(0, 1000)] = 0
    #: print bias and ratio of each parameter, too
    components: Switch = False
    #: exit code 1 if a median cosine is smaller than this
    fail_under: Annotated[float | None, Range(-1, 1)] = None
    #: instead: solve optimization problems, all or those named
    problems: Switch = False
    #: with --problems: random starts of each
    seeds: Annotated[int, Range(1, 1000)] = 3
    #: instead: write an image of derivatives beside the truth, of some scenes, or of those named by each parameter
    images: Path | None = None
    #: a .json to write the rows to, where those of other scenes stay, with a table of all of them in a .md beside it
    out: Path | None = None
    json: Json = False

    def run(self) -> int:
        from ..gradcheck import OURS, SCENES, Primitives, gradients, pictures, problems, report
        from ..gradcheck.gradients import scenes_named
        from ..gradcheck.pictures import SHOWN

        names = self.names or None
        if self.images:
            scenes = [SCENES[name](1) for name in scenes_named(self.names)]
            shown = [(scene.name, label, min(scene.size, 32)) for scene in scenes for label in scene.labels]
            pictures(self.images, shown or SHOWN)
            return 0
        columns = report.PROBLEM_COLUMNS if self.problems else report.COLUMNS
        rows: list[dict[str, Any]] = []

        def show(row: dict[str, Any]) -> None:
            rows.append(row)
            if not self.json:
                print(report.header(columns=columns) + "\n" if len(rows) == 1 else "", end="")
                print(report.line(row, columns=columns), flush=True)
                if self.components and "bias" in row:
                    print("    ", report.components(row))
            if self.out:  # as they come: the large scenes take minutes
                _keep(self.out, row)

        code, ours = 0, {mode: Primitives(mode=mode, guard=self.guard) for mode in self.mode or OURS}
        try:
            if self.problems:
                problems(names, ours, self.seeds, show)
            else:
                gradients(names, ours, self.samples, show)
        except KeyboardInterrupt:
            code = stopped("these are the rows that were done")
        if self.json:
            print(json.dumps({"rows": rows}))
        for row in rows:
            if self.fail_under is not None and not row.get("cosine", 1) >= self.fail_under:
                low = f"cosine {row['cosine']:.4f} is below {self.fail_under:g}"
                print(f"diffrast: {row['scene']}, {row['adapter']}: {low}", file=sys.stderr)
                code = code or 1
        return code


def _keep(path: Path, row: dict[str, Any]) -> None:
    """Put a row into a file of rows, in the place of one of the same scene and renderer, and write the table again."""
    from ..gradcheck import report
    from ..io.atomic import write_text

    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    same = [all(old.get(k) == row.get(k) for k in ("scene", "problem", "adapter")) for old in rows]
    place = same.index(True) if any(same) else len(rows)
    rows[place : place + 1] = [row]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(rows, indent=1) + "\n")
    write_text(path.with_suffix(".md"), report.markdown(rows))
