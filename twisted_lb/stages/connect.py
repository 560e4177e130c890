"""Opening the connection to the chosen server.

Stage: connect.
In: a server's target, and the port that the client asked for.
Out: ``stream_connected`` or ``transport_connected`` of the waiter, or one of the failures; never from within the call.
Never: goes on after ``cancel``; decides about retries (``retry_elsewhere`` only says what the settings want).
Source: HAProxy configuration.txt, "retries" and "option redispatch".
"""

import socket
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.target import SocketTarget
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import ConnectWaiter, Stream
from twisted_lb.stages.relay_transports import TransportSide

TURN_AROUND_S = 1.0
"""The most that passes before the same server is tried again; HAProxy's number."""


class Waiter(ConnectWaiter, Protocol):
    """Who wants to know how an attempt to connect went, over either kind of transport."""

    def transport_connected(self, protocol: "ServerProtocol") -> None:
        """The connection is open; ``protocol.transport`` is paused."""

    def transport_failed(self, reason: Failure) -> None:
        """It did not come about."""


def connect_stream(poller: Poller, target: SocketTarget, sockaddr: Any, waiter: Waiter) -> Stream:
    """Begin to connect a stream of ours. Raises OSError when there is no descriptor left for it."""
    sock = socket.SocketType(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if target.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = Stream(poller, sock)
    stream.connect(sockaddr, waiter)
    return stream


class EndpointAttempt:
    """An attempt to connect through an ``IStreamClientEndpoint``."""

    def __init__(self, endpoint: Any, waiter: Waiter) -> None:
        self._waiter: Waiter | None = waiter
        factory = Factory.forProtocol(ServerProtocol)
        factory.noisy = False
        self._connecting: Deferred[Any] = endpoint.connect(factory)
        self._connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, protocol: "ServerProtocol") -> None:
        if self._waiter is None:
            protocol.abort()
        else:
            self._waiter.transport_connected(protocol)

    def _failed(self, reason: Failure) -> None:
        if self._waiter is not None and not reason.check(CancelledError):
            self._waiter.transport_failed(reason)

    def drop(self) -> None:
        """Give the attempt up; nothing more is heard of it."""
        self._waiter = None
        self._connecting.cancel()


@implementer(IHalfCloseableProtocol)
class ServerProtocol(TwistedProtocol):
    """Passes what a server's transport says on to its side of the relay."""

    side: TransportSide | None = None
    _lost: Failure | None = None

    def connectionMade(self) -> None:
        """See ``IProtocol``."""
        assert self.transport is not None
        self.transport.pauseProducing()  # type: ignore[attr-defined]  # every transport of a stream endpoint has it

    def relay_through(self, side: TransportSide) -> None:
        """From now on ``side`` hears of everything."""
        self.side = side
        if self._lost is not None:
            side.lost(self._lost)

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``."""
        if self.side is not None:
            self.side.data(data)

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        if self.side is not None:
            self.side.end_of_stream()

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``; it was we who closed that half."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``IProtocol``."""
        self._lost = reason
        if self.side is not None:
            self.side.lost(reason)

    def abort(self) -> None:
        """Close at once."""
        assert self.transport is not None
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()


def endpoint_of(reactor: Any, target: SocketTarget, sockaddr: Any) -> Any:
    """The Twisted endpoint for a socket address, where there are no streams of ours."""
    if target.family == socket.AF_UNIX:
        return UNIXClientEndpoint(reactor, sockaddr)
    endpoint = TCP6ClientEndpoint if target.family == socket.AF_INET6 else TCP4ClientEndpoint
    return endpoint(reactor, sockaddr[0], sockaddr[1])


def retry_elsewhere(retry: int, retries: int, redispatch: int) -> bool:
    """Whether the ``retry``-th of ``retries`` retries (counted from 1) goes to another server.

    ``redispatch``: 0 never; N > 0 every N-th retry; -1 the last one.
    """
    if redispatch < 0:
        return retry == retries
    return redispatch > 0 and retry % redispatch == 0
