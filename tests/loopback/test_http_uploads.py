"""Many slow uploads at once cost little memory, passed on at once or held until they are whole."""

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.placement import Target
from benchmarks.uploads import growth_bytes
from tests.loopback.servers import Server
from tests.loopback.traffic import config_of

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort, StartProxy

UPLOADS, BODY = 200, 512 * 1024
LIMIT_BYTES = 10_000_000
"""All of them have 100 MiB. The figure to reach is 64 MB for 2000."""

pytestmark = pytest.mark.linux


def serve(client: socket.socket) -> None:
    """Take bodies of a known length."""
    stream = client.makefile("rb")
    while stream.readline():
        length = 0
        while (field := stream.readline()) not in (b"\r\n", b""):
            if field.lower().startswith(b"content-length:"):
                length = int(field.partition(b":")[2])
        while length:
            length -= len(stream.read1(min(length, 65536)))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(serve)
    yield made
    made.close()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"buffer_request": True},
        {"body_filters": [{"use": "max_body", "max_bytes": BODY}], "min_rate": {"rate": "1B"}},
    ],
    ids=["passed on", "held", "watched"],
)
def test_slow_uploads_take_little_memory(
    proxy: "StartProxy", free_port: "FreePort", server: Server, settings: dict[str, Any]
) -> None:
    port = free_port()
    config = config_of({"stream": port}, server.port, mode="http", **settings)
    running = proxy(config)
    grown = growth_bytes(Target("ours", port, running.pid), UPLOADS, BODY)
    assert grown < LIMIT_BYTES, f"{grown / 1e6:.1f} MB for {UPLOADS} uploads"
