"""The search for visible triangles of cuda/visibility.cu: its launches in order, and the memory between them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

Launch = Callable[[str, torch.dtype, int, Sequence[Any]], None]

RANGES = 64  # kRanges in cuda/visibility.cu
MOST_ITEMS = 2**31  # of one launch; the queue holds them as 32-bit numbers


def footprint(dtype: torch.dtype, args: Sequence[Any]) -> int:
    """The bytes that `search` takes, and gives back."""
    ids, batch, triangles, ranges = args[5], args[7], args[9], args[2]
    items = max((group[1] for group in _groups(batch, triangles, ranges)), default=0)
    return ids.numel() * (12 if dtype == torch.float64 else 8) + 4 * items


def search(launch: Launch, dtype: torch.dtype, args: Sequence[Any], threads: int) -> None:
    """Finds the visible triangles; `args` are the fields of VisibilityArgs in cuda/visibility_cpu.cpp.

    launch: runs a kernel for a number of elements.
    threads: of the launches that work off queues, a multiple of 256.

    No launch waits for another one's result on the host. The queue takes 4 bytes for each triangle of each image.
    """
    (
        pos,
        tri,
        ranges,
        before_depth,
        before_id,
        ids,
        depth,
        batch,
        vertices,
        triangles,
        height,
        width,
        pos_stride,
        cull,
    ) = args
    double = dtype == torch.float64
    pixels = max(ids.numel(), 2)  # visibility_clear empties both queues as well
    nearest = torch.empty(pixels, dtype=torch.int64, device=ids.device)
    lowest = torch.empty(pixels, dtype=torch.int32, device=ids.device) if double else None
    queued = torch.empty(2, dtype=torch.int32, device=ids.device)
    groups = list(_groups(batch, triangles, ranges))
    queue = torch.empty(max((g[1] for g in groups), default=0), dtype=torch.int32, device=ids.device)

    def fields(
        first_image: int = 0,
        items: int = 0,
        starts: Sequence[int] = (),
        ends: Sequence[int] = (),
        second_pass: bool = False,
    ) -> tuple:
        return (
            pos,
            tri,
            before_depth,
            before_id,
            nearest,
            lowest,
            queue,
            queued,
            ids,
            depth,
            first_image,
            items,
            vertices,
            triangles,
            height,
            width,
            pos_stride,
            cull,
            int(second_pass),
            threads,
            len(starts),
            *_padded(starts),
            *_padded(ends),
        )

    launch("visibility_clear", dtype, pixels, fields())
    for number, (first_image, items, starts, ends) in enumerate(groups):
        if number > 0:
            queued.zero_()
        for second_pass in (False, True) if double else (False,):
            group = fields(first_image, items, starts, ends, second_pass)
            launch("visibility_small", dtype, items, group)
            launch("visibility_medium", dtype, threads, group)
            launch("visibility_large", dtype, threads, group)
    launch("visibility_finish", dtype, ids.numel(), fields())


def _padded(values: Sequence[int]) -> list[int]:
    return [*values, *[0] * (RANGES - len(values))]


def _groups(batch: int, triangles: int, ranges: torch.Tensor | None) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """(first image, items, first triangles, last items + 1) of each launch; the lists are of range mode."""
    if ranges is None:
        images = max(1, MOST_ITEMS // max(1, triangles))
        for first in range(0, batch if triangles else 0, images):
            yield first, min(images, batch - first) * triangles, [], []
        return
    first, starts, ends = 0, [], []
    for image, (start, count) in enumerate(ranges.tolist()):
        before = ends[-1] if ends else 0
        if len(starts) == RANGES or before + count > MOST_ITEMS:
            if before:
                yield first, before, starts, ends
            first, starts, ends, before = image, [], [], 0
        starts.append(start)
        ends.append(before + count)
    if ends and ends[-1]:
        yield first, ends[-1], starts, ends
