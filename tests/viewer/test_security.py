"""What the viewer's server lets through: nobody else's scripts, no files, and nothing that stops the program."""

import contextlib
import http.client
import json
import socket
import struct
import threading
import time

import pytest
import websockets
from helpers.viewing import POSE, Page, wait
from websockets.exceptions import ConnectionClosed

from diffrast.viewer import Viewer, protocol, server
from diffrast.viewer.orbit import UPRIGHT


def port_of(viewer: Viewer) -> int:
    return viewer._server.port


def get(viewer: Viewer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(viewer), timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), body


def still_works(viewer: Viewer, stamp: float = 1.0) -> None:
    with Page(viewer) as page:
        page.say("size", width=32, height=32)
        page.move(stamp)
        assert page.frame_after(stamp)[1][:2] == b"\xff\xd8"


# --- Who is listened to -----------------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only(viewer, capsys):
    assert viewer._server._server.socket.getsockname()[0] == "127.0.0.1"
    assert viewer.url == f"http://127.0.0.1:{port_of(viewer)}/"
    with Viewer(port=0):
        assert "network" not in capsys.readouterr().err


def test_listening_on_the_network_is_said(capsys):
    with Viewer(host="0.0.0.0", port=0) as viewer:
        said = capsys.readouterr().err
        assert "listening on 0.0.0.0" in said
        assert "without a password and unencrypted" in said
        assert f"ssh -L {port_of(viewer)}:127.0.0.1" in said
        assert get(viewer, "/", Host="workstation:80")[0] == 200  # any name may lead here


def test_a_port_that_is_taken_is_an_error_or_the_next_one(viewer):
    with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{port_of(viewer)}: Address already in use"):
        Viewer(port=port_of(viewer), quiet=True)
    with Viewer(quiet=True) as first, Viewer(quiet=True) as second:
        assert port_of(second) > port_of(first)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://127.0.0.1.evil.example", "null", "http://127.0.0.1:1", "file://"]
)
def test_scripts_of_other_sites_may_not_connect(viewer, origin):
    with pytest.raises(websockets.InvalidStatus) as refused:
        Page(viewer, origin=origin)
    assert refused.value.response.status_code == 403
    assert b"only this viewer's own page" in refused.value.response.body


def test_our_own_page_may_connect_also_through_a_tunnel(viewer):
    with Page(viewer, origin=f"http://127.0.0.1:{port_of(viewer)}"):
        wait(lambda: viewer.pages == 1, "the page")
    # ssh -L 9000:127.0.0.1:8484: the browser says localhost:9000, in Host and Origin
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AQIDBAUGBwgJCgsMDQ4PEA==",
        "Sec-WebSocket-Version": "13",
    }
    status, _, _ = get(viewer, "/ws", Host="localhost:9000", Origin="http://localhost:9000", **upgrade)
    assert status == 101


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "[::ffff", ""])
def test_names_that_only_resolve_to_this_machine_are_refused(viewer, host):
    status, _, body = get(viewer, "/", Host=host)
    assert status == 403
    assert b"reached as localhost" in body


# --- What is served ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/page.html",
        "//etc/passwd",
        "/viewer.py",
        "/%2e%2e/server.py",
        "/page.js/../server.py",
        "/page.js%00.py",
        "/.",
        "http://127.0.0.1/etc/passwd",
        "/ws/../page.js",
    ],
)
def test_no_file_can_be_read(viewer, path):
    status, _, body = get(viewer, path)
    assert status == 404
    assert body == b"there is no such page\n"


