"""Several processes that share the views of each step, as `torchrun` starts them: one per GPU, on one machine or
several.

Every process holds the whole state and draws the same batches; each renders its part of a batch, and the gradients are
added up, so that all take the same step. What is not optimized is done by the first process and handed to the others.
On CPUs the processes talk by gloo, on GPUs by NCCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


class Group:
    """The processes of a run; by default this one alone."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, index: torch.Tensor) -> tuple[torch.Tensor, float]:
        """This process's part of an index batch, and its share of the batch. A process without work repeats some for
        nothing."""
        own = index[self.rank :: self.size]
        return (own, len(own) / len(index)) if len(own) else (index[:1], 0.0)

    def total(self, loss: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """Adds up the gradients of all processes, in place, and their losses."""
        if self.size == 1:
            return loss.detach()
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.detach().reshape(1), *(g.reshape(-1) for g in gradients)])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat[1:].split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))
        return flat[0]

    def agree(self, t: float, stop: bool) -> tuple[float, bool]:
        """The furthest clock's time, and whether any process is to stop: all must do the same number of steps."""
        if self.size == 1:
            return t, stop
        both = torch.tensor([t, float(stop)], dtype=torch.float64, device=self.device)
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return float(both[0]), bool(both[1])

    def share(self, value: T) -> T:
        """The first process's value, its tensors on each process's device."""
        if self.size == 1:
            return value
        box = [_moved(value, "cpu") if self.first else None]
        dist.broadcast_object_list(box, src=0)
        return _moved(box[0], self.device)


def _moved(value: Any, device: torch.device | str) -> Any:
    """Tensors, and dataclasses, dictionaries and sequences of them, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value) if f.init})
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(v, device) for v in value)
    return value


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Group, torch.device]]:
    """The group that `torchrun` has started this process in, and this process's device; alone where it has not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), device), device
    finally:
        if ours:
            dist.destroy_process_group()
