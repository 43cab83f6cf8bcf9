"""Backends run kernels where the tensors are. The registry below is the only global state of diffrast.

A backend has a `name`. Every one is a rasterizer:

- `visibility(...)`: the search for visible triangles, the only thing that a rasterizer decides;
- `empty(shape, dtype, device)`: an output tensor whose memory is cheap to touch for the first time.

Those of `KERNELS_FOR_DEVICE` run the kernels as well, for tensors of their `device_type`:

- `launch(kernel, dtype, count, args, workers=None, constants=None, sums=())`: run `cuda/<file>.cu`'s element function
  for `count` elements; `constants` are known when a kernel is compiled at run time, `sums` are the gradients that
  elements share;
- `fixed_point()`: whether sums of gradients are made in fixed point, so that they repeat
  (torch.use_deterministic_algorithms);
- `workers(count)`: how many private copies a scatter kernel over `count` elements accumulates its gradients in.

A new backend is one file here and one entry in `LOADERS`; a mere rasterizer has one in `RASTERIZES` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakSet

import torch


class Rasterizer(Protocol):
    name: str

    def visibility(self, dtype: torch.dtype, args: Any) -> None: ...

    def empty(self, shape: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor: ...


class Backend(Rasterizer, Protocol):
    device_type: str

    def launch(
        self,
        kernel: str,
        dtype: torch.dtype,
        count: int,
        args: Any,
        workers: int | None = None,
        *,
        constants: Mapping[str, int] | None = None,
        sums: Sequence[torch.Tensor] = (),
    ) -> None: ...

    def workers(self, count: int) -> int: ...

    def fixed_point(self) -> bool: ...


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
