"""Rasterizer contexts: which backend looks for the visible triangles, and the log that says so.

Contexts hold no device state of their own, so creating hundreds of them costs nothing. What OpenGL needs is opened by
the first call that draws with it, shared by the contexts of a thread, and gone when they are.
"""

import logging
import re
import weakref
from functools import cache

import torch

from .. import backends
from . import validate

logger = logging.getLogger("diffrast")

# The log levels of the de-facto interface: 0 info, 1 warning, 2 error, 3 fatal.
LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def set_log_level(level: int) -> None:
    """Sets what diffrast logs: 0 everything, 1 warnings (the default), 2 errors, 3 fatal errors only."""
    logger.setLevel(LEVELS[validate.integer("set_log_level", "level", level, 0, 3)])


def get_log_level() -> int:
    """The current level, 0 to 3, as for `set_log_level`."""
    effective = logger.getEffectiveLevel()
    return max((i for i, level in enumerate(LEVELS) if level <= effective), default=0)


_said: set[str] = set()


def say_once(message: str, level: int = logging.WARNING) -> None:
    """Logs a message the first time it comes up."""
    if message not in _said:
        _said.add(message)
        logger.log(level, message)


# GPUs made for computing, by the words of their names: little of the chip serves the graphics pipeline.
FOR_COMPUTING = {
    "P100",
    "V100",
    "A30",
    "A100",
    "A800",
    "H20",
    "H100",
    "H200",
    "H800",
    "GH200",
    "B100",
    "B200",
    "B300",
    "GB200",
    "GB300",
}


@cache
def automatic(device: torch.device) -> tuple[str, str]:
    """(backend, reason) for the tensors of a CUDA device. Decided once: its OpenGL must first draw a trial picture
    right."""
    gpu = torch.cuda.get_device_name(device)
    if FOR_COMPUTING & set(re.split(r"[^A-Z0-9]+", gpu.upper())):
        return "cuda", f"{gpu} is made for computing, not for drawing"
    try:
        backends.get("gl").prove(device)
    except RuntimeError as error:
        return "cuda", str(error)
    return "gl", f"{gpu} shares its memory with OpenGL"


def choose(backend: str, pos: torch.Tensor) -> str:
    """The name of the backend that rasterizes this tensor, for the backend that was asked for."""
    name = backend
    if backend == "auto":
        name, reason = backends.kernels_for(pos).name, ""
        if pos.device.type == "cuda" and pos.dtype == torch.float32:
            name, reason = automatic(pos.device)
        message = f"backend 'auto' rasterizes {pos.device.type} tensors with {name!r}"
        say_once(f"{message}: {reason}" if reason else message, logging.INFO)
    kinds = backends.kinds(name)
    if pos.device.type not in kinds:
        raise ValueError(
            f"rasterize(): pos must be on a {' or '.join(kinds)} device for backend={name!r}; got "
            f"{validate.describe(pos)}"
        )
    return name


# Living contexts that may rasterize with OpenGL, by id. When the last of them is gone, so is what OpenGL holds.
_living: dict[int, None] = {}


def _collected(key: int) -> None:
    _living.pop(key, None)
    if not _living:
        backends.release(everywhere=True)


class RasterizeContext:
    """Chooses the rasterizer.

    Args:
        backend: "auto" picks for each call by where the tensors are and logs once what it chose and why: "cpu" for CPU
            tensors; for CUDA tensors "gl" where OpenGL can use the GPU's memory and the GPU is made for graphics, else
            "cuda". A name ("cpu", "cuda", "gl") insists on it.
        device: for the sake of existing code; work always runs where the tensors are. One GPU by number refuses tensors
            on another.

    Raises:
        ValueError: unknown backend.
        RuntimeError: the backend that was asked for cannot start; the message names the mending command.
    """

    def __init__(self, backend: str = "auto", device: torch.device | str | int | None = None) -> None:
        validate.choice("RasterizeContext", "backend", backend, ("auto", *sorted(backends.LOADERS)))
        if backend != "auto":
            backends.get(backend)
        self.backend = backend
        self.device = device
        self.output_db = True
        self.active_depth_peeler: object | None = None
        if backend in ("auto", "gl"):
            _living[id(self)] = None
            weakref.finalize(self, _collected, id(self)).atexit = False

    def release_context(self) -> None:
        """Frees what OpenGL holds for this thread. The context can be used again afterwards."""
        backends.release(everywhere=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(backend={self.backend!r})"


def _warn_without_cuda(name: str) -> None:
    if not torch.cuda.is_available():
        say_once(f"{name}: no CUDA device here; CPU tensors are rasterized on the CPU")


class RasterizeCudaContext(RasterizeContext):
    """The name that existing code uses. The rasterizer is chosen by where the tensors are, as with `RasterizeContext`.

    Args:
        device: as for `RasterizeContext`.
    """

    def __init__(self, device: torch.device | str | int | None = None) -> None:
        super().__init__("auto", device)
        _warn_without_cuda("RasterizeCudaContext")


class RasterizeGLContext(RasterizeContext):
    """The name that existing code uses. The rasterizer is chosen by where the tensors are, as with `RasterizeContext`.

    Args:
        output_db: False makes `rasterize` return an empty `rast_db` `[B, H, W, 0]` and saves its computation.
        mode: "automatic" or "manual"; contexts need no activation here, so both behave alike.
        device: as for `RasterizeContext`.
    """

    def __init__(
        self, output_db: bool = True, mode: str = "automatic", device: torch.device | str | int | None = None
    ) -> None:
        validate.choice("RasterizeGLContext", "mode", mode, ("automatic", "manual"))
        super().__init__("auto", device)
        self.output_db = bool(output_db)
        self.mode = mode
        _warn_without_cuda("RasterizeGLContext")

    def set_context(self) -> None:
        """Does nothing: no graphics context needs to be made current here. Kept for existing code."""
