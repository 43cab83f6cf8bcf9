"""How the kernels of both modes of `antialias` are launched."""

from collections.abc import Sequence

import torch

from .. import backends
from .rasterize import CULL

# Pixels per element of the image kernels: on the CPU a run shares the search for its place in the image and is copied
# as one.
RUN = {"cpu": 16}

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


def launch(
    run: backends.Backend,
    kernel: str,
    count: int,
    inputs: Inputs,
    optional: Sequence[str],
    cull: str = "none",
    boost: float = 1.0,
    workers: int | None = None,
    sums: Sequence[torch.Tensor] = (),
    **fields: torch.Tensor | None,
) -> None:
    """Launches with inputs = (color, rast, pos, tri, ring) and what else the kernel uses, by its name in `optional`:
    the fields of the kernel's Args struct between the inputs and the sizes, in order."""
    color, rast, pos, tri, _ = inputs
    own = pos.dim() == 3 and pos.shape[0] > 1
    strides = (pos.shape[-2] * 4, tri.shape[0]) if own else (0, 0)
    sizes = (rast.shape[:3].numel(), *rast.shape[1:3], color.shape[-1], tri.shape[0], *strides)
    values = [fields.get(name) for name in optional]
    args = (*inputs, *values, *sizes, CULL.index(cull), _run_length(run), pos.numel(), boost)
    run.launch(kernel, rast.dtype, count, args, workers, sums=sums)


def runs(run: backends.Backend, rast: torch.Tensor) -> int:
    """How many elements the image kernels have."""
    return -(-rast.shape[:3].numel() // _run_length(run))


def _run_length(run: backends.Backend) -> int:
    return RUN.get(run.device_type, 1)
