"""`diffrast warmup`: the GPU's kernels, compiled ahead of time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tyro.conf import UseAppendAction

from .command import Json, Quiet, progress, say


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Compile the GPU's kernels ahead of time.

    Example: diffrast warmup --arch sm_90
    """

    #: an architecture, such as sm_90 (default: those of the devices here)
    arch: UseAppendAction[tuple[str, ...]] = ()
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        from ..backends import specialize
        from ..checks.machine import architectures, usual_kernels

        wrong = [arch for arch in self.arch if not re.fullmatch(r"sm_\d{2,3}a?", arch)]
        if wrong:
            raise ValueError(f"--arch must be like sm_90; got {wrong[0]}")
        kernels = usual_kernels()
        try:
            targets = self.arch or architectures()
            for kernel, arch in progress([(k, a) for a in targets for k in kernels], "kernels", self.quiet):
                specialize.cubin(kernel, arch)  # each is kept as it is done: Ctrl-C loses none
        except RuntimeError as error:  # no device, no compiler
            raise OSError(str(error)) from error
        folder = str(specialize.cache_folder())
        sentence = "\n".join(f"{len(kernels)} kernels for {arch} are in {folder}" for arch in targets)
        say(self.json, {"kernels": len(kernels), "architectures": list(targets), "folder": folder}, sentence)
        return 0
