"""Servers that are killed, or answer garbage, too early, too late, twice or by half: what the client gets.

The proxy is a process of its own; no wrong byte may ever reach a client.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.loopback.servers import Server, connect, hear

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"
TIMEOUTS = {"client": "10s", "server": "1s", "connect": "2s", "http_request": "5s", "http_keep_alive": "5s"}
Story = Callable[[socket.socket], object]


def request(client: socket.socket) -> bytes:
    """Read one request without a body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            raise ConnectionResetError
        data += more
    return data


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def say(data: bytes, then: Story = lambda client: None) -> Story:
    """Answer one request with ``data``."""

    def story(client: socket.socket) -> None:
        request(client)
        client.sendall(data)
        then(client)

    return story


def wait_for_end(client: socket.socket) -> None:
    """Say nothing more, and stay until the other end has had enough."""
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass


def before_it_is_asked(client: socket.socket) -> None:
    client.sendall(EVIL)
    wait_for_end(client)


def slowly(client: socket.socket) -> None:
    request(client)
    for byte in OK:
        client.sendall(bytes([byte]))


STORIES: dict[str, tuple[Story, int, str, bytes]] = {
    "closes at once": (lambda client: None, 502, "SH", b""),
    "resets at once": (reset, 502, "SH", b""),
    "closes when asked": (request, 502, "SH", b""),
    "resets when asked": (say(b"", reset), 502, "SH", b""),
    "is silent": (say(b"", wait_for_end), 504, "sH", b""),
    "garbage": (say(b"\x00\xffSSH-2.0\r\n\r\n", wait_for_end), 502, "PH", b""),
    "garbage without an end": (say(b"x" * 100_000, wait_for_end), 502, "PH", b""),
    "a request": (say(GET % (b"", b""), wait_for_end), 502, "PH", b""),
    "two lengths": (say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), 502, "PH", b""),
    "half a head": (say(OK[:20]), 502, "SH", b""),
    "half a head, then silence": (say(OK[:20], wait_for_end), 504, "sH", b""),
    "half a head, then a reset": (say(OK[:20], reset), 502, "SH", b""),
    "half a body": (say(LONG + b"y" * 1000), 200, "SD", LONG + b"y" * 1000),
    "half a body, then silence": (say(LONG + b"y" * 1000, wait_for_end), 200, "sD", LONG + b"y" * 1000),
    "half a chunk": (say(CHUNKS + b"5\r\nab"), 200, "SD", CHUNKS + b"5\r\nab"),
    "chunks without an end": (say(CHUNKS + b"2\r\nab\r\n"), 200, "SD", CHUNKS + b"2\r\nab\r\n"),
    "a chunk that is none": (say(CHUNKS + b"2\r\nab\r\nxyz\r\n", wait_for_end), 200, "PD", CHUNKS),
    "twice": (say(OK + EVIL, wait_for_end), 200, "--", OK),
    "more than it said": (say(OK + b"EVIL", wait_for_end), 200, "--", OK),
    "byte by byte": (slowly, 200, "--", OK),
    "as it should": (say(OK), 200, "--", OK),
}


BEFORE_WE_HAVE_CONNECTED = {"resets at once": (503, "SC")}
"""What is right as well for those who are so quick that the proxy never sees them connected."""


class Many:
    """A server that plays the story that is chosen."""

    def __init__(self) -> None:
        self.story: Story = say(OK)
        self.server = Server(lambda client: self.story(client))


@pytest.fixture(scope="module")
def many() -> Iterator[Many]:
    made = Many()
    yield made
    made.server.close()


@pytest.fixture(scope="module", params=["streams", "endpoints"])
def running(
    request: pytest.FixtureRequest, module_proxy: "StartProxy", free_port: "FreePort", many: Many
) -> "tuple[Proxy, int]":
    """A proxy whose server is ``many``, over either kind of transport, and its port."""
    port = free_port()
    streams = request.param == "streams"
    bind = f"127.0.0.1:{port}" if streams else f"tcp:{port}:interface=127.0.0.1"
    address = f"127.0.0.1:{many.server.port}" if streams else f"tcp:127.0.0.1:{many.server.port}"
    config = {
        "frontends": {"web": {"bind": bind, "backend": "app", "mode": "http"}},
        "backends": {"app": {"servers": {"s1": address}, "retries": 0}},
        "defaults": {"timeouts": TIMEOUTS},
    }
    return module_proxy(config), port


