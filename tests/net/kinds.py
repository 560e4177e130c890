"""The kinds of transport that one contract holds for, and who uses them in its tests."""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
)
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.net.stream import Stream, start
from twisted_lb.testing import MemoryNetwork

if TYPE_CHECKING:
    pass


BULK = os.urandom(1 << 20) * 8


class Notes:
    """A protocol that notes what it is told; ``act(event)`` happens at each."""

    def __init__(self, act: Callable[[str], None] = lambda event: None) -> None:
        self.transport: Any = None
        self.data = b""
        self.events: list[str] = []
        self.reason: Failure | None = None
        self.act = act

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.act(event)

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        assert data
        self.data += data
        self._note("data")

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason
        self._note("lost")


@implementer(IHalfCloseableProtocol)
class HalfNotes(Notes):
    """The same for connections that may be open in one direction."""

    def readConnectionLost(self) -> None:
        self._note("read closed")

    def writeConnectionLost(self) -> None:
        self._note("write closed")


class Source:
    """A producer that notes when it is paused and resumed, and may write at each resumption."""

    def __init__(self, transport: Any, pieces: int = 0) -> None:
        self.transport = transport
        self.streaming = not pieces
        self.pieces = pieces
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")
        if self.pieces:
            self.pieces -= 1
            self.transport.write(b"piece")
        elif not self.streaming:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.events.append("stop")


class Kind:
    """A kind of transport: makes connected pairs, and lets things happen."""

    def connect(self, left: Notes, right: Notes) -> tuple[Any, Any]:
        raise NotImplementedError

    def settle(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing open."""


class Streams(Kind):
    """Streams of ours, over Unix sockets."""

    def __init__(self) -> None:
        from twisted_lb.net.poll import Poller

        self.poller = Poller(Clock())

    def connect(self, left: Notes, right: Notes) -> tuple[Any, Any]:
        streams = []
        for sock, protocol in zip(self.pair(), (left, right), strict=True):
            sock.setblocking(False)
            stream = Stream(self.poller, sock)
            stream.accepted()
            start(stream, cast(IProtocol, protocol))
            streams.append(stream)
        return streams[0], streams[1]

    def pair(self) -> tuple[socket.socket, socket.socket]:
        return socket.socketpair()

    def settle(self) -> None:
        quiet = 0
        while quiet < 2:
            events = self.poller.epoll.poll(0.005)
            quiet = 0 if events or self.poller.ready else quiet + 1
            self.poller.dispatch(events)

    def close(self) -> None:
        for watcher in list(self.poller.watchers.values()):
            assert isinstance(watcher, Stream)
            watcher.drop()
        self.poller.epoll.close()


class TcpStreams(Streams):
    """Streams of ours, over TCP."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            return near, listener.accept()[0]


class TwistedTcp(Kind):
    """Twisted's own."""

    def __init__(self) -> None:
        self.reactor: Any = PollReactor()

    def connect(self, left: Notes, right: Notes) -> tuple[Any, Any]:
        class Giver(Factory):
            noisy = False

            def __init__(self, protocol: Any) -> None:
                self.given = protocol

            def buildProtocol(self, addr: Any) -> Any:
                return self.given

        ports: list[Any] = []
        TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(Giver(right)).addCallback(ports.append)
        TCP4ClientEndpoint(self.reactor, "127.0.0.1", ports[0].getHost().port).connect(Giver(left))
        while left.transport is None or right.transport is None:
            self.reactor.iterate(0.01)
        ports[0].stopListening()
        self.reactor.iterate(0)
        return left.transport, right.transport

    def settle(self) -> None:
        for _ in range(300):
            self.reactor.iterate(0)
        for _ in range(3):
            self.reactor.iterate(0.005)

    def close(self) -> None:
        for descriptor in self.reactor.removeAll():
            descriptor.connectionLost(Failure(ConnectionDone()))
        for wakeup in self.reactor._internalReaders:
            wakeup.connectionLost(None)


class Memory(Kind):
    """The test kit's."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()

    def connect(self, left: Notes, right: Notes) -> tuple[Any, Any]:
        return self.network.connect(left, right)

    def settle(self) -> None:
        self.network.settle()


class Waiter:
    """Notes how an attempt to connect went."""

    def __init__(self) -> None:
        self.connected: list[Stream] = []
        self.failed: list[OSError] = []

    def stream_connected(self, stream: Stream) -> None:
        self.connected.append(stream)

    def stream_failed(self, stream: Stream, error: OSError) -> None:
        self.failed.append(error)


def nonblocking(family: int) -> socket.SocketType:
    sock = socket.SocketType(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


Tcp = Callable[..., tuple[Stream, socket.socket]]
