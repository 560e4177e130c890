"""Reloads and stops in the middle of exchanges: what is under way is finished, what is idle is closed at once."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.servers import Server, connect, hear

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
CLOSES = b"Connection: close\r\n"

pytestmark = pytest.mark.linux


class Hesitant(Server):
    """A server that sends ``name`` in two halves, the second when it is told to ``go_on``."""

    def __init__(self, name: bytes) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._name = name
        super().__init__(self._converse)

    def _converse(self, client: socket.socket) -> None:
        data = b""
        while more := client.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                data = data.partition(b"\r\n\r\n")[2]
                client.sendall(HEAD + self._name[:2])
                self.asked.set()
                self.go_on.wait(10)
                client.sendall(self._name[2:])


@pytest.fixture
def servers() -> Iterator[tuple[Hesitant, Hesitant]]:
    made = Hesitant(b"old."), Hesitant(b"new.")
    yield made
    for server in made:
        server.go_on.set()
        server.close()


def config(port: int, server: Server, **process: Any) -> dict[str, Any]:
    return {
        "frontends": {"web": {"bind": f"127.0.0.1:{port}", "backend": "app", "mode": "http"}},
        "backends": {"app": {"servers": {"s1": f"127.0.0.1:{server.port}"}}},
        "process": process,
    }


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        assert more, data
        data += more
    return data


def test_a_reload_in_the_middle_of_an_exchange_does_not_touch_it(
    proxy: "StartProxy", free_port: "FreePort", servers: tuple[Hesitant, Hesitant]
) -> None:
    old, new = servers
    port = free_port()
    running = proxy(config(port, old))
    with connect(port) as before:
        before.sendall(GET)
        assert old.asked.wait(10)
        running.reload(config(port, new))
        new.go_on.set()
        with connect(port) as after:
            after.sendall(GET)
            assert read(after, len(HEAD) + 4).endswith(b"new.")
        old.go_on.set()
        assert read(before, len(HEAD) + 4).endswith(b"old.")
        before.sendall(GET)
        assert read(before, len(HEAD) + 4)[-4:] == b"old.", "a connection keeps what it began with"
    assert [record["ending"] for record in running.records(3)] == ["--"] * 3


def test_a_stop_closes_idle_clients_at_once_and_waits_for_those_that_are_served(
    proxy: "StartProxy", free_port: "FreePort", servers: tuple[Hesitant, Hesitant]
) -> None:
    server, _ = servers
    port = free_port()
    running = proxy(config(port, server, graceful_stop="20s"))
    server.go_on.set()
    with connect(port) as idle, connect(port) as busy, connect(port) as fresh:
        idle.sendall(GET)
        assert read(idle, len(HEAD) + 4).endswith(b"old.")
        server.asked.clear()
        server.go_on.clear()
        busy.sendall(GET)
        assert server.asked.wait(10)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert hear(idle) == b""
        assert time.monotonic() - began < 2
        assert running.process.poll() is None
        fresh.sendall(GET)
        server.go_on.set()
        assert hear(busy).endswith(b"old.")
        last = hear(fresh)
        assert CLOSES in last
        assert last.endswith(b"old.")
        assert running.process.wait(10) == 0
        assert time.monotonic() - began < 10, "nobody is waited for in vain"
    assert [record["ending"] for record in running.records(3)] == ["--"] * 3


def test_a_stop_cuts_in_the_end(proxy: "StartProxy", free_port: "FreePort", servers: tuple[Hesitant, Hesitant]) -> None:
    server, _ = servers
    port = free_port()
    running = proxy(config(port, server, graceful_stop="200ms"))
    with connect(port) as client:
        client.sendall(GET)
        assert read(client, len(HEAD) + 2) == HEAD + b"ol", "the stop comes behind this"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
        assert hear(client) == b""
    (record,) = running.records(1)
    assert (record["status"], record["ending"]) == (200, "KD")
