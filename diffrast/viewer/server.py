"""The web server: one page of five fixed files, and one WebSocket.

What `websockets` gives: a limit on the size of a message (`MAX_MESSAGE`), a short queue behind which TCP makes the
sender wait, limits on request line and headers, a time limit for the handshake, pings that find dead connections. What
is added
here: nothing is served but five files made at the start; requests must name a host that we are (against DNS rebinding)
and come from our own page (against other sites' scripts: browsers allow them to open WebSockets anywhere); numbers of
connections and of messages per second are bounded; a message that does not parse is answered with an error and
forgotten.
"""

from __future__ import annotations

import http
import ipaddress
import json
import logging
import threading
import time
from collections.abc import Callable
from importlib import resources
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from .pace import one_thread
from .protocol import MAX_MESSAGE, constants
from .session import Session

logger = logging.getLogger("diffrast")

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.cameras.js": ("page.cameras.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
SAFE = {
    "Cache-Control": "no-store",
    "X-Content-Type-ViewOptions": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
}
MAX_PAGES = 8
MAX_CONNECTIONS = 64  # with those that have not shaken hands yet
MESSAGES_PER_SECOND = 400  # a mouse sends 60 to 125


def is_loopback(host: str) -> bool:
    """Whether this name means this machine, whatever a name server says."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server:
    """`new_session()` makes the state of a new page, `received(session, text)` is called for each of its messages (it
    raises `ValueError` for one that makes no sense), and `closed(session)` at its end."""

    def __init__(
        self,
        host: str,
        port: int,
        new_session: Callable[[], Session],
        received: Callable[[Session, str | bytes], None],
        closed: Callable[[Session], None],
    ):
        self.host = host
        self._new_session, self._received, self._closed = new_session, received, closed
        folder = resources.files("diffrast.viewer")
        self._files = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
        script = f"const PROTOCOL = {json.dumps(constants())};\n".encode()
        self._files["/page.constants.js"] = script, "text/javascript; charset=utf-8"
        self._pages = 0
        self._lock = threading.Lock()
        quiet = logging.getLogger("diffrast.viewer.connections")  # scanners and port checks are not worth a traceback
        quiet.setLevel(logging.CRITICAL)
        self._server = serve(
            self._serve_page,
            host,
            port,
            process_request=self._request,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=16,
            open_timeout=5,
            close_timeout=1,
            logger=quiet,
            server_header=None,
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._handle, self._server.handler = self._server.handler, self._bounded
        self._thread = threading.Thread(target=self._server.serve_forever, name="diffrast viewer server", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(timeout=5)

    # --- Before a connection is a page --------------------------------------------------------------------------------

    def _bounded(self, sock, address) -> None:
        """Each connection has a thread; beyond `MAX_CONNECTIONS` it is closed at once."""
        if not self._places.acquire(blocking=False):
            sock.close()
            return
        try:
            self._handle(sock, address)
        finally:
            self._places.release()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        if refusal := self._refusal(request.headers):
            return _response(http.HTTPStatus.FORBIDDEN, refusal.encode(), "text/plain; charset=utf-8")
        if path == "/ws":
            if self._pages >= MAX_PAGES:
                return _response(http.HTTPStatus.SERVICE_UNAVAILABLE, b"too many pages are open\n")
            return None
        if path in self._files:
            return _response(http.HTTPStatus.OK, *self._files[path])
        return _response(http.HTTPStatus.NOT_FOUND, b"there is no such page\n")

    def _refusal(self, headers: Headers) -> str:
        """Why a request may not go on; empty if it may."""
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if len(hosts) != 1 or len(origins) > 1:
            return "expected one Host and at most one Origin\n"
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
        except ValueError:
            name = ""
        # A name that resolves to 127.0.0.1 could be anybody's: another site's script would count as ours (DNS
        # rebinding).
        if is_loopback(self.host) and not is_loopback(name):
            return f"this viewer is reached as localhost or 127.0.0.1, not as {name!r}\n"
        # Programs that are no browsers send no Origin; browsers always do, and scripts cannot change it.
        if origins and origins[0] not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
            return "only this viewer's own page may connect\n"
        return ""

    # --- A page -------------------------------------------------------------------------------------------------------

    def _serve_page(self, connection: ServerConnection) -> None:
        with self._lock:
            if self._pages >= MAX_PAGES:
                return
            self._pages += 1
        one_thread()
        session = self._new_session()
        sender = threading.Thread(target=_send, args=(connection, session), daemon=True)
        sender.start()
        try:
            self._receive(connection, session)
        except ConnectionClosed:
            logger.debug("viewer: a page is gone")
        finally:
            with self._lock:
                self._pages -= 1
            session.close()
            self._closed(session)

    def _receive(self, connection: ServerConnection, session: Session) -> None:
        allowance, before = float(MESSAGES_PER_SECOND), time.monotonic()
        for message in connection:
            try:
                self._received(session, message)
            except ValueError as error:
                session.send(json.dumps({"type": "error", "text": str(error)}))
            now = time.monotonic()
            allowance = min(allowance + (now - before) * MESSAGES_PER_SECOND, MESSAGES_PER_SECOND) - 1
            before = now
            if allowance < 0:  # nothing is read meanwhile, so the sender must wait; training need not
                time.sleep(1 / MESSAGES_PER_SECOND)


def _send(connection: ServerConnection, session: Session) -> None:
    try:
        while (message := session.next_message()) is not None:
            connection.send(message)
    except ConnectionClosed:
        session.close()


def _response(status: http.HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **SAFE})
    return Response(status.value, status.phrase, headers, body)
