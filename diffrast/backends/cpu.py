"""The CPU backend: the kernels of `cuda/`, compiled by the C++ compiler and reached through ctypes."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import arguments, memory
from .visibility import Visibility

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}

# Torch's name for what the processor can do (it follows ATEN_CPU_CAPABILITY), and the libraries that may run there,
# best first.
VARIANTS = {"AVX512": ("avx512", "avx2", "default"), "AVX2": ("avx2", "default")}

BUILD = "Build it with `pip install .`, or `python setup.py build_ext --inplace` in a checkout."

WORK = ctypes.CFUNCTYPE(None)

# More private copies of a gradient than this cost more memory and adding up than their threads save.
MAX_SLABS = 8

# Starting a thread for less work than this costs more than it saves.
MIN_ELEMENTS_PER_WORKER = 4096


def library_path() -> Path:
    """The compiled library for this processor. Raises RuntimeError when diffrast was not built."""
    folder = Path(__file__).resolve().parents[1] / "_native"
    capability = torch.backends.cpu.get_cpu_capability()
    for variant in VARIANTS.get(capability, ("default",)):
        path = folder / f"libdiffrast_{variant}.so"
        if path.exists():
            return path
    raise RuntimeError(f"the CPU backend cannot start: no compiled library in {folder}. {BUILD}")


def load(path: Path) -> ctypes.CDLL:
    """Opens the library. Its OpenMP symbols are left open (setup.py) and found in the runtime that torch has loaded."""
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        first = str(error)
    # This torch does not show its runtime to others, or was built without one.
    bundled = sorted(str(p) for p in (Path(torch.__file__).parent / "lib").glob("libgomp*"))
    for runtime in (*bundled, "libgomp.so.1"):
        try:
            ctypes.CDLL(runtime, mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    raise RuntimeError(
        f"the CPU backend cannot start: {first}. If a symbol of OpenMP (GOMP_, omp_) is missing, install its runtime, "
        "for "
        "example with `apt-get install libgomp1`; otherwise build diffrast again with `pip install .` in a checkout."
    )


class CpuBackend:
    """Runs kernels on CPU tensors with `torch.get_num_threads()` threads."""

    name = "cpu"
    device_type = "cpu"

    def __init__(self, path: Path) -> None:
        self.library = load(path)
        self._kernels: dict[tuple[str, torch.dtype], tuple[Callable[..., None], arguments.Layout]] = {}

    def _kernel(self, name: str, dtype: torch.dtype) -> tuple[Callable[..., None], arguments.Layout]:
        layout = arguments.of(name)
        try:
            function: Any = getattr(self.library, f"{name}_{SUFFIX[dtype]}")
            words = ctypes.c_longlong.in_dll(self.library, f"{name}_words").value
        except (AttributeError, ValueError) as error:
            raise RuntimeError(f"the compiled library lacks {name}: it is older than the sources. {BUILD}") from error
        if layout.format.size != 8 * words:
            raise RuntimeError(f"the compiled library has another {name}: it is older than the sources. {BUILD}")
        function.argtypes, function.restype = (ctypes.c_char_p, ctypes.c_longlong, ctypes.c_int), None
        return function, layout

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
        """See `Backend.launch`. `constants` and `shared` matter on GPUs only. Returns when the work is done."""
        found = self._kernels.get((kernel, dtype))
        if found is None:
            found = self._kernels[kernel, dtype] = self._kernel(kernel, dtype)
        function, layout = found
        function(layout.pack(fields), count, workers or torch.get_num_threads())

    def while_asleep(self, work: Callable[[], None]) -> None:
        """Calls `work` while OpenMP's other threads sleep (cuda/while_asleep.cpp); raises what it raises."""
        errors: list[BaseException] = []

        @WORK
        def call() -> None:
            try:
                work()
            except BaseException as error:  # C cannot pass it on
                errors.append(error)

        self.library.while_asleep(call, ctypes.c_int(torch.get_num_threads()))
        if errors:
            raise errors[0]

    def visibility(self, search: Visibility) -> None:
        """Finds the visible triangles (cuda/visibility_cpu.cpp)."""
        self.launch("visibility", search.dtype, 0, **search.fields(), ranges=search.ranges, batch=search.batch)

    def workers(self, count: int) -> int:
        """How many threads a scatter kernel over `count` elements runs on, each with private copies of the
        gradients."""
        return max(1, min(torch.get_num_threads(), MAX_SLABS, count // MIN_ELEMENTS_PER_WORKER))

    def fixed_point(self) -> bool:
        """No: each thread has its own sums, which are added up in order, so they repeat anyway."""
        return False

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return memory.empty(shape, dtype)


def create() -> CpuBackend:
    return CpuBackend(library_path())
