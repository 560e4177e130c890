"""Connections that are watched, slowed down, or refused on their way leave nothing behind either."""

import gc
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.pollreactor import PollReactor

from tests.wire.hellos import hello, record, usual
from tests.wire.test_server_hello import CHOSEN_1_3, FATAL, answer
from twisted_lb.config.load import load_dict
from twisted_lb.net.reactor import LBReactor, clock_of, poller_of
from twisted_lb.process import Process
from twisted_lb.service import LoadBalancer
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


class World:
    """A load balancer in this process, turned by hand."""

    def __init__(self, reactor: Any, bind: str, port: int) -> None:
        self.reactor = reactor
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        frontend = {
            "bind": bind,
            "backend": "app",
            "validators": ["tls"],
            "policies": [
                {"use": "bandwidth", "in": "1MiB", "out": "1MiB", "per": "source"},
                {"deny": 'tls.sni == "refused.example.org"'},
            ],
        }
        backend = {"servers": {"a": f"127.0.0.1:{self.listener.getsockname()[1]}"}}
        config = load_dict({"frontends": {"web": frontend}, "backends": {"app": backend}}, "the test")
        self.process = Process(reactor, clock_of(reactor), poller_of(reactor))
        self.balancer = LoadBalancer(lambda: config, self.process, lambda problems: pytest.fail(str(problems)))
        self.balancer.open()
        self.balancer.startService()

    def turn(self) -> None:
        """Let everything happen that can."""
        for _ in range(8):
            self.reactor.iterate(0)

    def connect(self, number: int) -> None:
        """One connection from its beginning to its end."""
        said, answered, more, heard = WAYS[number % len(WAYS)]
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.send(said)
            self.turn()
            try:
                server = self.listener.accept()[0]
            except BlockingIOError:
                server = None
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
        self.turn()
        if server is not None:
            server.close()
        self.turn()
        assert not self.process.sessions

    def close(self) -> None:
        self.balancer.stopService()
        self.turn()
        self.listener.close()
        self.reactor.removeAll()


@pytest.fixture(params=[(LBReactor, "127.0.0.1:{}"), (PollReactor, "127.0.0.1:{}"), (LBReactor, "tcp:{}")])
def world(request: pytest.FixtureRequest, free_port: "FreePort") -> Iterator[World]:
    """Streams of ours on our reactor and on another, and clients that come through an endpoint."""
    make_reactor: Callable[[], Any] = request.param[0]
    port = free_port()
    one = World(make_reactor(), request.param[1].format(port), port)
    yield one
    one.close()


def test_whoever_is_watched_slowed_down_or_refused_leaves_nothing_behind(world: World) -> None:
    for number in range(42):
        world.connect(number)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for number in range(CONNECTIONS):
            world.connect(number)
        left = len(gc.get_objects()) - before
        circles = gc.collect()
    finally:
        gc.enable()
    assert left < CONNECTIONS / 4
    assert circles < CONNECTIONS / 4, "there are references in a circle"
    assert len(world.process.wheel) == 0
    assert world.process.limit.count == 0