@pytest.mark.linux
@pytest.mark.parametrize("name", STORIES)
def test_a_server_that_misbehaves_has_its_status_and_its_code_and_says_nothing_wrong(
    running: "tuple[Proxy, int]", many: Many, name: str
) -> None:
    proxy, port = running
    many.story, status, code, said = STORIES[name]
    before = len(proxy.records(0))
    with connect(port) as client:
        client.sendall(GET % (b"", b""))
        client.shutdown(socket.SHUT_WR)
        heard = hear(client)
    record = proxy.records(before + 1)[before]
    if (record["status"], record["ending"]) == BEFORE_WE_HAVE_CONNECTED.get(name):
        status, code = BEFORE_WE_HAVE_CONNECTED[name]
    assert (record["status"], record["ending"]) == (status, code), record["reason"]
    assert b"EVIL" not in heard
    if said:
        assert heard.replace(b"Connection: close\r\n", b"") == said
    else:
        assert heard.startswith(b"HTTP/1.1 %d " % status)
        assert b"\x00" not in heard


@pytest.mark.linux
@pytest.mark.parametrize("when", ["with it", "later"])
def test_what_a_server_says_behind_its_response_is_nobody_s_response(
    running: "tuple[Proxy, int]", many: Many, when: str
) -> None:
    """Reported together with the next request, it was once taken for the response to that."""
    proxy, port = running
    spoken = threading.Event()

    def talkative(client: socket.socket) -> None:
        request(client)
        for said in [OK + EVIL] if when == "with it" else [OK, EVIL]:
            client.sendall(said)
        spoken.set()
        wait_for_end(client)

    many.story = talkative
    before = len(proxy.records(0))
    with connect(port) as client:
        for _ in range(3):
            client.sendall(GET % (b"", b""))
            heard = b""
            while not heard.endswith(b"\r\n\r\nok"):
                more = client.recv(65536)
                assert more, heard
                heard += more
            assert heard.count(b"HTTP/1.1 ") == 1
            assert spoken.wait(10)
            spoken.clear()
    assert [one["status"] for one in proxy.records(before + 3)[before:]] == [200] * 3


@pytest.mark.linux
def test_a_server_that_answers_before_the_body_came_is_heard_and_its_connection_is_not_used_again(
    running: "tuple[Proxy, int]", many: Many
) -> None:
    proxy, port = running
    too_large = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    many.story = say(too_large)
    accepted, before = many.server.accepted, len(proxy.records(0))
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 5_000_000:
                sent += client.send(b"x" * 65536)
        heard = hear(client)
    assert heard.replace(b"Connection: close\r\n", b"") == too_large
    record = proxy.records(before + 1)[before]
    assert (record["status"], record["ending"]) == (413, "--")
    assert many.server.accepted == accepted + 1


@pytest.mark.linux
def test_a_server_that_speaks_first_is_no_http_server(running: "tuple[Proxy, int]", many: Many) -> None:
    _, port = running
    many.story = before_it_is_asked
    with connect(port) as client:
        client.sendall(GET % (b"", b""))
        client.shutdown(socket.SHUT_WR)
        heard = hear(client)
    # What came before the request may be told from an answer to it, or may not: nothing behind it is believed.
    assert heard.count(b"HTTP/1.1 ") == 1


@pytest.mark.linux
def test_a_client_that_resets_at_any_moment_leaves_nothing(running: "tuple[Proxy, int]", many: Many) -> None:
    proxy, port = running
    many.story = say(LONG + b"y" * 100_000)
    with connect(port) as client:
        client.sendall(GET % (b"", b""))
        hear_some = client.recv(10)
        assert hear_some
    for size in range(1, len(GET % (b"", b"")) + 1, 7):
        client = connect(port)
        client.sendall((GET % (b"", b""))[:size])
        reset(client)
    with connect(port) as client:
        many.story = say(OK)
        client.sendall(GET % (b"", b"Connection: close\r\n"))
        assert hear(client).endswith(b"ok")
    assert proxy.process.poll() is None


@pytest.mark.linux
def test_an_answer_right_before_a_reset_is_heard_although_we_are_still_sending(
    running: "tuple[Proxy, int]", many: Many
) -> None:
    _, port = running
    too_large = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
    many.story = say(too_large, reset)
    answers = set()
    for _ in range(100):
        with connect(port) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000)
            with contextlib.suppress(OSError):
                for _ in range(10):
                    client.send(b"x" * 65536)
            answers.add(hear(client)[:12])
    assert answers == {b"HTTP/1.1 413"}