def test_the_files_and_their_headers(viewer):
    for path, kind in (
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/page.cameras.js", "text/javascript"),
        ("/page.constants.js", "text/javascript"),
        ("/page.css", "text/css"),
    ):
        status, headers, body = get(viewer, path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert headers["X-Content-Type-ViewOptions"] == "nosniff"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert len(body) == int(headers["Content-Length"]) > 500
    page = get(viewer, "/")[2]
    assert b"http://" not in page  # nothing comes from elsewhere
    assert b"https://" not in page


# --- What pages may send ----------------------------------------------------------------------------------------------

MALFORMED = [
    "",
    "{",
    "[]",
    "null",
    "3",
    '"camera"',
    "{}",
    '{"type": 3}',
    '{"type": "quit"}',
    '{"type": ["camera"]}',
    "[" * 2000,
    json.dumps({"type": "camera", "stamp": 0}),
    json.dumps({"type": "camera", "stamp": 0, **POSE, "yaw": "left"}),
    json.dumps({"type": "camera", "stamp": 0, **POSE, "yaw": True}),
    json.dumps({"type": "camera", "stamp": 0, **POSE, "target": [1, 2]}),
    json.dumps({"type": "camera", "stamp": float("nan"), **POSE}),
    json.dumps({"type": "camera", "stamp": 0, **POSE, "distance": float("inf")}),
    '{"type": "camera", "stamp": 1' + "0" * 400 + "}",
    json.dumps({"type": "size", "width": None, "height": 3}),
    json.dumps({"type": "ack", "frame": "1"}),
    json.dumps({"type": "run", "do": "exit"}),
    json.dumps({"type": "rate", "name": "x" * 3000, "value": 1}),
    json.dumps({"type": "rate", "name": "nobody", "value": 1}),
    json.dumps({"type": "save", "what": "../../etc/passwd"}),
    b"\x00\x01\x02",
]


@pytest.mark.parametrize("message", MALFORMED, ids=lambda m: repr(m[:50]))
def test_malformed_messages_raise_one_kind_of_error(message):
    if b"nobody" in (message if isinstance(message, bytes) else message.encode()):
        protocol.parse(message)  # well-formed; it is the viewer who does not know this rate
        return
    with pytest.raises(ValueError, match=r".") as error:
        protocol.parse(message)
    assert len(str(error.value)) < 300


def test_malformed_messages_are_answered_and_forgotten(viewer):
    with Page(viewer) as page:
        page.say("size", width=32, height=32)
        page.frame_after(0.0)
        for message in MALFORMED:
            page.socket.send(message)
        wait(lambda: len(page.of_type("error")) == len(MALFORMED), "an answer to each")
        page.move(9.0)
        page.frame_after(9.0)
    still_works(viewer)


def test_numbers_are_brought_into_range():
    kind, fields = protocol.parse(json.dumps({"type": "size", "width": 1e9, "height": -5}))
    assert (kind, fields) == ("size", {"width": protocol.MAX_SIDE, "height": 16})
    _, fields = protocol.parse(json.dumps({"type": "camera", "stamp": 0, **POSE, "pitch": 3, "fov": 500}))
    assert fields["pitch"] == UPRIGHT
    assert fields["fov"] == 120


def test_extreme_cameras_and_sizes_are_drawn(viewer):
    extremes = [
        {"distance": 1e-9},
        {"distance": 1e9},
        {"target": [1e9, -1e9, 1e9]},
        {"pitch": 100.0},
        {"fov": 0.0},
        {"yaw": -1e6},
    ]
    with Page(viewer) as page:
        page.say("size", width=4000, height=16)
        page.frame_after(0.0)
        page.say("size", width=24, height=24)
        for i, change in enumerate(extremes):
            page.move(1.0 + i, **change)
            page.frame_after(1.0 + i)
        assert not page.of_type("error")


def test_a_message_that_is_too_long_closes_its_own_connection_only(viewer):
    with Page(viewer) as other:
        page = Page(viewer)
        page.socket.send("x" * (protocol.MAX_MESSAGE + 1))
        wait(lambda: page.socket.close_code, "the end of the connection")
        assert page.socket.close_code == 1009
        other.say("size", width=32, height=32)
        other.frame_after(0.0)


def test_a_flood_is_slowed_down_and_stops_nothing(viewer):
    with Page(viewer) as flood, Page(viewer) as page:
        message, stop = json.dumps({"type": "camera", "stamp": 1.0, **POSE}), threading.Event()

        def pour() -> None:
            with contextlib.suppress(ConnectionClosed):
                while not stop.is_set():
                    flood.socket.send(message)

        handled = []
        receive, viewer._server._received = (viewer._server._received, lambda *a: (handled.append(a[0]), receive(*a)))
        thread = threading.Thread(target=pour, daemon=True)
        began = time.monotonic()
        thread.start()
        page.say("size", width=32, height=32)
        page.move(2.0)
        page.frame_after(2.0)
        for _ in range(200):
            viewer.step(loss=1.0)
        time.sleep(1.0)
        stop.set()
        elapsed = time.monotonic() - began
        count = max(handled.count(session) for session in set(handled))  # of the one that floods
        assert count <= 2 + (1 + elapsed) * server.MESSAGES_PER_SECOND
        viewer._server._received = receive
        flood.socket.socket.shutdown(socket.SHUT_RDWR)  # without reading what waits
    still_works(viewer)


def test_a_flood_of_requests_stops_nothing(viewer):
    stop = threading.Event()
    answers: list[int] = []

    def pour() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(get(viewer, "/page.js")[0])

    threads = [threading.Thread(target=pour, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        viewer.step(loss=1.0)
    wait(lambda: len(answers) > 50, "answers")
    assert viewer.control.iteration == 199
    stop.set()
    for thread in threads:
        thread.join(timeout=20)
    assert set(answers) == {200}
    still_works(viewer)


def test_pages_are_counted_and_bounded(viewer):
    pages = [Page(viewer) for _ in range(server.MAX_PAGES)]
    wait(lambda: viewer._server._pages == server.MAX_PAGES, "all pages are served")
    with pytest.raises(websockets.InvalidStatus) as refused:
        Page(viewer)
    assert refused.value.response.status_code == 503
    pages[0].close()
    wait(lambda: viewer.pages < server.MAX_PAGES, "a free place")
    wait(lambda: viewer._server._pages < server.MAX_PAGES, "a free place")
    still_works(viewer)
    for page in pages[1:]:
        page.close()


def test_idle_connections_are_bounded(viewer):
    """Whoever opens sockets and says nothing takes all places at most for as long as the handshake may take."""
    idle = [socket.create_connection(("127.0.0.1", port_of(viewer))) for _ in range(server.MAX_CONNECTIONS + 20)]
    ours = [t for t in threading.enumerate() if "_bounded" in t.name or "conn_handler" in t.name]
    assert len(ours) <= server.MAX_CONNECTIONS
    wait(lambda: viewer._server._places._value > server.MAX_CONNECTIONS // 2, "places after the time limit")
    for s in idle:
        s.close()
    still_works(viewer)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 64,
        b"GET",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
        b"GET /" + b"a" * 100_000,
        b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nabc",
    ],
    ids=["zeros", "half a line", "many headers", "long path", "TLS", "POST"],
)
def test_garbage_before_the_handshake(viewer, data):
    with socket.create_connection(("127.0.0.1", port_of(viewer)), timeout=10) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = s.recv(100)
        except OSError:  # closed in our face, which is an answer too
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 200")
    still_works(viewer)


def test_a_page_that_does_not_read_is_not_waited_for(viewer):
    """A raw socket that shakes hands, asks for frames, and never reads."""
    with socket.create_connection(("127.0.0.1", port_of(viewer))) as s:
        s.sendall(
            f"GET /ws HTTP/1.1\r\nHost: localhost:{port_of(viewer)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        wait(lambda: viewer.pages == 1, "the page")
        for message in ({"type": "size", "width": 1000, "height": 1000}, *({"type": "nonsense"},) * 200):
            payload = json.dumps(message).encode()
            s.sendall(struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload)  # masked with zeros
        still_works(viewer)
