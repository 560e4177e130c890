"""A slow client costs the server nothing: its side is free once the response is read, up to a bounded buffer."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Client, Site, get
from tests.whole import run
from twisted_lb.net.stream import READ_SIZE
from twisted_lb.net.stream_writing import WRITE_LIMIT

pytestmark = pytest.mark.linux
BOUND = WRITE_LIMIT + READ_SIZE + 1024
"""What is kept of a response: the limit of a stream, one read more, and a head."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def start(site: Site, *servers: Any, **settings: Any) -> None:
    """Start with small buffers in the kernel, so that what is kept is kept by us."""
    of_frontend = {"tcp": {"send_buffer": "8KiB"}, **settings.pop("of_frontend", {})}
    site.start(*servers, of_frontend=of_frontend, **settings)


def stalled(site: Site) -> Client:
    """Connect a client that does not read until ``go_on``."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", site.running.port()))
    client = Client(site, sock)
    client.turn = lambda: None  # type: ignore[method-assign]
    site.clients.append(client)
    return client


def go_on(client: Client) -> Client:
    """Let it read."""
    del client.turn
    return client


def kept(site: Site) -> int:
    """The most that is kept for any client."""
    return max(len(session.client._pending or b"") for session in site.running.process.sessions)  # type: ignore[attr-defined]


def response(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def fill(site: Site, one: Any, data: bytes) -> bytes:
    """Let the server say as much as anybody takes; returns the rest."""
    still = 0
    while data and still < 50:
        try:
            data = data[one.sock.send(data) :]
            still = 0
        except BlockingIOError:
            still += 1
        site.turn()
    return data


def test_the_server_is_free_for_others_while_the_client_has_not_read_its_response(site: Site) -> None:
    server = site.upstream(lambda request: response(60_000))
    start(site, {"address": server.address, "maxconn": 1})
    slow = stalled(site).send(get("/slow"))
    site.until(lambda: len(server.asked) == 1 and not site.server().connections, "the slot, free again")
    assert kept(site) > 10_000, "the client had room for all of it: this shows nothing"
    assert len(site.server().idle) == 1, "the connection is not in the pool"
    server.answer = lambda request: OK
    quick = [site.client() for _ in range(3)]
    assert [client.ask(get("/quick")) for client in quick] == [200] * 3
    assert len(server.served) == 1, "they did not share the connection"
    assert len(go_on(slow).answer()) > 60_000
    assert slow.ask() == 200, "the slow client may ask again"
    assert {record["ending"] for record in site.running.records(5)} == {"--"}


def test_a_stalled_client_pins_no_more_than_the_bound_and_the_server_is_not_read_meanwhile(site: Site) -> None:
    size = 12_000_000
    server = site.upstream(lambda request: None)
    start(site, server)
    slow = stalled(site).send(get())
    site.until(lambda: server.asked, "the request")
    one = server.served[0]
    rest = fill(site, one, response(size))
    assert len(rest) > size // 2, "the server was read although nobody took what it said"
    assert WRITE_LIMIT < kept(site) <= BOUND
    got = 0

    def read() -> None:
        nonlocal got
        with suppress(BlockingIOError):
            got += len(slow.sock.recv(1 << 20))

    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    slow.turn = read  # type: ignore[method-assign]
    while rest:
        rest = fill(site, one, rest)
        assert kept(site) <= BOUND
    deadline = time.monotonic() + 20
    while got < len(response(size)):
        assert time.monotonic() < deadline, f"{got} bytes came"
        site.turn()
    site.until(lambda: len(site.server().idle) == 1, "the connection in the pool")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_bound_holds_for_bodies_in_chunks_too(site: Site, version: str) -> None:
    server = site.upstream(lambda request: None)
    start(site, server)
    stalled(site).send(get(version=version))
    site.until(lambda: server.asked, "the request")
    chunks = b"1\r\nx\r\n" * 3_000_000
    rest = fill(site, server.served[0], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    if version == "1.1":
        assert rest
        assert kept(site) > WRITE_LIMIT
    assert kept(site) <= BOUND


def test_who_asks_on_and_on_and_does_not_read_is_not_served_on_and_on(site: Site) -> None:
    server = site.upstream(lambda request: response(50_000))
    start(site, server)
    slow = stalled(site)
    asked = get() * 2000
    while asked:
        try:
            asked = asked[slow.sock.send(asked) :]
        except BlockingIOError:
            break
        site.turn()
    site.settle()
    assert len(server.asked) < 10
    assert kept(site) <= BOUND + 51_000
    (session,) = site.running.process.sessions
    assert len(session._peeked) <= 64 * 1024 + READ_SIZE  # type: ignore[attr-defined]
    go_on(slow)
    for _ in range(20):
        assert slow.status() == 200


def test_a_client_that_stalls_in_mid_response_has_its_own_time(site: Site) -> None:
    server = site.upstream(lambda request: None)
    start(site, server, of_frontend={"timeouts": {"client": "3s"}}, timeouts={"server": "5m"})
    stalled(site).send(get())
    site.until(lambda: server.asked, "the request")
    fill(site, server.served[0], response(30_000_000))
    site.pass_time(4)
    (record,) = site.running.records(1)
    assert record["ending"] == "cD"
    site.until(lambda: server.served[0].ended, "the end of the connection to the server")


def test_a_client_that_stalls_behind_a_response_has_its_own_time(site: Site) -> None:
    server = site.upstream(lambda request: response(60_000))
    timeouts = {"client": "3s", "http_keep_alive": "2s"}
    start(site, server, of_frontend={"timeouts": timeouts}, timeouts={"server": "5m"})
    stalled(site).send(get())
    site.until(lambda: len(server.asked) == 1 and not site.server().connections, "the end of the exchange")
    assert kept(site) > 10_000
    site.pass_time(12)
    assert not site.running.process.sessions
