"""`Viewer`: starts the server and the thread that draws, and takes meshes, pictures and losses from the program."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from ..mesh.mesh import Mesh
from . import protocol
from .channels import ViewOptions
from .control import Control
from .orbit import UPS
from .server import Server, is_loopback
from .session import Session, with_fields
from .shown import CHANNELS, Shown
from .worker import Worker

logger = logging.getLogger("diffrast")

DEFAULT_PORT = 8484
VALUES = {"gradient", "image_gradient", "coverage"}  # that are taken only while somebody looks at them
SNAPSHOT = 0.1  # seconds at least between two copies of a mesh that changes
COUNTERS = {"iteration", "per_second"}  # of a state: on their own they are no news


class Viewer:
    """A page in the browser that shows a mesh or a picture while the program goes on::

        with diffrast.Viewer() as viewer:
            viewer.attach(optimizer)
            for i in range(1000):
                ...
                viewer.step(loss=loss, mesh=lambda: Mesh(vertices, faces))

    Args:
        host: the address to listen on. 127.0.0.1 is reached from this machine only (from elsewhere through
            `ssh -L 8484:127.0.0.1:8484 machine`); with another one, a printed sentence says who can connect.
        port: a port that must be free; 0 takes any free one; None takes 8484 or the next free one.
        open_browser: open the page in this machine's browser.
        size: pixels along the longer side of the largest picture.
        up: "y" or "z": the axis that points up; None: as the photographs say if there are any, else y.
        backend: of the rasterizer, as for `diffrast.torch.RasterizeContext`.
        quiet: print nothing.

    The viewer draws on a thread of its own, from copies, and touches neither random numbers nor tensors of the program:
    with the same seed a run gives the same result with and without it. Nothing that fails in it stops the program; it
    is logged. Beside a loop that calls `step`, a page whose camera rests gets one picture a second at most, and one
    that is hidden none.

    Raises:
        OSError: the port is taken, or the address is not one of this machine.
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        open_browser: bool = False,
        size: int = 1024,
        up: str | None = None,
        backend: str = "auto",
        quiet: bool = False,
    ):
        if up is not None and up not in UPS:
            raise ValueError(f"Viewer(): up must be one of {', '.join(UPS)}; got {up!r}")
        if not 16 <= size <= protocol.MAX_SIDE:
            raise ValueError(f"Viewer(): size must be 16 to {protocol.MAX_SIDE} pixels; got {size}")
        if port is not None and not 0 <= port < 65536:
            raise ValueError(f"Viewer(): port must be 0 to 65535; got {port}")
        self._wake = threading.Condition(threading.RLock())
        self._size = size
        self._shown = Shown(up=up or "y", up_given=up is not None)
        self._sessions: list[Session] = []
        self._pose, self._options = self._shown.fitting_pose(), ViewOptions()
        self._fitted = False
        self._next_snapshot = 0.0
        self._promised, self._taken = set[str](), set[str]()
        self._dead = False
        self.control = Control(self._wake, lambda: len(self._sessions))
        self._server = self._listen(host, port)
        self._worker = Worker(self._wake, self._sessions, lambda: self._shown, self._state, self._is_busy, backend)
        shown = host if is_loopback(host) else ("localhost" if host in ("0.0.0.0", "::") else host)
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self._server.port}/"
        if not quiet:
            self._announce(host)
        if open_browser:
            webbrowser.open(self.url)

    def _listen(self, host: str, port: int | None) -> Server:
        ports = range(DEFAULT_PORT, DEFAULT_PORT + 50) if port is None else (port,)
        for candidate in ports:
            try:
                return Server(host, candidate, self._open, self._receive, self._close)
            except OSError as error:
                if candidate == ports[-1]:
                    where = f"{host}:{candidate}"
                    raise OSError(
                        error.errno, f"Viewer(): cannot listen on {where}: {error.strerror or error}"
                    ) from error
        raise AssertionError("unreachable: there is at least one port to try")

    def _announce(self, host: str) -> None:
        print(f"viewer: {self.url}", file=sys.stderr, flush=True)
        if not is_loopback(host):
            print(
                f"viewer: listening on {host}: whoever reaches this machine over the network can watch and steer this "
                "viewer, without a password and unencrypted. To keep it to yourself, listen on 127.0.0.1 and connect "
                f"with `ssh -L {self._server.port}:127.0.0.1:{self._server.port} <this machine>`.",
                file=sys.stderr,
                flush=True,
            )

    # --- What a program says ------------------------------------------------------------------------------------------

    def show(
        self,
        mesh: Mesh | None = None,
        image: Tensor | None = None,
        views: Sequence[Any] | None = None,
        *,
        gradient: Tensor | None = None,
        image_gradient: Tensor | None = None,
        coverage: Tensor | None = None,
        environment: Tensor | None = None,
    ) -> None:
        """Show what is given; the rest stays as it was. Tensors are copied; the call does not wait for drawing.

        Args:
            mesh: the mesh. Without a texture it keeps that of the mesh before.
            image: display values in [0, 1], `[H, W, C]` with C = 1, 3 or 4, row 0 at the bottom.
            views: photographs with their cameras: `diffrast.viewer.Photograph`, kept in 8 bits, or views of a data set,
                which are asked for their pictures again when somebody looks through them.
            gradient: of a loss by the mesh's vertices, `[V, 3]`: drawn on the surface, by its part along the normal.
            image_gradient: of a loss by a picture, `[H, W, C]` (summed over channels), row 0 at the bottom; pictures
                `[B, H, W, C]` stand side by side.
            coverage: a weight for each texel, `[Ht, Wt]`, 0 where nothing was ever learned.
            environment: what lights the "Surroundings" channel, linear `[H, W, 3]`, longitude by latitude.

        Raises:
            ValueError, TypeError: something is not of that shape.
        """
        with self._wake:
            values = {"gradient": gradient, "image_gradient": image_gradient, "coverage": coverage}
            self._shown = self._shown.changed(mesh=mesh, image=image, views=views, environment=environment, **values)
            if mesh is not None and not self._fitted:
                self._fitted = True
                self._pose = self._shown.fitting_pose()
                for session in self._sessions:
                    session.send(json.dumps(self._hello()))
                    session.move(self._pose, session.stamp)
            self._wake.notify_all()

    def attach(self, optimizer: Any, names: Sequence[str] | None = None, *, key: str = "lr") -> None:
        """Offer the learning rates of a torch optimizer on the page, one for each parameter group, by these names.
        `key` is the entry of a group that the page sets: a loop with a schedule can multiply it by an entry of its own,
        1 if missing. What a page has set for a name also holds for a later optimizer with that name."""
        self.control.attach(optimizer, names, key)

    def step(
        self,
        loss: Any = None,
        mesh: Mesh | Callable[[], Mesh] | None = None,
        image: Tensor | Callable[[], Tensor] | None = None,
        until: Callable[[], bool] | None = None,
        **values: Any,
    ) -> None:
        """To be called once per iteration, after the optimizer's step: counts it, takes the loss (a number or a tensor
        of one element), shows the mesh or picture if somebody looks, and waits here while the page has paused the run.

        `values` are `gradient`, `image_gradient` and `coverage` as for `show`; each is only taken while a page looks at
        it. A function in place of a tensor or mesh is only called when its result is wanted, about ten times a second.
        While paused, it goes on when `until` says True: for a loop that is told to stop in another way. Learning rates
        change in here and nowhere else, and only if somebody changes them on the page.
        """
        if unknown := values.keys() - VALUES:
            raise TypeError(
                f"Viewer.step(): there is no {', '.join(unknown)}; what can be shown is {', '.join(sorted(VALUES))}"
            )
        if self._dead:
            return
        given = {name: value for name, value in {"mesh": mesh, "image": image, **values}.items() if value is not None}
        try:
            if given:
                self._snapshot(given)
            # Reading a loss waits for a GPU, so while nobody looks only some are read.
            read = self._sessions or self.control.iteration % 10 == 9
            self.control.step(
                _number(loss) if read and loss is not None else None, until, lambda: self._catch_up(given)
            )
        except Exception as error:
            self._die(error)

    def _snapshot(self, given: dict[str, Any]) -> None:
        now = time.monotonic()
        self._promised = given.keys() & VALUES
        wanted = self._wanted(given)
        missing = not wanted <= self._taken  # somebody waits for what was not there yet
        drawn = any(
            s.version in (-1, self._shown.version) and (missing or now >= s.refresh_after) for s in self._sessions
        )
        looking = (drawn and now >= self._next_snapshot) or (self._sessions and self.control.paused)
        if not looking and self._shown.version > 0:
            return
        values = {name: _value(given[name]) for name in wanted}
        with self._wake:
            for session in self._sessions:
                session.eager |= missing
            self.show(**values)
        self._taken = wanted
        self._next_snapshot = now + max(SNAPSHOT, 50 * (time.monotonic() - now))

    def _catch_up(self, given: dict[str, Any]) -> None:
        """While paused: somebody chose another channel, or opened a page."""
        if self._sessions and not self._wanted(given) <= self._taken:
            self._snapshot(given)

    def _wanted(self, given: Collection[str]) -> set[str]:
        """What of this to take: values only for pages whose channel needs them."""
        return set(given) - VALUES | set(given) & {CHANNELS[s.options.channel].needs for s in self._sessions}

    def _die(self, error: Exception) -> None:
        """The viewer ends, the program does not."""
        logger.warning("viewer: ended by an error; the run goes on: %s: %s", type(error).__name__, error)
        self._dead = True
        self.close()

    @property
    def pages(self) -> int:
        """How many pages are open."""
        return len(self._sessions)

    def wait(self) -> None:
        """Serve until Ctrl-C (which raises `KeyboardInterrupt` here)."""
        while self._server.alive and self._worker.thread.is_alive():
            time.sleep(0.25)

    def close(self) -> None:
        """Ends the server; open pages say so. A loop that is paused goes on."""
        self.control.close()
        self._server.close()
        self._worker.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- What pages say -----------------------------------------------------------------------------------------------

    def _open(self) -> Session:
        with self._wake:
            session = Session(self._wake, self._pose, self._size)
            session.options = self._options
            session.send(json.dumps(self._hello()))
            self._sessions.append(session)
            self._next_snapshot = 0.0
            self._wake.notify_all()
        return session

    def _close(self, session: Session) -> None:
        with self._wake:
            self._sessions.remove(session)

    def _receive(self, session: Session, message: str | bytes) -> None:
        kind, fields = protocol.parse(message)
        self._handlers[kind](self, session, fields)

    def _on_camera(self, session: Session, fields: dict) -> None:
        self._pose = protocol.pose_of(fields)  # so that a reloaded page goes on where it was
        session.move(self._pose, fields["stamp"])

    def _on_options(self, session: Session, fields: dict) -> None:
        self._options = with_fields(session.options, fields)
        session.choose(self._options, fields["stamp"])

    _handlers: dict[str, Callable[[Viewer, Session, dict], None]] = {  # noqa: RUF012 - a table, never changed
        "ack": lambda self, session, f: session.acknowledge(f["frame"]),
        "camera": _on_camera,
        "options": _on_options,
        "size": lambda self, session, f: session.resize(f["width"], f["height"]),
        "run": lambda self, session, f: self.control.do(f["do"]),
        "rate": lambda self, session, f: self.control.wish(f["name"], f["value"]),
        "save": lambda self, session, f: session.want(f["what"]),
    }

    # --- What pages hear ----------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return self.control.running

    def _hello(self) -> dict:
        home, up = self._shown.fitting_pose(), self._shown.up
        poses = {"up": up, "pose": vars(self._pose), "home": vars(home)}
        return {"type": "hello", "version": protocol.VERSION, **poses, "options": vars(self._options)}

    def _state(self, session: Session, due: bool) -> list[dict]:
        """What has changed since the last time for this page; before it is `due`, only if somebody changed it."""
        scene, control = self._shown, self.control
        state: dict[str, Any] = {
            "type": "state",
            "triangles": 0 if scene.mesh is None else len(scene.mesh.faces),
            "channels": scene.channels(self._promised),
            "views": None,
            "running": control.running,
        }
        if session.views_sent is not scene.views:
            state["views"], session.views_sent = [view.described() for view in scene.views], scene.views
            session.wanted.append("thumbnails")
        if control.running:
            state |= {
                "iteration": control.iteration,
                "paused": control.paused,
                "per_second": round(control.per_second, 2),
                "rates": {name: rate.read() for name, rate in control.rates.items()},
            }
        changed = {name for name in state if state[name] != session.last_state.get(name)}
        if not (due or control.paused or changed - COUNTERS):
            return []
        messages = [state] if changed else []
        session.last_state = state
        losses = control.losses
        start = session.losses_sent if session.losses_generation == losses.generation else 0
        if start < len(losses.points):
            points = [[step, _finite(loss)] for step, loss in losses.points[start:]]
            messages.append({"type": "losses", "reset": start == 0, "points": points})
            session.losses_sent, session.losses_generation = len(losses.points), losses.generation
        return messages


def _value(x: Any) -> Any:
    return x() if callable(x) else x


def _number(x: Any) -> float:
    return float(x.detach() if isinstance(x, Tensor) else x)


def _finite(x: float) -> float | None:
    return x if abs(x) < 1e30 else None
