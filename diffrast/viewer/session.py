"""One open page: what it wants to see, what it has been sent, and what waits to be sent."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from .channels import ViewOptions
from .orbit import Pose

MAX_IN_FLIGHT = 2  # frames sent and not yet acknowledged: one on its way while the page shows the other
MOVING = 0.15  # seconds after the last movement for which pictures stay small
MAX_WAITING = 64  # messages that wait for a page that does not read


@dataclass(frozen=True)
class Order:
    """A frame to draw."""

    pose: Pose
    options: ViewOptions
    width: int
    height: int
    stamp: float
    full: bool


class Session:
    """The state of one page, shared by the thread that reads from it, the one that draws and the one that writes to it.

    `wake` is the viewer's condition: whoever changes something notifies it. Movements are not queued: a new one
    replaces what has not been drawn yet.
    """

    def __init__(self, wake: threading.Condition, pose: Pose, max_side: int):
        self.wake, self.max_side = wake, max_side
        self.pose, self.options = pose, ViewOptions()
        self.width = self.height = 0  # nothing is drawn before the page has said its size
        self.stamp = 0.0
        self.changed, self.is_full = False, False
        self.moved = 0.0
        self.in_flight: set[int] = set()
        self.frames = 0
        self.version = -1  # of the scene in the last frame
        self.refresh_after = 0.0
        self.eager = False  # for the scene as it is now: it has what this page was waiting for
        self.wanted: list[str] = []  # files that the page asked for
        self.outbox: deque[str | bytes] = deque()
        self.losses_sent, self.losses_generation = 0, 0
        self.last_state: dict = {}
        self.told = 0.0  # when
        self.views_sent: tuple | None = None
        self.open = True
        self._sending = threading.Condition()

    # --- From the page ------------------------------------------------------------------------------------------------

    def move(self, pose: Pose, stamp: float) -> None:
        with self.wake:
            self.pose, self.stamp, self.changed = pose, stamp, True
            self.moved = time.monotonic()
            self.wake.notify_all()

    def choose(self, options: ViewOptions, stamp: float) -> None:
        with self.wake:
            self.options, self.stamp, self.changed = options, stamp, True
            self.wake.notify_all()

    def resize(self, width: int, height: int) -> None:
        shrink = min(1.0, self.max_side / max(width, height))
        with self.wake:
            self.width, self.height = max(1, round(width * shrink)), max(1, round(height * shrink))
            self.changed = True
            self.wake.notify_all()

    def acknowledge(self, frame: int) -> None:
        with self.wake:
            self.in_flight.discard(frame)
            self.wake.notify_all()

    def want(self, what: str) -> None:
        with self.wake:
            if what not in self.wanted:
                self.wanted.append(what)
            self.wake.notify_all()

    # --- To the thread that draws (which holds `wake`) ----------------------------------------------------------------

    def view(self, full: bool) -> Order:
        """What the page looks at."""
        return Order(self.pose, self.options, self.width, self.height, self.stamp, full)

    def order(self, now: float, version: int) -> Order | float:
        """The frame to draw now, or the number of seconds after which to ask again (unless woken before)."""
        if self.width == 0 or len(self.in_flight) >= MAX_IN_FLIGHT:
            return 60.0
        moving = now - self.moved < MOVING
        refresh = self.version != version and (self.eager or now >= self.refresh_after)
        if self.changed or refresh or not (self.is_full or moving):
            order = self.view(full=not moving)
            self.changed, self.eager, self.is_full, self.version = False, False, order.full, version
            return order
        times = [self.moved + MOVING] if not self.is_full else []
        times += [self.refresh_after] if self.version != version else []
        return min((t - now for t in times), default=60.0)

    def next_frame(self) -> int:
        self.frames += 1
        self.in_flight.add(self.frames)
        return self.frames

    # --- To the page --------------------------------------------------------------------------------------------------

    def send(self, message: str | bytes) -> None:
        with self._sending:
            if len(self.outbox) < MAX_WAITING:
                self.outbox.append(message)
            self._sending.notify()

    def next_message(self) -> str | bytes | None:
        """Waits for the next message to send; None when the session is over."""
        with self._sending:
            while self.open and not self.outbox:
                self._sending.wait()
            return self.outbox.popleft() if self.open else None

    def close(self) -> None:
        with self._sending:
            self.open = False
            self._sending.notify_all()
        with self.wake:
            self.wake.notify_all()


def with_fields(options: ViewOptions, fields: dict) -> ViewOptions:
    """The options that an `options` message asks for."""
    return replace(options, **{k: v for k, v in fields.items() if k != "stamp"})
