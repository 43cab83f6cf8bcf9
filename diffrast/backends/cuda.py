"""The CUDA backend: the kernels of `cuda/`, compiled at run time by NVRTC, loaded and launched through CuPy.

Launches go to torch's current stream of the tensors' device, under a device guard; memory comes from torch's allocator.
CuPy's own stream and memory pool are never used.
"""

import logging
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from . import arguments, compute, specialize
from .visibility import Visibility

BLOCK = arguments.constant("kBlockThreads")
MOST_BLOCKS = 1 << 20  # beyond, each thread takes several elements
ADDENDS_PER_ELEMENT = 1024  # a bound: a pixel adds to at most this many places that might be one (65 taps of 8 texels)

SLOW = 1.0  # seconds: first uses that take longer, all kernels together, are announced once

WHEEL = {"12": "cuda12", "13": "cuda13"}


def _mend() -> str:
    major = (torch.version.cuda or "").split(".")[0]
    return f"`pip install diffrast[{WHEEL.get(major, 'cuda12')}]`"


def load_cupy() -> Any:
    """The module `cupy`. Raises RuntimeError, with the reason and the mending command, where the backend cannot
    start."""
    if torch.version.cuda is None:
        raise RuntimeError(
            f"the CUDA backend cannot start: torch {torch.__version__} is built without CUDA; "
            "`pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126`"
        )
    if not torch.cuda.is_available():
        raise RuntimeError(
            "the CUDA backend cannot start: no CUDA device; torch sees none. If `nvidia-smi` lists one, its driver is "
            "older than "
            f"CUDA {torch.version.cuda}, which this torch is built for: install a newer driver"
        )
    try:
        cupy: Any = import_module("cupy")  # an extra: type checkers need not have it
    except ImportError as error:
        raise RuntimeError(f"the CUDA backend cannot start: CuPy cannot be imported ({error}); {_mend()}") from error
    try:
        cupy.cuda.runtime.getDeviceCount()
        built = cupy.cuda.runtime.runtimeGetVersion() // 1000
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f"the CUDA backend cannot start: {error}; CuPy must be the one for torch's CUDA {torch.version.cuda}: "
            f"{_mend()}"
        ) from error
    major = int(torch.version.cuda.split(".")[0])
    if built != major:
        raise RuntimeError(
            f"the CUDA backend cannot start: CuPy is built for CUDA {built} but torch for CUDA {torch.version.cuda}; "
            f"`pip uninstall -y cupy-cuda{built}x` and {_mend()}"
        )
    return cupy


def architecture(device: torch.device) -> str:
    """Such as "sm_90"."""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


