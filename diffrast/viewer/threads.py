"""How the viewer's threads compute beside an optimization."""

from __future__ import annotations

import threading

import torch

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
