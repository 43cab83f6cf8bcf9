"""Rasterizer contexts: which backend looks for the visible triangles, and the log that says so.

Contexts hold no device state of their own, so creating hundreds of them costs nothing.
"""

import logging

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


def choose(backend: str, pos: torch.Tensor) -> str:
    """The name of the backend that rasterizes this tensor, for the backend that was asked for."""
    name = backends.kernels_for(pos).name if backend == "auto" else backend
    if backend == "auto":
        say_once(f"backend 'auto' rasterizes {pos.device.type} tensors with {name!r}", logging.INFO)
    kinds = backends.RASTERIZES[name]
    if pos.device.type not in kinds:
        raise ValueError(
            f"rasterize(): pos must be on a {' or '.join(kinds)} device for backend={name!r}; got {validate.describe(pos)}"
        )
    return name


class RasterizeContext:
    """Chooses the rasterizer.

    Args:
        backend: "auto" picks for each call by where the tensors are and logs once what it chose; a name ("cpu") insists on it.
        device: accepted for the sake of existing code; work always runs where the tensors are.

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

    def release_context(self) -> None:
        """Frees what the context holds. It can be used again afterwards."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(backend={self.backend!r})"


def _warn_without_cuda(name: str) -> None:
    if not torch.cuda.is_available():
        say_once(f"{name}: no CUDA device here; CPU tensors are rasterized on the CPU")


class RasterizeCudaContext(RasterizeContext):
    """The name that existing code uses. The rasterizer is chosen by where the tensors are, as with `RasterizeContext`.

    Args:
        device: accepted and ignored beyond that.
    """

    def __init__(self, device: torch.device | str | int | None = None) -> None:
        super().__init__("auto", device)
        _warn_without_cuda("RasterizeCudaContext")


class RasterizeGLContext(RasterizeContext):
    """The name that existing code uses. The rasterizer is chosen by where the tensors are, as with `RasterizeContext`.

    Args:
        output_db: False makes `rasterize` return an empty `rast_db` `[B, H, W, 0]` and saves its computation.
        mode: "automatic" or "manual"; contexts need no activation here, so both behave alike.
        device: accepted and ignored beyond that.
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
