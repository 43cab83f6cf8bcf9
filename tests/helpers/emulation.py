"""The GPU's search for visible triangles, run by the CPU: the element functions of cuda/visibility.cu, one after the
other.

Everything of it but the atomics is the code that runs on the GPU: queues, tiles, passes, ranges, and the driver in
Python.
"""

from collections.abc import Sequence
from typing import Any

import torch

from diffrast.backends import compute
from diffrast.backends.cpu import CpuBackend, library_path

THREADS = 512  # two blocks


class EmulatedBackend(CpuBackend):
    name = "emulated"

    def visibility(self, dtype: torch.dtype, args: Sequence[Any]) -> None:
        compute.search(lambda kernel, d, count, fields: self.launch(kernel, d, count, fields, 1), dtype, args, THREADS)


def create() -> EmulatedBackend:
    return EmulatedBackend(library_path())
