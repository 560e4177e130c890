"""Connections leave nothing behind: no object, no timer, and nothing for the garbage collector to find."""

import gc
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.pollreactor import PollReactor

from twisted_lb.config.load import load_dict
from twisted_lb.net.reactor import LBReactor, clock_of, poller_of
from twisted_lb.process import Process
from twisted_lb.service import LoadBalancer

if TYPE_CHECKING:
    from tests.loopback.conftest import FreePort

CONNECTIONS = 200


class World:
    """A load balancer in this process, turned by hand, with everything switched on that a connection can meet."""

    def __init__(self, reactor: Any, bind: str, port: int, log: Path) -> None:
        self.reactor = reactor
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        config = load_dict(
            {
                "frontends": {
                    "web": {
                        "bind": bind,
                        "backend": "app",
                        "access_log": {"use": "json", "path": str(log)},
                        "validators": [{"use": "payload", "starts_with": "x"}],
                        "policies": [{"use": "source", "deny": ["192.0.2.0/24"]}],
                    }
                },
                "backends": {"app": {"servers": {"a": f"127.0.0.1:{self.listener.getsockname()[1]}"}}},
            },
            "the test",
        )
        self.process = Process(reactor, clock_of(reactor), poller_of(reactor))
        self.balancer = LoadBalancer(lambda: config, self.process, lambda problems: pytest.fail(str(problems)))
        self.balancer.open()
        self.balancer.startService()
        self.watched = len(poller_of(reactor))

    def turn(self) -> None:
        """Let everything happen that can."""
        for _ in range(8):
            self.reactor.iterate(0)

    def accept(self) -> socket.socket | None:
        """The server's end of the connection, if there is one."""
        self.turn()
        try:
            server = self.listener.accept()[0]
        except BlockingIOError:
            return None
        server.setblocking(False)
        return server

    def connect(self, number: int) -> None:
        """One connection from its beginning to its end; each in another way than the one before."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            if number % 5 == 1:
                client.send(b"not what is served here")
            elif number % 5 != 2:
                client.send(b"x")
            server = self.accept()
            if server is not None:
                server.send(b"answer")
                self.turn()
                if number % 5 == 3:
                    server.close()
                    self.turn()
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
def world(request: pytest.FixtureRequest, free_port: "FreePort", tmp_path: Path) -> Iterator[World]:
    """Streams of ours on our reactor and on another, and clients that come through an endpoint."""
    make_reactor: Callable[[], Any] = request.param[0]
    port = free_port()
    one = World(make_reactor(), request.param[1].format(port), port, tmp_path / "access.json")
    yield one
    one.close()


def test_connections_leave_nothing_behind(world: World) -> None:
    for number in range(20):
        world.connect(number)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for number in range(CONNECTIONS):
            world.connect(number)
        assert len(gc.get_objects()) - before < CONNECTIONS / 4
        assert gc.collect() < CONNECTIONS / 4, "there are references in a circle"
    finally:
        gc.enable()
    assert len(world.process.wheel) == 0
    assert world.process.limit.count == 0
    assert len(poller_of(world.reactor)) == world.watched
