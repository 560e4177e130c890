"""Many slow uploads, and the server that reads them to their end."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.backend import READING_SERVER
from benchmarks.errors import LoadFailedError
from benchmarks.placement import Target
from benchmarks.process import HOST, free_ports, running, wait_until_serving
from benchmarks.uploads import growth_bytes

POST = b"POST / HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that reads."""
    [port] = free_ports(1)
    log = tmp_path / "log"
    with running([sys.executable, str(READING_SERVER), HOST, str(port)], tmp_path, log) as child:
        wait_until_serving((HOST, port), child, log)
        yield port


def answer(sock: socket.socket) -> bytes:
    """What comes to the first blank line."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += sock.recv(4096)
    return got


def test_the_server_answers_when_the_whole_body_has_come_and_keeps_the_connection(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=10) as sock:
        for _ in range(2):
            sock.sendall(POST + b"content-length: 1000\r\n\r\n" + bytes(999))
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            sock.settimeout(10)
            sock.sendall(bytes(1))
            assert answer(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "said", [POST + b"Transfer-Encoding: chunked\r\n\r\n", POST + b"Content-Length: 3\r\n\r\nfour"]
)
def test_the_server_refuses_what_it_does_not_understand(port: int, said: bytes) -> None:
    with socket.create_connection((HOST, port), timeout=10) as sock:
        sock.sendall(said)
        assert answer(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.linux
def test_uploads_that_are_all_answered_give_a_figure(port: int) -> None:
    # What grows is this process itself: it holds the sockets, and the answers.
    assert growth_bytes(Target("none", port, os.getpid()), uploads=30, body_bytes=64 << 10) < 64 << 20


@pytest.mark.linux
def test_an_upload_that_is_refused_gives_no_figure() -> None:
    [nobody] = free_ports(1)
    with pytest.raises(LoadFailedError, match="uploads at once"):
        growth_bytes(Target("none", nobody, os.getpid()), uploads=5, body_bytes=64 << 10)
