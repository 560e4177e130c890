"""Connections that are watched, slowed down, or refused on their way leave nothing behind either."""

import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.loopback import in_process
from tests.wire.hellos import hello, record, usual
from tests.wire.test_server_hello import CHOSEN_1_3, FATAL, answer
from twisted_lb.wire.server_hello import RETRY_RANDOM
from twisted_lb.wire.tls_rules import Alert, tls_alert

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort

CONNECTIONS = 105
HELLO, OTHER = hello(), hello(usual(b"other.example.org"))
ANSWER = record(answer(CHOSEN_1_3))
RETRY = ANSWER[:11] + RETRY_RANDOM + ANSWER[43:]
DATA = b"\x17\x03\x03\x00\x05bytes"
RESET = struct.pack("ii", 1, 0)

WAYS: tuple[tuple[bytes, bytes, bytes, bytes], ...] = (
    (HELLO, ANSWER + DATA, DATA, ANSWER + DATA),
    (HELLO, b"no TLS", b"", tls_alert(Alert.INTERNAL_ERROR, 0x0303)),
    (HELLO, RETRY, OTHER, RETRY + tls_alert(Alert.ILLEGAL_PARAMETER, 0x0303)),
    (HELLO, RETRY, HELLO + DATA, RETRY),
    (HELLO[:50], b"", b"", b""),
    (HELLO, FATAL, b"", FATAL),
    (hello(usual(b"refused.example.org")), b"", b"", tls_alert(Alert.ACCESS_DENIED, 0x0303)),
)
"""What the client says, what the server answers, what the client says then, and all that the client hears."""


class World(in_process.World):
    """With a watch, a limit of bandwidth, and a rule that refuses."""

    def connect(self, number: int) -> None:
        """One connection from its beginning to its end."""
        said, answered, more, heard = WAYS[number % len(WAYS)]
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.send(said)
            server = self.accept()
            if server is not None:
                server.send(answered)
                self.turn()
            if more:
                client.send(more)
                self.turn()
            client.setblocking(False)
            assert not heard or client.recv(65536) == heard
            if number % 3 == 0:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.end(server)


@pytest.fixture(params=in_process.KINDS)
def world(request: pytest.FixtureRequest, free_port: "FreePort") -> Iterator[World]:
    """One of each kind."""
    one = World(
        request.param,
        free_port(),
        validators=["tls"],
        policies=[
            {"use": "bandwidth", "in": "1MiB", "out": "1MiB", "per": "source"},
            {"deny": 'tls.sni == "refused.example.org"'},
        ],
    )
    yield one
    one.close()


def test_whoever_is_watched_slowed_down_or_refused_leaves_nothing_behind(world: World) -> None:
    world.leaves_nothing(42, CONNECTIONS)
