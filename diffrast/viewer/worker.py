"""The thread that draws: frames for every open page, and between them the files that pages asked for."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import diffrast.torch as dr

from ..io.image import encode
from . import exports, protocol
from .pace import Pace, one_thread
from .session import Order, Session
from .shown import Shown

logger = logging.getLogger("diffrast")

QUALITY = 75  # of a JPEG
# While nobody moves the camera, a running optimization comes first: drawing may take this share of a core, and a
# browser on the same machine, which works as long again for a picture as drawing it took, gets one a second at most.
SHARE, REST = 0.02, 1.0
STATUS = 1.5  # seconds between two reports of an optimization; they go along with a picture where there is one


class Worker:
    """`shown()` and `state(session, due)` are asked on this thread, under `wake`; the latter is what to tell a page,
    also of what always changes if that is `due`."""

    def __init__(
        self,
        wake: threading.Condition,
        sessions: list[Session],
        shown: Callable[[], Shown],
        state: Callable[[Session, bool], list[dict]],
        busy: Callable[[], bool],
        backend: str,
    ):
        self.wake, self.sessions = wake, sessions
        self._shown, self._state, self._busy = shown, state, busy
        self._backend = backend
        self._closed = False
        self._jobs: deque[tuple[Session, Iterator[bytes | None]]] = deque()
        self.pace = Pace()
        self._failed = ""
        self.thread = threading.Thread(target=self._run, name="diffrast viewer", daemon=True)
        self.thread.start()

    def close(self) -> None:
        with self.wake:
            self._closed = True
            self.wake.notify_all()
        self.thread.join(timeout=10)

    def _run(self) -> None:
        one_thread()
        ctx = dr.RasterizeContext(backend=self._backend)
        while True:
            with self.wake:
                orders, delay = self._orders()
                if self._closed:
                    return
                if not orders and not self._jobs:
                    self.wake.wait(delay)
                    continue
                shown = self._shown()
            for session, order in orders:
                self._guarded(session, self._frame, ctx, shown, session, order)
            if not orders:
                session, job = self._jobs.popleft()
                self._guarded(session, self._advance, session, job)

    def _orders(self) -> tuple[list[tuple[Session, Order]], float]:
        now, version = time.monotonic(), self._shown().version
        delay = 60.0
        orders = []
        for session in self.sessions:
            answer = session.order(now, version)
            due = now >= session.told + (STATUS / 3 if isinstance(answer, Order) else STATUS)
            messages = self._state(session, due)
            for message in messages:
                session.send(json.dumps(message))
            session.told = now if due or messages else session.told
            delay = min(delay, session.told + STATUS - now) if self._busy() else delay
            while session.wanted:
                job = exports.JOBS[session.wanted.pop()](self._shown(), session.view(full=True), self._backend)
                self._jobs.append((session, job))
            if isinstance(answer, Order):
                orders.append((session, answer))
            else:
                delay = min(delay, max(answer, 0.001))
        return orders, delay

    def _frame(self, ctx, shown: Shown, session: Session, order: Order) -> None:
        start, worked = time.perf_counter(), time.thread_time()
        width, height = self.pace.size(order.width, order.height, moving=not order.full)
        picture = shown.picture(ctx, order.pose, order.options, width, height, smooth=order.full)
        data = encode(picture, "JPEG", linear=False, quality=QUALITY)
        seconds = time.perf_counter() - start
        self.pace.learn(seconds, width * height, moving=not order.full)
        with self.wake:
            frame = session.next_frame()
            if order.full and self._busy():
                # Counted in work, not in time: beside an optimization this thread often waits for a core.
                rest = max((time.thread_time() - worked) / SHARE, REST)
                session.refresh_after = time.monotonic() + rest
        head = {"frame": frame, "stamp": order.stamp, "width": width, "height": height, "micros": round(1e6 * seconds)}
        session.send(protocol.pack(protocol.FRAME, data, flags=protocol.FULL if order.full else 0, **head))

    def _advance(self, session: Session, job: Iterator[bytes | None]) -> None:
        """One step of a file; live frames come between the steps."""
        if not session.open:
            return
        for data in job:
            if data is not None:
                session.send(data)
            self._jobs.append((session, job))
            return

    def _guarded(self, session: Session, work: Callable[..., None], *args) -> None:
        """What cannot be drawn is said on the page; the thread goes on, and so does the training."""
        try:
            work(*args)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text != self._failed:
                logger.warning("viewer: a picture could not be drawn: %s", text)
            self._failed = text
            session.send(json.dumps({"type": "error", "text": f"This could not be drawn. {text:.300}"}))
            time.sleep(0.05)
