"""Endpoints in memory: ``Shore`` is what one listens at and connects to, ``Witness`` tells what it saw."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.testing import MemoryNetwork, MemoryTransport


class Witness(Protocol):
    """Writes down what happens to it. ``seen``: event and value, in order; ``received``: all bytes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    @property
    def received(self) -> bytes:
        return b"".join(value for event, value in self.seen if event == "data")

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.seen]

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.seen.append(("made", (transport.getPeer(), transport.getHost())))

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(("data", data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.seen.append(("lost", reason))


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Witness):
    """Stays when one direction has ended."""

    def readConnectionLost(self) -> None:
        self.seen.append(("read lost", None))

    def writeConnectionLost(self) -> None:
        self.seen.append(("write lost", None))


class WitnessFactory(Factory):
    """Makes ``made``, and remembers the addresses that it was asked with."""

    def __init__(self, kind: type[Protocol] = Witness) -> None:
        self.kind = kind
        self.asked: list[Any] = []
        self.made: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.asked.append(addr)
        self.made.append(self.kind())
        return self.made[-1]


@implementer(IStreamServerEndpoint, IStreamClientEndpoint)
class Shore:
    """Both ends of connections in memory: what is connected to arrives at the factory that listens.

    The client is 192.0.2.1:1, the server 192.0.2.2:1.
    """

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.clock = Clock()
        self.factory: Any = None
        self.far: list[Witness] = []

    def listen(self, factory: Any) -> "Deferred[Any]":
        self.factory = factory
        return succeed(None)

    def arrive(self, client: Protocol | None = None) -> MemoryTransport:
        """A client connects; returns its transport, the other end of which is its ``peer``."""
        return self.network.connect(
            client or Witness(), self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        )[0]

    def settle(self) -> None:
        """Go on until nothing moves any more; TLS sends small pieces together, a moment later."""
        for _ in range(20):
            self.network.settle()
            self.clock.advance(0)

    def send(self, client: MemoryTransport, data: bytes) -> None:
        """Let ``data`` arrive in one piece."""
        client.write(data)
        self.network.settle()

    def connect(self, factory: Any) -> "Deferred[Any]":
        protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.2", 1))
        self.far.append(Witness())
        self.network.connect(protocol, self.far[-1])
        return succeed(protocol)


@pytest.fixture
def shore() -> Shore:
    """A place to listen at and to connect to."""
    return Shore()


@pytest.fixture
def witnesses() -> type[WitnessFactory]:
    """Make a factory of witnesses: ``witnesses()``."""
    return WitnessFactory


@pytest.fixture
def half_closeable() -> type[HalfCloseable]:
    """A witness that bears half-closed connections."""
    return HalfCloseable


@pytest.fixture
def witness() -> type[Witness]:
    """A protocol that writes down what happens to it."""
    return Witness


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged during the test, as text."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event.get("log_level")
        lines.append(f"{level.name if level else 'none'}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)
