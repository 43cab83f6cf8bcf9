"""NVIDIA's run-time compiler through ctypes: CUDA source to machine code, with no GPU, driver or toolkit.

The library comes from PyPI: every CUDA build of torch brings it along. CuPy could compile too, but asks the device for
its architecture even when it is told one, appends `-ftz=true`, and its cache does not see what changes in an included
header.
"""

import ctypes
import ctypes.util
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

# The CPU's arithmetic: no contraction (see FLAGS in setup.py), and subnormal numbers stay what they are.
OPTIONS = ("--std=c++17", "-fmad=false", "-ftz=false", "-prec-div=true", "-prec-sqrt=true", "--ptxas-options=-v")


@dataclass(frozen=True)
class Compiled:
    """What came of it: whether it went well, the machine code, and what the compiler said."""

    ok: bool
    cubin: bytes
    log: str


def library_path() -> Path | None:
    """libnvrtc: of an `nvidia` package (the major version of torch's CUDA first), of a toolkit, or of the system."""
    spec = importlib.util.find_spec("nvidia")
    found: list[Path] = []
    for folder in spec.submodule_search_locations or () if spec else ():
        for pattern in ("cuda_nvrtc/lib/libnvrtc.so.1[0-9]", "cu1[0-9]/lib/libnvrtc.so.1[0-9]"):
            found += sorted(Path(folder).glob(pattern))
    for root in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        found += sorted(Path(root).glob("lib64/libnvrtc.so.1[0-9]")) if root else []
    major = (torch.version.cuda or "").split(".")[0]
    found.sort(key=lambda path: path.suffix != f".{major}")  # stable: places keep their order
    return found[0] if found else None


@cache
def library() -> ctypes.CDLL:
    """Raises RuntimeError, which names the mending command, when there is none."""
    path = library_path()
    name = str(path) if path else ctypes.util.find_library("nvrtc")
    if name is None:
        raise RuntimeError(
            "NVIDIA's run-time compiler (libnvrtc) is not installed; `pip install nvidia-cuda-nvrtc-cu12` "
            "(or nvidia-cuda-nvrtc, for CUDA 13: as torch.version.cuda says)"
        )
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise RuntimeError(
            f"NVIDIA's run-time compiler cannot be loaded: {error}; `pip install --force-reinstall "
            "nvidia-cuda-nvrtc-cu12`"
        ) from error


def version() -> tuple[int, int]:
    """Of the compiler: (major, minor)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def compile_cuda(source: str, name: str, arch: str, *options: str) -> Compiled:
    """Compiles for a real architecture such as "sm_80"; `name` is the file's in messages."""
    nvrtc = library()

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
