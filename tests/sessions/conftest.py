"""A whole session without a network: a clock that only the test moves, clients, servers, and records of what ended.

``world`` is made twice for each test: with streams of ours (Unix sockets within this process) and with other transports
(in memory), so that each promise is kept on both paths.
"""

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget, SocketTarget
from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.endpoint_session import EndpointSession, EndpointTcpSession
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.frontend import Frontend
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.plugin_host import Built
from twisted_lb.process import Process
from twisted_lb.stages.admission import Limit
from twisted_lb.stages.proxy_header import Reception
from twisted_lb.stages.recognition import AnyOf
from twisted_lb.tcp_session import TcpSession
from twisted_lb.testing import MemoryNetwork, MemoryTransport

ROOM_BYTES = 100_000
"""What a connection in memory holds before it is read."""
SOURCE, DESTINATION = SocketAddress("192.0.2.1", 40000), SocketAddress("192.0.2.2", 80)
"""The addresses of a client and of what it connects to, unless a test has others."""
_numbers = itertools.count()


class Sockets:
    """One end of a connection of streams, held by the test."""

    def __init__(self, world: "World", sock: socket.socket) -> None:
        sock.setblocking(False)
        self._world = world
        self._sock = sock
        self._got = b""
        self._ended = False

    def send(self, data: bytes) -> int:
        """Send; returns how many bytes were taken."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        self._world.turn()
        return sent

    def read(self) -> bytes:
        """Everything that has come so far."""
        while not self._ended:
            try:
                data = self._sock.recv(1 << 20)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            self._got += data
            self._ended = not data
            self._world.turn()
        return self._got

    def ended(self) -> bool:
        """Whether no more will come."""
        self.read()
        return self._ended

    def finish(self) -> None:
        """Send no more, but go on reading."""
        self._sock.shutdown(socket.SHUT_WR)
        self._world.turn()

    def leave(self) -> None:
        """Close."""
        self._sock.close()
        self._world.turn()


@implementer(IHalfCloseableProtocol)
class Memory(Protocol):
    """One end of a connection in memory, held by the test; as ``Sockets``. ``far``: the transport of the other end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._got = b""
        self._ended = False
        self.far: MemoryTransport | None = None

    def connectionMade(self) -> None:
        self.near.pauseProducing()

    @property
    def near(self) -> MemoryTransport:
        """Its own transport."""
        assert isinstance(self.transport, MemoryTransport)
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self._got += data

    def readConnectionLost(self) -> None:
        self._ended = True

    def writeConnectionLost(self) -> None:
        """It said so itself."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = True

    def send(self, data: bytes) -> int:
        """Send; returns how many bytes were taken."""
        self.near.write(data)
        self._world.turn()
        return len(data)

    def read(self) -> bytes:
        """Everything that has come so far."""
        self.near.resumeProducing()
        self._world.turn()
        self.near.pauseProducing()
        return self._got

    def ended(self) -> bool:
        """Whether no more will come."""
        self.read()
        return self._ended

    def finish(self) -> None:
        """Send no more, but go on reading."""
        self.near.loseWriteConnection()
        self._world.turn()

    def leave(self) -> None:
        """Be gone, and let the other end know even if it reads nothing now, which not every transport can tell."""
        assert self.far is not None
        self.far._lose(ConnectionLost())
        self._world.turn()


Peer = Sockets | Memory


class Upstream:
    """A server. ``behaviour``: accept, refuse, or (not with streams) silence. ``attempts``: how often it was asked."""

    def __init__(self, world: "World", name: str, behaviour: str, weight: int, maxconn: int) -> None:
        self.peers: list[Peer] = []
        self.attempts = 0
        self.cancelled = 0
        self.behaviour = behaviour
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self._world = world
        self._listening: socket.socket | None = None
        self.target: Any
        if world.kind == "streams" and behaviour != "silence":
            self.target = SocketTarget(socket.AF_UNIX, b"\0twisted-lb-test-%d-%d" % (os.getpid(), next(_numbers)))
            self.set(behaviour)
        else:
            self.target = EndpointTarget(f"fake:{name}", self)
        self.server = Server(name, self.target, weight, maxconn)

    def set(self, behaviour: str) -> None:
        """Behave like that from now on."""
        self.behaviour = behaviour
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        if behaviour == "accept" and isinstance(self.target, SocketTarget):
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.setblocking(False)
            self._listening.bind(self.target.sockaddr)
            self._listening.listen(100)

    def turn(self) -> bool:
        """Accept one connection; returns whether there was one."""
        if self._listening is None:
            return False
        try:
            sock, _ = self._listening.accept()
        except BlockingIOError:
            return False
        self.peers.append(Sockets(self._world, sock))
        return True

    def connect(self, factory: Any) -> "Deferred[Any]":
        """See ``IStreamClientEndpoint``."""
        self.attempts += 1
        if self.behaviour == "refuse":
            return fail(ConnectionRefusedError())
        result: Deferred[Any] = Deferred(self._cancel)
        self.waiting.append((result, factory))
        if self.behaviour == "accept":
            self._world.soon.append(self.answer)
        return result

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1

    def answer(self) -> None:
        """Accept all who wait."""
        waiting, self.waiting = self.waiting, []
        for result, factory in waiting:
            if not result.called:
                peer, protocol = Memory(self._world), factory.buildProtocol(None)
                peer.far, _ = self._world.network.connect(protocol, peer, ROOM_BYTES)
                self.peers.append(peer)
                result.callback(protocol)

    def close(self) -> None:
        """Stop."""
        if self._listening is not None:
            self._listening.close()


class FirstServer:
    """Chooses the first candidate."""

    blind = True

    def choose(self, candidates: Any, facts: Any) -> Any:
        return candidates[0]


class World:
    """Makes frontends, servers and clients; ``kind`` is "streams" or "transports".

    ``records``: of all connections that have ended, oldest first.
    """

    stream_session: Any = TcpSession
    endpoint_session: Any = EndpointTcpSession

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(self.clock)
        self.process = Process(None, self.clock, self.poller)
        self.records: list[Any] = []
        self._log: Any = SimpleNamespace(write=self.records.append)
        self.network = MemoryNetwork()
        self.upstreams: list[Upstream] = []
        self.soon: list[Callable[[], None]] = []
        self.limits = (self.process.limit, Limit(), Limit())
        self.backends: list[Backend] = []
        self.clients: list[Peer] = []

    def upstream(self, name: str = "a", behaviour: str = "accept", weight: int = 1, maxconn: int = 0) -> Upstream:
        """Make a server."""
        self.upstreams.append(Upstream(self, name, behaviour, weight, maxconn))
        return self.upstreams[-1]

    def backend(
        self, *upstreams: Upstream, retries: int = 3, redispatch: int = -1, balancer: Any = None, **timeouts: Any
    ) -> Backend:
        """Make a backend; unnamed timeouts are off."""
        timers = BackendTimers(*(timeouts.get(name) for name in ("connect", "queue", "server", "server_fin", "tunnel")))
        built: Built[Any] = Built("balance_test", "test", balancer or FirstServer())
        servers = [upstream.server for upstream in upstreams]
        self.backends.append(Backend("app", servers, built, timers, retries, redispatch))
        return self.backends[-1]

    def frontend(
        self,
        backend: Backend,
        validators: Any = (),
        policies: Any = (),
        observers: Any = (),
        access_log: Any = None,
        **settings: Any,
    ) -> Frontend:
        """Make a frontend whose plugins are given as objects; ``settings``: its HTTP side, and timeouts: else off."""
        names = ("client", "client_fin", "inspect", "policy", "http_request", "http_keep_alive", "tarpit")
        timers = FrontendTimers(*(settings.get(name) for name in names))
        return Frontend(
            "web",
            backend,
            timers,
            self.limits[1],
            [one if isinstance(one, AnyOf) else Built("validation_test", "test", one) for one in validators],
            [Built("policy_test", "test", one) for one in policies],
            [Built("observer_test", "test", one) for one in observers],
            access_log or self._log,
            settings.get("http"),
        )

    def client(
        self,
        frontend: Frontend,
        port: int = 80,
        reception: Reception | None = None,
        source: SocketAddress = SOURCE,
        destination: SocketAddress = DESTINATION,
    ) -> Peer:
        """A client connects to ``port`` of ``destination``; ``reception``: what its bind expects of proxies."""
        facts = Facts(source, destination._replace(port=port), frontend.name, "*:80")
        if self.kind == "streams":
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            stream = Stream(self.poller, ours)
            session = self.stream_session(self.process, frontend, self.limits, stream, facts, reception)
            stream.attach(session, half_close=True)
            stream.accepted()
            peer: Peer = Sockets(self, theirs)
            session.start()
        else:
            peer = held = Memory(self)

            def arrived(session: EndpointSession) -> None:
                session.facts.destination = destination._replace(port=port)
                session.start()

            session = self.endpoint_session(self.process, frontend, self.limits, facts, arrived, reception)
            _, held.far = self.network.connect(held, session, ROOM_BYTES)
        self.clients.append(peer)  # else one that a test forgets would be closed
        self.turn()
        return peer

    def end(self, client: Peer, server: Peer) -> None:
        """Both sides of a connection close."""
        client.finish()
        server.finish()
        assert client.ended()
        assert server.ended()

    def turn(self) -> None:
        """Let everything happen that can happen at this moment."""
        busy = True
        while busy:
            soon, self.soon = self.soon, []
            for call in soon:
                call()
            self.poller.dispatch(events := self.poller.epoll.poll(0))
            moved = self.network.turn()
            accepted = [upstream.turn() for upstream in self.upstreams]
            busy = bool(soon or events or self.poller.ready or moved or any(accepted))

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, as a reactor would see it."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(0.01, end - self.clock.seconds()))
            self.turn()

    def endings(self) -> list[str]:
        """The codes of all connections that have ended."""
        return [record.ending for record in self.records]

    def assert_empty(self) -> None:
        """Nothing is left of any connection."""
        self.turn()
        assert not self.process.sessions
        assert len(self.process.wheel) == 0
        assert [limit.count for limit in self.limits] == [0, 0, 0]
        assert [backend.load.connections for backend in self.backends] == [0] * len(self.backends)
        assert not [upstream.server for upstream in self.upstreams if upstream.server.connections]
        assert not [backend for backend in self.backends if backend.queue]
        assert len(self.poller) == 0, "a descriptor is still watched"

    def close(self) -> None:
        """Free what is left."""
        for upstream in self.upstreams:
            upstream.close()
        self.poller.epoll.close()


W = TypeVar("W", bound=World)


def lent(made: W) -> Iterator[W]:
    """Lend a world to a test; nothing of any connection may be left in it at the end of that."""
    yield made
    for session in list(made.process.sessions):
        session.kill("the test is over")
    made.turn()
    made.assert_empty()
    made.close()


@pytest.fixture(params=["streams", "transports"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world of each kind."""
    yield from lent(World(request.param))
