"""`diffrast reconstruct`: posed photographs to a textured mesh."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tyro.conf import Positional, Suppress

from ..reconstruct.options import Options
from .command import Json, Quiet, Switch, say, stopped


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Options):
    """Posed photographs to a textured mesh.

    Example: diffrast reconstruct assets/demo --out out/demo
    """

    #: folder of posed photographs: NeRF-synthetic, Middlebury, COLMAP or IDR layout, or K, R, t in text files
    dataset: Positional[str | None] = None
    #: a YAML file with data set and options, as a run leaves one; what is on the command line goes before it
    config: Path | None = None
    #: folder for mesh.glb, turntable.mp4, report.html and metrics.json
    out: Path
    progress: Suppress[bool] = True
    quiet: Quiet = False
    #: show the mesh in the browser while it takes shape
    view: Switch = False
    #: with --view: port to listen on (default: 8484 or the next free one)
    port: int | None = None
    json: Json = False

    def defaults(self) -> Reconstruct | None:
        """What holds for options that are not on the command line, where a --config says so."""
        from ..reconstruct.config import load

        return Reconstruct(out=self.out, **load(self.config)) if self.config else None

    def run(self) -> int:
        from ..backends.memory import keep_freed_memory
        from ..reconstruct.pipeline import reconstruct

        keep_freed_memory()
        if self.dataset is None:
            raise ValueError("which photographs? give a data set's folder, or a --config that names one")
        with self._viewer() as viewer:
            metrics = reconstruct(self.dataset, self.out, replace(self, progress=not self.quiet), viewer=viewer)
        if int(os.environ.get("RANK", "0")):  # one of several processes speaks for all
            return 0
        groups = (("held-out views", metrics["held_out"]), ("views used", metrics["used"]))
        lines = [
            f"{title:<15}{group['count']:>4}   PSNR {group['psnr']:.2f} dB   on the object "
            f"{group['psnr_object']:.2f} dB   mask IoU {group['mask_iou']:.4f}"
            for title, group in groups
            if group["count"]
        ]
        lines.append(f"wrote {self.out / 'report.html'} in {metrics['seconds']['total']:.0f} s")
        say(self.json, {"out": str(self.out), **metrics}, "\n".join(lines))
        if metrics["interrupted"]:
            return stopped("this is the state at Ctrl-C; --resume goes on from it")
        return 0

    def _viewer(self) -> AbstractContextManager[Any]:
        if not self.view:
            return nullcontext()
        from ..viewer import Viewer

        return Viewer(port=self.port, quiet=self.json)
