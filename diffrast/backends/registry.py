"""What a backend is, and which there are: by name, or by where a tensor lies.

A new backend is one file here and one entry in `LOADERS`; a mere rasterizer has one in `RASTERIZES` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakSet

import torch

from .arguments import Field
from .visibility import Visibility


class Rasterizer(Protocol):
    """What every backend is: a search for visible triangles, all that a rasterizer decides."""

    name: str

    def visibility(self, search: Visibility) -> None:
        """Fills the outputs of `search`."""
        ...

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """An output tensor whose memory is cheap to touch for the first time."""
        ...


class Backend(Rasterizer, Protocol):
    """A backend of `KERNELS_FOR_DEVICE`, which runs the kernels for tensors of its `device_type` as well."""

    device_type: str

    def launch(
        self,
        kernel: str,
        dtype: torch.dtype,
        count: int,
        /,
        *,
        workers: int | None = None,
        constants: Mapping[str, int] | None = None,
        shared: torch.Tensor | None = None,
        **fields: Field,
    ) -> None:
        """Runs the element function `kernel` of `cuda/` for elements 0 to count - 1.

        workers: how many threads a CPU runs it on; each has a private copy of the gradients.
        constants: preprocessor names, where a kernel is compiled at run time.
        shared: the gradient that elements share, zero at the start.
        fields: of the kernel's struct, by name (arguments.py). Tensors must be contiguous.
        """
        ...

    def workers(self, count: int) -> int:
        """How many private copies a kernel over `count` elements sums its shared gradients in."""
        ...

    def fixed_point(self) -> bool:
        """Whether gradients are summed in fixed point, so that they repeat (torch.use_deterministic_algorithms)."""
        ...


def _load(module: str) -> Callable[[], Any]:
    return lambda: import_module(f"diffrast.backends.{module}").create()


LOADERS: dict[str, Callable[[], Any]] = {"cpu": _load("cpu"), "cuda": _load("cuda"), "gl": _load("gl")}

# The kinds of tensors that a backend rasterizes, where they are not those of its kernels.
RASTERIZES: dict[str, tuple[str, ...]] = {"gl": ("cpu", "cuda")}

# Which backend runs the kernels for tensors of a device type.
KERNELS_FOR_DEVICE = {"cpu": "cpu", "cuda": "cuda"}


@cache
def get(name: str) -> Any:
    """The backend of this name, loaded on first use.

    Raises ValueError when there is none of this name, RuntimeError (with the mending command) when it cannot start.
    """
    if name not in LOADERS:
        raise ValueError(f"backend must be one of {', '.join(sorted(LOADERS))}; got {name!r}")
    return LOADERS[name]()


def kinds(name: str) -> tuple[str, ...]:
    """The kinds of tensors (device types) that the backend of this name rasterizes. Raises as `get` does."""
    return RASTERIZES.get(name) or (get(name).device_type,)


def kernels_for(tensor: torch.Tensor) -> Backend:
    """The backend that runs kernels on this tensor's device."""
    name = KERNELS_FOR_DEVICE.get(tensor.device.type)
    if name is None:
        raise ValueError(
            f"tensors on {tensor.device} are not supported: this version of diffrast computes on "
            f"{', '.join(sorted(KERNELS_FOR_DEVICE))}; move them with .cpu()"
        )
    return get(name)


# Backends that hold what should not outlive its use (graphics contexts), with a method `release(everywhere)`.
HOLDERS: WeakSet[Any] = WeakSet()


def release(everywhere: bool) -> None:
    """Frees what backends hold for this thread, or for all threads. They take it up again when they are next used."""
    for backend in list(HOLDERS):
        backend.release(everywhere)
