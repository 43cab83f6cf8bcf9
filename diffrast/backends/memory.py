"""Output memory that costs little to touch: huge pages, used again.

A fresh tensor of tens of megabytes is memory that the system has promised but not yet given: the first write to each 4
KiB page traps into the kernel, which costs more than the computation that fills it. So large outputs live on 2 MiB
pages (Linux, madvise), and a block whose tensor has died serves the next output of its size, as the caching allocator
does on a GPU.
`make bench` measures what that gives on the machine at hand.
"""

import ctypes
import mmap
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import torch

# Smaller tensors come from memory that the C library reuses, so there is nothing to gain.
MIN_BYTES = 1 << 20
HUGE_PAGE = 2 << 20

# Blocks that wait for their next use hold at most this much memory; the longest unused go first.
MAX_WAITING_BYTES = 1 << 30


class Pool:
    """Blocks of memory by size. A tensor holds a lease on its block; when the tensor dies, the block waits here."""

    def __init__(self, max_waiting: int = MAX_WAITING_BYTES) -> None:
        self.max_waiting = max_waiting
        self.waiting_bytes = 0
        # Re-entrant: a lease may end (garbage collection) while this thread holds the lock.
        self._lock = threading.RLock()
        self._waiting: OrderedDict[int, mmap.mmap] = OrderedDict()

    def lease(self, size: int) -> memoryview:
        """A view of at least `size` bytes, uninitialized. The block returns when the view and all tensors on it are
        gone."""
        size = -(-size // HUGE_PAGE) * HUGE_PAGE
        block = self._take(size)
        if block is None:
            block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                block.madvise(mmap.MADV_HUGEPAGE)
        view = memoryview(block)
        weakref.finalize(view, self._give_back, block).atexit = False
        return view

    def clear(self) -> None:
        """Gives all waiting blocks back to the system."""
        with self._lock:
            self._waiting.clear()
            self.waiting_bytes = 0

    def _take(self, size: int) -> mmap.mmap | None:
        with self._lock:
            for key, block in reversed(self._waiting.items()):
                if len(block) == size:
                    del self._waiting[key]
                    self.waiting_bytes -= size
                    return block
        return None

    def _give_back(self, block: mmap.mmap) -> None:
        with self._lock:
            self._waiting[id(block)] = block
            self.waiting_bytes += len(block)
            while self.waiting_bytes > self.max_waiting:
                _, oldest = self._waiting.popitem(last=False)
                self.waiting_bytes -= len(oldest)


_pool = Pool()


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialized contiguous CPU tensor. Raises MemoryError, saying how much for what, when the system has no
    more."""
    count = prod(shape)
    size = count * dtype.itemsize
    try:
        if size < MIN_BYTES or not hasattr(mmap, "MAP_ANONYMOUS"):
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(_pool.lease(size), dtype=dtype, count=count).view(tuple(shape))
    except (OSError, RuntimeError, MemoryError) as error:
        name = str(dtype).removeprefix("torch.")
        raise MemoryError(f"out of memory: {size} bytes for a {name} tensor {list(shape)} ({error})") from error


def release() -> None:
    """Gives memory that waits for its next use back to the system."""
    _pool.clear()


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory for the next tensors instead of giving it back to the system; whether it
    could.

    For programs that optimize on a CPU: torch's own tensors of several megabytes (a loss, an optimizer's temporaries)
    otherwise come fresh from the system in every step. It holds for the whole process, so a library has no business to
    do it unasked. glibc only (mallopt, M_TRIM_THRESHOLD and M_MMAP_THRESHOLD).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(-1, 2**31 - 1)) and bool(mallopt(-3, 2**30))
