"""Kernels specialized at run time: one kernel, one scalar type, constants where they pay; compiled once and kept on
disk.

A kernel file ends in lines like `DR_KERNEL(interpolate_fwd, InterpolateArgs)`, each of which makes the entry points of
one kernel. To compile one kernel, the lines of the others are left out.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from . import nvrtc
from .sources import flatten, source_folder

SCALARS = {torch.float32: ("f32", "float"), torch.float64: ("f64", "double")}
ENTRY = re.compile(r"^DR_(?:KERNEL|SCATTER)\((\w+), \w+\)$", re.MULTILINE)


@dataclass(frozen=True)
class Kernel:
    """A kernel with what is fixed when it is compiled: `constants` are preprocessor names such as DR_CHANNELS."""

    name: str
    dtype: torch.dtype
    constants: tuple[tuple[str, int], ...] = field(default=())

    @property
    def entry(self) -> str:
        return f"{self.name}_{SCALARS[self.dtype][0]}"

    def options(self) -> list[str]:
        suffix, scalar = SCALARS[self.dtype]
        fixed = [f"-D{name}={value}" for name, value in self.constants]
        return [f"-DDR_SUFFIX={suffix}", f"-DDR_SCALAR={scalar}", *fixed]


def kernel(name: str, dtype: torch.dtype, constants: Mapping[str, int] | None = None) -> Kernel:
    """A kernel and its constants."""
    return Kernel(name, dtype, tuple(sorted((constants or {}).items())))


@cache
def _files() -> dict[str, tuple[str, str]]:
    """Kernel name -> (file name, flattened text)."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(source_folder("cuda").glob("*.cu")):
        text = flatten(path)
        for name in ENTRY.findall(text):
            found[name] = path.name, text
    return found


def names() -> list[str]:
    """All kernels."""
    return sorted(_files())


def source_of(name: str) -> tuple[str, str]:
    """File name, and text with the one kernel's entry points."""
    if name not in _files():
        raise RuntimeError(f"no file in {source_folder('cuda')} has a kernel {name}; reinstall diffrast")
    file, text = _files()[name]
    return file, ENTRY.sub(lambda match: match[0] if match[1] == name else "", text)


def cache_folder() -> Path:
    """Where compiled kernels are kept: DIFFRAST_CACHE_DIR, or `diffrast` in the user's cache folder."""
    base = os.environ.get("DIFFRAST_CACHE_DIR")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffrast"


def cubin(kernel: Kernel, arch: str) -> Path:
    """The file of the kernel's machine code for an architecture such as "sm_80", compiled if it is not there yet.

    Its name holds a hash of everything that it depends on. It appears in one step, so that processes that start at once
    never see half of it; at worst they compile the same twice. Raises RuntimeError with the compiler's log.
    """
    file, text = source_of(kernel.name)
    options = kernel.options()
    key = repr((text, options, nvrtc.OPTIONS, nvrtc.version(), arch))
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    place = cache_folder() / f"{kernel.entry}-{arch}-{digest}.cubin"
    if place.exists():
        return place
    result = nvrtc.compile_cuda(text, file, arch, *options)
    if not result.ok and "--gpu-architecture" in result.log:
        major, minor = nvrtc.version()
        raise RuntimeError(
            f"NVIDIA's run-time compiler {major}.{minor} does not know {arch}; `pip install -U nvidia-cuda-nvrtc-cu12` "
            "(or nvidia-cuda-nvrtc, for CUDA 13)"
        )
    if not result.ok:
        raise RuntimeError(
            f"kernel {kernel.entry} does not compile for {arch}; NVRTC says:\n{_with_lines(text, result.log)}"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=place.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(result.cubin)
        Path(partial).replace(place)
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise
    return place


def _with_lines(text: str, log: str) -> str:
    """The log, each message followed by the line of source that it names."""
    lines: dict[tuple[str, int], str] = {}
    file, number = "", 0
    for line in text.splitlines():
        directive = re.match(r'#line (\d+) "(.+)"', line)
        if directive:
            number, file = int(directive[1]), directive[2]
            continue
        lines[file, number] = line
        number += 1
    out: list[str] = []
    for message in log.splitlines():
        out.append(message)
        place = re.match(r"(\S+?)\((\d+)\)", message)
        if place and (place[1], int(place[2])) in lines:
            out.append(f"    > {lines[place[1], int(place[2])].strip()}")
    return "\n".join(out)
