"""NVIDIA's run-time compiler through ctypes: compiles CUDA source to machine code with no GPU, driver or toolkit.

The library comes from PyPI (nvidia-cuda-nvrtc-cu12, in the `test` extra, or whichever a CUDA build of torch brings along).
"""

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# As the GPU will be driven: the CPU's arithmetic, with no contraction (see FLAGS in setup.py).
OPTIONS = ("--std=c++17", "-fmad=false", "--ptxas-options=-v")


@dataclass(frozen=True)
class Compiled:
    ok: bool
    cubin: bytes
    log: str

    def report(self) -> list["Usage"]:
        """What ptxas says of each kernel."""
        pattern = (
            r"Compiling entry function '(\w+)' for '\w+'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
            r"(\d+) bytes spill loads.*?Used (\d+) registers"
        )
        return [Usage(m[1], *map(int, m.groups()[1:])) for m in re.finditer(pattern, self.log, re.DOTALL)]


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of the GPU; stack and spills in bytes per thread."""

    kernel: str
    stack: int
    spill_stores: int
    spill_loads: int
    registers: int


def library_path() -> Path | None:
    """libnvrtc of an installed `nvidia` package."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for pattern in ("cuda_nvrtc/lib/libnvrtc.so.1[0-9]", "cu1[0-9]/lib/libnvrtc.so.1[0-9]"):
            for path in sorted(Path(folder).glob(pattern)):
                return path
    return None


@cache
def library() -> ctypes.CDLL | None:
    path = library_path()
    return ctypes.CDLL(str(path)) if path else None


def compile_cuda(source: str, name: str, arch: str, *options: str) -> Compiled:
    """Compiles for a real architecture such as "sm_80"."""
    nvrtc = library()
    assert nvrtc is not None, "libnvrtc is not installed"

    def check(status: int) -> None:
        if status:
            text = nvrtc.nvrtcGetErrorString
            text.restype = ctypes.c_char_p
            raise RuntimeError(f"NVRTC: {text(status).decode()}")

    def read(size_of: str, content_of: str) -> bytes:
        size = ctypes.c_size_t()
        check(getattr(nvrtc, size_of)(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        check(getattr(nvrtc, content_of)(program, buffer))
        return buffer.raw

    program = ctypes.c_void_p()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    try:
        flags = [f"--gpu-architecture={arch}", *OPTIONS, *options]
        status = nvrtc.nvrtcCompileProgram(
            program, len(flags), (ctypes.c_char_p * len(flags))(*(f.encode() for f in flags))
        )
        log = read("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0").decode()
        cubin = read("nvrtcGetCUBINSize", "nvrtcGetCUBIN") if status == 0 else b""
        return Compiled(status == 0, cubin, log)
    finally:
        check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))


def main() -> None:
    """Prints the registers, stack and spills of every kernel: `python tests/nvrtc.py sm_80`."""
    import sys

    from diffrast.backends.sources import flatten, source_folder

    for arch in sys.argv[1:] or ["sm_80"]:
        print(f"{arch:30} {'registers':>9} {'stack':>6} {'spilled':>8}")
        for path in sorted(source_folder("cuda").glob("*.cu")):
            for use in compile_cuda(flatten(path), path.name, arch).report():
                print(
                    f"{use.kernel:30} {use.registers:9} {use.stack:6} {use.spill_stores + use.spill_loads:8}"
                )


if __name__ == "__main__":
    main()