class CudaBackend:
    """Runs kernels on CUDA tensors. No launch synchronizes; the first use of a kernel compiles it or loads it from
    disk."""

    name = "cuda"
    device_type = "cuda"

    def __init__(self) -> None:
        self._cupy = load_cupy()
        self._functions: dict[tuple[specialize.Kernel, int], Any] = {}
        self._lock = threading.Lock()
        self._waited = 0.0  # seconds for kernels to be compiled or read from disk
        self._said = False  # whether that was said

    def _function(self, kernel: specialize.Kernel, device: torch.device) -> Any:
        key = kernel, device.index or 0
        found = self._functions.get(key)
        if found is None:
            with self._lock:  # one thread compiles; the others wait for it
                if key not in self._functions:
                    _refuse_while_capturing(kernel)
                    start = time.perf_counter()
                    place = specialize.cubin(kernel, architecture(device))
                    self._announce(kernel, time.perf_counter() - start)
                    self._functions[key] = self._cupy.RawModule(path=str(place)).get_function(kernel.entry)
                found = self._functions[key]
        return found

    def _announce(self, kernel: specialize.Kernel, seconds: float) -> None:
        """Says once why the first use takes its time, when that is more than a second."""
        self._waited += seconds
        if self._waited > SLOW and not self._said:
            self._said = True
            logging.getLogger("diffrast").warning(
                "compiling GPU kernels at their first use, at the moment %s; they are kept in %s (`diffrast warmup` "
                "compiles them "
                "ahead of time)",
                kernel.entry,
                specialize.cache_folder(),
            )

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
        **fields: arguments.Field,
    ) -> None:
        """See `Backend.launch`; on the current stream.

        With torch.use_deterministic_algorithms(True) `shared` is summed in fixed point: the kernel runs twice and takes
        8 bytes more for each sum.
        """
        if count == 0:
            return
        packed = arguments.of(kernel).pack(fields)
        device = next(field.device for field in fields.values() if isinstance(field, torch.Tensor))
        if shared is not None and self.fixed_point():
            self._launch_fixed(kernel, dtype, count, packed, constants, shared)
        else:
            self._run(specialize.kernel(kernel, dtype, constants), count, device, packed)

    def _run(
        self, kernel: specialize.Kernel, count: int, device: torch.device, packed: bytes, *more: np.ndarray
    ) -> None:
        blocks = min(-(-count // BLOCK), MOST_BLOCKS)
        with torch.cuda.device(device):
            function = self._function(kernel, device)
            stream = self._cupy.cuda.ExternalStream(torch.cuda.current_stream(device).cuda_stream, device.index)
            with stream:
                function((blocks,), (BLOCK,), (_struct(packed), np.int64(count), *more))

    def _launch_fixed(
        self,
        kernel: str,
        dtype: torch.dtype,
        count: int,
        packed: bytes,
        constants: Mapping[str, int] | None,
        values: torch.Tensor,
    ) -> None:
        device = values.device
        fixed = specialize.kernel(kernel, dtype, {**(constants or {}), "DR_FIXED": 1})
        with _room(f"sums of {kernel} in fixed point", 8 * values.numel()):
            integers = torch.zeros(values.numel(), dtype=torch.int64, device=device)
        largest = torch.zeros(1, dtype=torch.int64, device=device)
        headroom = 2.0 ** (61 - (count * ADDENDS_PER_ELEMENT).bit_length())
        sums: dict[str, Any] = {"values": values, "sums": integers, "largest": largest, "headroom": headroom}
        for phase in (0, 1):
            more = arguments.layout("Fixed").pack({**sums, "phase": phase})
            self._run(fixed, count, device, packed, _struct(more))
        self.launch("fixed_finish", dtype, values.numel(), **sums)

    def visibility(self, search: Visibility) -> None:
        """Finds the visible triangles (compute.py)."""
        of_torch: Any = torch.cuda  # declares no type of these properties
        device = of_torch.get_device_properties(search.pos.device)
        threads = device.multi_processor_count * device.max_threads_per_multi_processor // BLOCK * BLOCK
        with _room("rasterize()'s search for visible triangles", compute.footprint(search)):
            compute.find(self.launch, search, threads)

    def workers(self, count: int) -> int:
        """One: elements share one copy of the gradients and add to it atomically."""
        return 1

    def fixed_point(self) -> bool:
        """Whether gradients are summed in fixed point, so that they repeat bit by bit."""
        return torch.are_deterministic_algorithms_enabled()

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        size = torch.Size(shape)
        with _room(f"an output {dtype} {list(size)}", size.numel() * dtype.itemsize):
            return torch.empty(size, dtype=dtype, device=device)


@contextmanager
def _room(purpose: str, size: int) -> Generator[None, None, None]:
    """Where memory runs out, the error says how many bytes were wanted for what."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise torch.OutOfMemoryError(
            f"diffrast: {size} bytes for {purpose} do not fit in the GPU's memory; torch says: {error}"
        ) from error


def _refuse_while_capturing(kernel: specialize.Kernel) -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            f"kernel {kernel.entry} cannot be loaded while a CUDA graph is captured; run the iteration once before"
        )


@cache
def _struct_type(size: int) -> np.dtype:
    return np.dtype({"names": ["fields"], "formats": [(np.uint8, (size,))]})


def _struct(packed: bytes) -> np.ndarray:
    """A struct as CuPy passes it by value: an array that holds one element of a structured type."""
    return np.frombuffer(packed, dtype=_struct_type(len(packed)))


def create() -> CudaBackend:
    return CudaBackend()
