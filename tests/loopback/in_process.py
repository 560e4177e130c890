"""A load balancer in the test's own process, turned by hand, to count what its connections leave behind."""

import gc
import socket
from typing import Any

import pytest
from twisted.internet.pollreactor import PollReactor

from twisted_lb.config.load import load_dict
from twisted_lb.net.reactor import LBReactor, clock_of, poller_of
from twisted_lb.process import Process
from twisted_lb.service import LoadBalancer

KINDS = [(LBReactor, "127.0.0.1:{}"), (PollReactor, "127.0.0.1:{}"), (LBReactor, "tcp:{}")]
"""Streams of ours on our reactor and on another, and clients that come through an endpoint."""


class World:
    """One frontend with settings of the test's, and one server that is the test."""

    def __init__(self, kind: tuple[Any, str], port: int, **settings: Any) -> None:
        make_reactor, bind = kind
        self.reactor = reactor = make_reactor()
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        frontend = {"bind": bind.format(port), "backend": "app", **settings}
        backend = {"servers": {"a": f"127.0.0.1:{self.listener.getsockname()[1]}"}}
        config = load_dict({"frontends": {"web": frontend}, "backends": {"app": backend}}, "the test")
        self.process = Process(reactor, clock_of(reactor), poller_of(reactor))
        self.balancer = LoadBalancer(lambda: config, self.process, lambda problems: pytest.fail(str(problems)))
        self.balancer.open()
        self.balancer.startService()
        self.watched = len(poller_of(reactor))

    def connect(self, number: int) -> None:
        """One connection from its beginning to its end."""
        raise NotImplementedError

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

    def end(self, server: socket.socket | None) -> None:
        """The client has left: let the server leave too, and see that the connection has ended."""
        self.turn()
        if server is not None:
            server.close()
        self.turn()
        assert not self.process.sessions

    def close(self) -> None:
        """Stop."""
        self.balancer.stopService()
        self.turn()
        self.listener.close()
        self.reactor.removeAll()

    def leaves_nothing(self, before: int, connections: int) -> None:
        """Make so many ``connections``, and ``before`` them some that may leave what is remembered."""
        for number in range(before):
            self.connect(number)
        gc.collect()
        gc.disable()
        try:
            objects = len(gc.get_objects())
            for number in range(connections):
                self.connect(number)
            left = len(gc.get_objects()) - objects
            circles = gc.collect()
        finally:
            gc.enable()
        assert left < connections / 4
        assert circles < connections / 4, "there are references in a circle"
        assert len(self.process.wheel) == 0
        assert self.process.limit.count == 0
        assert len(poller_of(self.reactor)) == self.watched
