"""What drawing may cost: the size of an image while the camera moves, and one core beside an optimization."""

from __future__ import annotations

import threading

import torch

BUDGET = 0.02  # seconds of drawing that such a picture may take
SCALES = (1.0, 0.75, 0.5, 0.35, 0.25)  # of its sides, to keep to that


class Pace:
    """Learns from each picture what a pixel costs."""

    def __init__(self) -> None:
        self.cost = 0.0  # seconds per pixel, smoothed over the pictures of movements

    def learn(self, seconds: float, pixels: int, moving: bool) -> None:
        if moving:
            self.cost += 0.2 * (seconds / pixels - self.cost)
        elif not self.cost:
            self.cost = seconds / pixels

    def size(self, width: int, height: int, moving: bool) -> tuple[int, int]:
        """What to draw of a window of this size."""
        if not moving:
            return width, height
        affordable = (BUDGET / (self.cost * width * height)) ** 0.5 if self.cost else 0.5
        scale = next((s for s in SCALES if s <= affordable), SCALES[-1])
        return max(16, round(width * scale)), max(16, round(height * scale))


_TURNS = threading.Lock()  # who asks between the two calls below gets the wrong usual number


def one_thread() -> None:
    """From here on the thread that calls this computes alone, without helpers.

    OpenMP gives each thread that computes helpers of its own. As soon as there are more of them than cores, its runtime
    (libgomp) lets all of them sleep at once when they have nothing to do, those of the optimization too, whose many
    short steps then wait for them to wake: it would run at half its speed, for as long as a page is open.

    `torch.set_num_threads` counts for the thread that calls it and for threads that start to compute later. The second
    call undoes that latter part, so that nobody else's sums are split differently because of a viewer.
    """
    with _TURNS:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        restore = threading.Thread(target=torch.set_num_threads, args=(usual,))
        restore.start()
        restore.join()
