"""Clients that send a PROXY header, against a server that reads it, or misbehaves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.errors import LoadFailedError
from benchmarks.process import PROXY_HEADER, free_ports
from benchmarks.proxied import proxied_connections
from twisted_lb_plugins.proxy_header_v2 import ProxyV2

GOOD = b"HTTP/1.1 200 OK\r\nServer: s\r\n\r\n203.0.113.7\n"


@contextmanager
def answering(answer: bytes | None, heard: list[bytes]) -> Iterator[int]:
    """Serve ``answer`` to each connection and close it; ``None``: accept and say nothing. Gives the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    sock = listener.accept()[0]
                    held.append(sock)
                    sock.settimeout(10)
                    heard.append(sock.recv(4096))
                    if answer is not None:
                        sock.sendall(answer)
                        sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for sock in held:
                sock.close()
        assert not thread.is_alive()


def test_the_header_is_one_that_a_server_understands() -> None:
    answer = ProxyV2().decode(PROXY_HEADER + b"GET")
    assert isinstance(answer, tuple)
    header, used = answer
    assert used == len(PROXY_HEADER)
    assert header.source == ("203.0.113.7", 51000)
    assert header.destination == ("198.51.100.9", 443)


def test_every_connection_sends_header_and_request_at_once_and_is_counted() -> None:
    heard: list[bytes] = []
    with answering(GOOD, heard) as port:
        outcome = proxied_connections(port, concurrency=4, connections=10, deadline_s=10)
    assert outcome.units == 10
    assert outcome.seconds > 0
    assert heard == [PROXY_HEADER + b"GET / HTTP/1.0\r\n\r\n"] * 10


@pytest.mark.parametrize(
    "answer",
    [
        GOOD.replace(b"203.0.113.7", b"127.0.0.1"),
        GOOD.replace(b"200 OK", b"400 Bad Request"),
        GOOD[:-5],
        b"",
    ],
)
def test_another_answer_gives_no_figure(answer: bytes) -> None:
    with answering(answer, []) as port, pytest.raises(LoadFailedError, match="unexpected answer"):
        proxied_connections(port, concurrency=2, connections=3, deadline_s=10)


def test_a_server_that_does_not_answer_gives_no_figure() -> None:
    with answering(None, []) as port, pytest.raises(LoadFailedError, match="3 of 3 were left"):
        proxied_connections(port, concurrency=3, connections=3, deadline_s=0.2)


def test_a_server_that_is_not_there_gives_no_figure() -> None:
    [port] = free_ports(1)
    with pytest.raises(LoadFailedError, match="connection 1 of 3"):
        proxied_connections(port, concurrency=3, connections=3, deadline_s=10)
