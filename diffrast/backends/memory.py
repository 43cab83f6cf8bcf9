"""Output memory that is cheap to touch for the first time.

A fresh tensor of tens of megabytes is memory that the system has promised but not yet given: the first write to each 4 KiB page
traps into the kernel, which costs more than the computation that fills it. Asking for 2 MiB pages before the first write
(madvise, Linux) cuts the traps by 512. `make bench` measures what that gives on the machine at hand.
"""

import ctypes
import mmap
import sys
from collections.abc import Sequence

import torch

# Smaller tensors come from memory that the C library reuses, so there is nothing to gain.
MIN_BYTES = 4 << 20

_PAGE = mmap.PAGESIZE
_madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
if _madvise is not None:
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialized contiguous CPU tensor, on huge pages where it is large and the system offers them."""
    tensor = torch.empty(shape, dtype=dtype)
    size = tensor.numel() * tensor.element_size()
    if _madvise is not None and size >= MIN_BYTES:
        start = -(-tensor.data_ptr() // _PAGE) * _PAGE
        end = (tensor.data_ptr() + size) // _PAGE * _PAGE
        _madvise(start, end - start, mmap.MADV_HUGEPAGE)  # advice: a refusal changes nothing but speed
    return tensor
