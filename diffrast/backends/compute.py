"""The search for visible triangles of cuda/visibility.cu: its launches in order, and the memory between them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from .arguments import constant
from .visibility import Visibility

RANGES = constant("kRanges")
MOST_ITEMS = 2**31  # of one launch; the queue holds them as 32-bit numbers


@dataclass
class Group:
    """The images of one launch; the lists are of range mode."""

    first_image: int
    items: int = 0  # triangles of all its images
    starts: list[int] = field(default_factory=list[int])  # first triangles
    ends: list[int] = field(default_factory=list[int])  # last items + 1


def footprint(search: Visibility) -> int:
    """The bytes that `find` takes, and gives back."""
    return search.id.numel() * (12 if search.dtype == torch.float64 else 8) + 4 * _most(list(_groups(search)))


def find(launch: Callable[..., None], search: Visibility, threads: int) -> None:
    """Finds the visible triangles.

    launch: as `Backend.launch`.
    threads: of the launches that work off queues, a multiple of 256.

    No launch waits for another one's result on the host. The queue takes 4 bytes for each triangle of each image.
    """
    dtype, device, double = search.dtype, search.id.device, search.dtype == torch.float64
    pixels = max(search.id.numel(), 2)  # visibility_clear empties both queues as well
    groups = list(_groups(search))
    queued = torch.empty(2, dtype=torch.int32, device=device)
    shared = {
        **search.fields(),
        "nearest": torch.empty(pixels, dtype=torch.int64, device=device),
        "lowest": torch.empty(pixels, dtype=torch.int32, device=device) if double else None,
        "queue": torch.empty(_most(groups), dtype=torch.int32, device=device),
        "queued": queued,
        "threads": threads,
    }

    def run(kernel: str, count: int, group: Group, second_pass: bool = False) -> None:
        launch(
            kernel,
            dtype,
            count,
            **shared,
            first_image=group.first_image,
            items=group.items,
            second_pass=int(second_pass),
            ranges=len(group.starts),
            range_first=group.starts,
            range_end=group.ends,
        )

    run("visibility_clear", pixels, Group(0))
    for number, group in enumerate(groups):
        if number > 0:
            queued.zero_()
        for second_pass in (False, True) if double else (False,):
            run("visibility_small", group.items, group, second_pass)
            run("visibility_medium", threads, group, second_pass)
            run("visibility_large", threads, group, second_pass)
    run("visibility_finish", search.id.numel(), Group(0))


def _most(groups: list[Group]) -> int:
    return max((group.items for group in groups), default=0)


def _groups(search: Visibility) -> Iterator[Group]:
    triangles, batch = search.triangles, search.batch
    if search.ranges is None:
        images = max(1, MOST_ITEMS // max(1, triangles))
        for first in range(0, batch if triangles else 0, images):
            yield Group(first, min(images, batch - first) * triangles)
        return
    group = Group(0)
    ranges: Any = search.ranges
    for image, (start, count) in enumerate(ranges.tolist()):
        if len(group.starts) == RANGES or group.items + count > MOST_ITEMS:
            if group.items:
                yield group
            group = Group(image)
        group.starts.append(start)
        group.items += count
        group.ends.append(group.items)
    if group.items:
        yield group
