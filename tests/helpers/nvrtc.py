"""What ptxas says of compiled kernels: `python tests/helpers/nvrtc.py sm_80` prints registers, stack and spills."""

import os
import re
import sys
from dataclasses import dataclass

import pytest

from diffrast.backends import nvrtc
from diffrast.backends.nvrtc import Compiled, compile_cuda
from diffrast.backends.sources import flatten, source_folder

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
SOURCES = sorted(source_folder("cuda").glob("*.cu"))


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of the GPU; stack and spills in bytes per thread."""

    kernel: str
    stack: int
    spill_stores: int
    spill_loads: int
    registers: int


def require() -> None:
    """Skips the test where the compiler is missing; where CI=true, fails it."""
    if nvrtc.library_path() is None:
        message = "libnvrtc is not installed; `pip install nvidia-cuda-nvrtc-cu12` (Linux on x86-64 and arm64)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)


def report(compiled: Compiled) -> list[Usage]:
    """What ptxas says of each kernel."""
    pattern = (
        r"Compiling entry function '(\w+)' for '\w+'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    return [Usage(m[1], *map(int, m.groups()[1:])) for m in re.finditer(pattern, compiled.log, re.DOTALL)]


def main() -> None:
    for arch in sys.argv[1:] or ["sm_80"]:
        print(f"{arch:30} {'registers':>9} {'stack':>6} {'spilled':>8}")
        for path in SOURCES:
            for use in report(compile_cuda(flatten(path), path.name, arch)):
                print(f"{use.kernel:30} {use.registers:9} {use.stack:6} {use.spill_stores + use.spill_loads:8}")


if __name__ == "__main__":
    main()
