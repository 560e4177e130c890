"""Bodies of any size cost a bounded buffer, whoever stalls; nothing of them is lost.

Bodies are the noise of ``traffic``, sent round and round. With ``TWISTED_LB_TEST_ALL=1`` they have 2 GB.
"""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback.servers import Server
from tests.loopback.test_stall import Peak
from tests.loopback.traffic import MIB, NOISE, config_of

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, Proxy, StartProxy

ROUNDS = (2000 if os.environ.get("TWISTED_LB_TEST_ALL") == "1" else 400) * MIB // len(NOISE)
STALLED_ROUNDS = 200 * MIB // len(NOISE)
LIMIT_KIB = 5000
TIMEOUT_S = 60
STALL_S = 0.5
HEAD_LIMIT = 65536

pytestmark = pytest.mark.linux


class Bulk(Server):
    """A server that answers GET /ROUNDS/FRAMING with as much noise, and any POST with the digest of its body."""

    def __init__(self) -> None:
        self.stall_s = 0.0
        super().__init__(self._converse)

    def _converse(self, client: socket.socket) -> None:
        client.settimeout(TIMEOUT_S)
        stream = client.makefile("rb")
        while line := stream.readline(HEAD_LIMIT):
            method, target, _ = line.split(b" ")
            length = 0
            while (field := stream.readline(HEAD_LIMIT)) not in (b"\r\n", b""):
                if field.lower().startswith(b"content-length:"):
                    length = int(field.partition(b":")[2])
            if method == b"POST":
                self._take(client, stream, length)
            else:
                _, rounds, framing = target.split(b"/")
                self._give(client, int(rounds), framing)
                if framing == b"close":
                    return

    def _take(self, client: socket.socket, stream: Any, length: int) -> None:
        total, left = hashlib.sha256(), length
        while left:
            if self.stall_s and left < length // 2:
                time.sleep(self.stall_s)
                self.stall_s = 0.0
            data = stream.read1(min(left, MIB))
            assert data
            left -= len(data)
            total.update(data)
        answer = total.hexdigest().encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))

    def _give(self, client: socket.socket, rounds: int, framing: bytes) -> None:
        field = {
            b"length": b"Content-Length: %d\r\n" % (rounds * len(NOISE)),
            b"chunked": b"Transfer-Encoding: chunked\r\n",
            b"close": b"",
        }[framing]
        client.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n" % field)
        for _ in range(rounds):
            if framing == b"chunked":
                client.sendall(b"%x\r\n%b\r\n" % (len(NOISE), NOISE))
            else:
                client.sendall(NOISE)
        if framing == b"chunked":
            client.sendall(b"0\r\n\r\n")


def digest_of(rounds: int) -> str:
    total = hashlib.sha256()
    for _ in range(rounds):
        total.update(NOISE)
    return total.hexdigest()


@contextmanager
def site(kind: str, start: "StartProxy", free_port: "FreePort") -> Iterator[tuple["Proxy", socket.socket, Bulk]]:
    """A proxy with a bulk server, and a client that has connected."""
    server = Bulk()
    try:
        port = free_port()
        running = start(config_of({kind: port}, server.port, mode="http"))
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as client:
            yield running, client, server
    finally:
        server.close()


def download(client: socket.socket, rounds: int, framing: str, stall_s: float = 0.0) -> str:
    """Ask for so much and return the digest of what comes."""
    client.sendall(f"GET /{rounds}/{framing} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    stream = client.makefile("rb")
    line = stream.readline(HEAD_LIMIT)
    assert b" 200 " in line
    chunked = False
    while (line := stream.readline(HEAD_LIMIT)) != b"\r\n":
        chunked = chunked or line.lower() == b"transfer-encoding: chunked\r\n"
    total, size, whole = hashlib.sha256(), 0, rounds * len(NOISE)
    while size < whole:
        left = int(stream.readline(HEAD_LIMIT), 16) if chunked else whole - size
        while left:
            data = stream.read1(min(left, MIB))
            assert data, f"it ends after {size} bytes"
            if stall_s and size < whole // 3 <= size + len(data):
                time.sleep(stall_s)
            left -= len(data)
            size += len(data)
            total.update(data)
        if chunked:
            assert stream.readline(HEAD_LIMIT) == b"\r\n"
    if chunked:
        assert stream.readline(HEAD_LIMIT) + stream.readline(HEAD_LIMIT) == b"0\r\n\r\n"
    return total.hexdigest()


def upload(client: socket.socket, rounds: int) -> str:
    """Send so much and return the digest that the server answers with."""

    def send() -> None:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (rounds * len(NOISE)))
        for _ in range(rounds):
            client.sendall(NOISE)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    heard = b""
    while heard.count(b"\r\n\r\n") == 0 or len(heard.partition(b"\r\n\r\n")[2]) < 64:
        more = client.recv(65536)
        assert more, heard
        heard += more
    sending.join(TIMEOUT_S)
    return heard.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("kind", ["streams", "endpoints"])
def test_a_reader_that_stalls_costs_less_than_5_mb_and_gets_all(
    kind: str, framing: str, proxy: "StartProxy", free_port: "FreePort"
) -> None:
    with site(kind, proxy, free_port) as (running, client, _):
        assert download(client, 1, "length") == digest_of(1)
        with Peak(running) as peak:
            assert download(client, STALLED_ROUNDS, framing, STALL_S) == digest_of(STALLED_ROUNDS)
    assert peak.grown_kib < LIMIT_KIB


@pytest.mark.parametrize("kind", ["streams", "endpoints"])
def test_a_server_that_stalls_during_an_upload_costs_less_than_5_mb_and_gets_all(
    kind: str, proxy: "StartProxy", free_port: "FreePort"
) -> None:
    with site(kind, proxy, free_port) as (running, client, server):
        assert upload(client, 1) == digest_of(1)
        server.stall_s = STALL_S
        with Peak(running) as peak:
            assert upload(client, STALLED_ROUNDS) == digest_of(STALLED_ROUNDS)
    assert peak.grown_kib < LIMIT_KIB


def test_a_long_download_and_a_long_upload_on_one_connection_take_flat_memory(
    proxy: "StartProxy", free_port: "FreePort"
) -> None:
    expected = digest_of(ROUNDS)
    with site("streams", proxy, free_port) as (running, client, _):
        assert download(client, 1, "length") == digest_of(1)
        with Peak(running) as peak:
            assert download(client, ROUNDS, "length") == expected
            assert upload(client, ROUNDS) == expected
    assert peak.grown_kib < LIMIT_KIB
    records = running.records(3)
    assert [record["ending"] for record in records] == ["--"] * 3
    assert min(record["bytes_out"] for record in records[1:2]) > ROUNDS * len(NOISE)
    assert records[2]["bytes_in"] > ROUNDS * len(NOISE)
