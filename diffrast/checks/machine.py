"""What works here and what does not, with the reason and the mending command: `diffrast doctor` and `diffrast
warmup`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .. import __version__, backends
from ..backends import specialize

# What `texture` is compiled for ahead of time, besides what other kernels need: the usual numbers of channels.
CHANNELS = (1, 3, 4)
BOUNDARIES = {"2d": (0, 1, 2), "3d": (0, 1, 2), "cube": (3,)}  # indices into ops.texture_sample.BOUNDARIES


@dataclass(frozen=True)
class State:
    """A backend: whether it works, and in words why not, or with what it works."""

    name: str
    works: bool
    reason: str


def examine() -> list[State]:
    """The state of every backend. Starts those that can start."""
    states = []
    for name in sorted(backends.LOADERS):
        try:
            backend = backends.get(name)
            states.append(State(name, True, DESCRIBE.get(name, _cpu)(backend)))
        except RuntimeError as error:
            states.append(State(name, False, str(error)))
    return states


def _cpu(_: backends.Rasterizer) -> str:
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def _cuda(_: backends.Rasterizer) -> str:
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _gl(backend: Any) -> str:
    """What draws, and for each CUDA device whether images stay within the GPU."""
    return "; ".join([backend.description, *map(_shared, range(torch.cuda.device_count()))])


def _shared(index: int) -> str:
    try:
        backends.get("gl").prove(torch.device("cuda", index))
    except RuntimeError as error:
        return f"cuda:{index} through the host ({error})"
    return f"cuda:{index} shares its memory"


# What to say of a backend that works.
DESCRIBE = {"cuda": _cuda, "gl": _gl}


def screen(states: Sequence[State]) -> str:
    """The states as text, versions first."""
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ", no CUDA"
    lines = [
        f"diffrast {__version__}, Python {platform.python_version()}, torch {torch.__version__}{cuda}, "
        f"{platform.platform()}"
    ]
    lines += [f"{s.name:<6} {'works' if s.works else 'NO':<6} {s.reason}" for s in states]
    return "\n".join(lines)


def usual_kernels() -> list[specialize.Kernel]:
    """The kernels that float32 programs use, with the constants that the operators would give them."""
    kernels = []
    for name in specialize.names():
        if not name.startswith(("texture_fwd", "texture_bwd")):
            kernels.append(specialize.kernel(name, torch.float32))
            continue
        for boundary in BOUNDARIES[name.rsplit("_", 1)[1]]:
            kernels += [
                specialize.kernel(name, torch.float32, {"DR_CHANNELS": c, "DR_BOUNDARY": boundary}) for c in CHANNELS
            ]
    return kernels


def architectures() -> list[str]:
    """Of the CUDA devices here. Raises RuntimeError where there is none."""
    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA device here; name the architectures, such as sm_90")
    capabilities = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    return sorted(f"sm_{major}{minor}" for major, minor in capabilities)
