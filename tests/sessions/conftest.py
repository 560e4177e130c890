"""A whole session without a network: a clock that only the test moves, clients, servers, and records of what ended.

``world`` is made twice for each test: with streams of ours (Unix sockets within this process) and with other transports
(in memory), so that each promise is kept on both paths.
"""

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import SessionRecord
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget, SocketTarget
from twisted_lb.binding import EndpointSession
from twisted_lb.config.inherit import BackendTimers, FrontendTimers
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.frontend import Frontend
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.plugin_host import Built
from twisted_lb.process import Process
from twisted_lb.session import Session
from twisted_lb.stages.admission import Limit

WRITE_LIMIT = 64 * 1024
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


@implementer(ITCPTransport)
class FakeTransport:
    """A transport in memory that really pauses, resumes and half-closes; what happens is told at the world's turn."""

    disconnecting = False

    def __init__(self, world: "World", port: int = 0) -> None:
        self.protocol: Any = None
        self._port = port
        self.room = 1 << 60
        self.taken = b""
        self.ended = False
        self._world = world
        self._unsent = b""
        self._incoming = b""
        self._eof = False
        self._paused = False
        self._told_eof = False
        self._producer: Any = None
        self._producer_paused = False
        self._finishing = False
        self._lost: Failure | None = None
        self._connected = True
        world.transports.append(self)

    def turn(self) -> bool:
        """Do one thing that is due; returns whether there was one."""
        if not self._connected:
            return False
        if self._lost is not None:
            self._connected = False
            self.ended = True
            producer, self._producer = self._producer, None
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(self._lost)
            return True
        return self._flush() or self._deliver()

    def _flush(self) -> bool:
        if self._unsent and self.room > len(self.taken):
            size = self.room - len(self.taken)
            self.taken += self._unsent[:size]
            self._unsent = self._unsent[size:]
            if not self._unsent and self._producer is not None and self._producer_paused:
                self._producer_paused = False
                self._producer.resumeProducing()
            return True
        if not self._unsent and self._finishing and not self.ended:
            self.ended = True
            if self._told_eof:
                self._lost = Failure(ConnectionDone())
            return True
        if not self._unsent and self.disconnecting and self._producer is None:
            self._lost = Failure(ConnectionDone())
            return True
        return False

    def _deliver(self) -> bool:
        if self._paused or self.disconnecting:
            return False
        if self._incoming:
            data, self._incoming = self._incoming[:WRITE_LIMIT], self._incoming[WRITE_LIMIT:]
            self.protocol.dataReceived(data)
            return True
        if self._eof and not self._told_eof:
            self._told_eof = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
                if self.ended:
                    self._lost = Failure(ConnectionDone())
            else:
                self._lost = Failure(ConnectionDone())
            return True
        return False

    def feed(self, data: bytes) -> None:
        """Bytes come from the other end."""
        self._incoming += data

    def feed_end(self) -> None:
        """The other end sends no more."""
        self._eof = True

    def lose(self) -> None:
        """The other end is gone."""
        self._lost = self._lost or Failure(ConnectionLost())

    def makeConnection(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        if self._connected and not self.disconnecting and not self._finishing:
            self._unsent += data
            self._flush()
            if len(self._unsent) > WRITE_LIMIT and self._producer is not None and not self._producer_paused:
                self._producer_paused = True
                self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self._producer is None
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self._unsent = b""
        self._lost = self._lost or Failure(ConnectionAborted())

    def loseWriteConnection(self) -> None:
        self._finishing = True

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        self.loseConnection()

    def getHost(self) -> Any:
        return SimpleNamespace(host="192.0.2.2", port=self._port)

    def getPeer(self) -> Any:
        return SimpleNamespace(host="192.0.2.1", port=40000)

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to delay."""

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to keep alive."""


class Memory:
    """The other end of a ``FakeTransport``, held by the test; as ``Sockets``."""

    def __init__(self, world: "World", transport: FakeTransport) -> None:
        self._world = world
        self.transport = transport
        self.transport.room = 100_000

    def send(self, data: bytes) -> int:
        """Send; returns how many bytes were taken."""
        self.transport.feed(data)
        self._world.turn()
        return len(data)

    def read(self) -> bytes:
        """Everything that has come so far."""
        before = -1
        while len(self.transport.taken) > before:
            before = len(self.transport.taken)
            self.transport.room = before + 100_000
            self._world.turn()
        return self.transport.taken

    def ended(self) -> bool:
        """Whether no more will come."""
        self.read()
        return self.transport.ended

    def finish(self) -> None:
        """Send no more, but go on reading."""
        self.transport.feed_end()
        self._world.turn()

    def leave(self) -> None:
        """Close."""
        self.transport.lose()
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
                transport = FakeTransport(self._world)
                self.peers.append(Memory(self._world, transport))
                protocol = factory.buildProtocol(None)
                transport.makeConnection(protocol)
                result.callback(protocol)

    def close(self) -> None:
        """Stop."""
        if self._listening is not None:
            self._listening.close()


class FirstServer:
    """Chooses the first candidate."""

    def choose(self, candidates: Any, facts: Any) -> Any:
        return candidates[0]


class World:
    """Makes frontends, servers and clients; ``kind`` is "streams" or "transports".

    ``records``: of all connections that have ended, oldest first.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(self.clock)
        self.process = Process(None, self.clock, self.poller)
        self.records: list[SessionRecord] = []
        self._log: Any = SimpleNamespace(write=self.records.append)
        self.transports: list[FakeTransport] = []
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
        **timeouts: Any,
    ) -> Frontend:
        """Make a frontend whose plugins are given as objects; unnamed timeouts are off."""
        timers = FrontendTimers(*(timeouts.get(name) for name in ("client", "client_fin", "inspect", "policy")))
        return Frontend(
            "web",
            backend,
            timers,
            self.limits[1],
            [Built("validation_test", "test", one) for one in validators],
            [Built("policy_test", "test", one) for one in policies],
            [Built("observer_test", "test", one) for one in observers],
            access_log or self._log,
        )

    def client(self, frontend: Frontend, port: int = 80) -> Peer:
        """A client connects to ``port``."""
        facts = Facts(SocketAddress("192.0.2.1", 40000), SocketAddress("192.0.2.2", port), frontend.name, "*:80")
        if self.kind == "streams":
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            stream = Stream(self.poller, ours)
            session = Session(self.process, frontend, self.limits, stream, facts)
            stream.attach(session, half_close=True)
            stream.accepted()
            peer: Peer = Sockets(self, theirs)
            session.start()
        else:
            transport = FakeTransport(self, port)
            peer = Memory(self, transport)
            transport.makeConnection(
                EndpointSession(self.process, frontend, self.limits, facts, lambda session: session.start())
            )
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
            told = [transport.turn() for transport in self.transports]
            accepted = [upstream.turn() for upstream in self.upstreams]
            busy = bool(soon or events or self.poller.ready or any(told) or any(accepted))

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


@pytest.fixture(params=["streams", "transports"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world of each kind; nothing of any connection may be left in it at the end of a test."""
    made = World(request.param)
    yield made
    for session in list(made.process.sessions):
        session.kill("the test is over")
    made.turn()
    made.assert_empty()
    made.close()
