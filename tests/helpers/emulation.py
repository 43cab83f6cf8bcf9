"""The GPU's search for visible triangles, run by the CPU: the element functions of cuda/visibility.cu, one after the
other.

Everything of it but the atomics is the code that runs on the GPU: queues, tiles, passes, ranges, and the driver in
Python.
"""

from functools import partial

from diffrast.backends import Visibility, compute
from diffrast.backends.cpu import CpuBackend, library_path

THREADS = 512  # two blocks


class EmulatedBackend(CpuBackend):
    name = "emulated"

    def visibility(self, search: Visibility) -> None:
        compute.find(partial(self.launch, workers=1), search, THREADS)


def create() -> EmulatedBackend:
    return EmulatedBackend(library_path())
