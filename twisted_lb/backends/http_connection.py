"""Connections to HTTP servers, and those of them that wait for their next request.

Source: HAProxy configuration.txt, "http-reuse", "pool-max-conn", "pool-purge-delay".
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.wire.http1 import STRICT, Http1Settings

if TYPE_CHECKING:
    from twisted_lb.backends.pool import Server


class Asker(Protocol):
    """Who waits for a server's response, or sends it a request."""

    def response_data(self, data: bytes) -> None:
        """The server has sent ``data``."""

    def server_ended(self, reason: str, clean: bool) -> None:
        """The server sends no more; ``clean``: it said so, and was not cut off."""

    def server_full(self) -> None:
        """The server takes no more of the request for now."""

    def server_drained(self) -> None:
        """The server takes more of the request again."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class ServerConnection:
    """One connection to a server: the protocol of its transport, and the producer that the transport pauses.

    ``asker``: whose request it carries; ``None`` while it is idle. ``used``: how many requests it has carried.
    ``private``: it may carry the requests of one client only. ``protocol``: what stands between a transport that is
    no stream of ours and this.
    """

    __slots__ = ("asker", "idle_since", "on_close", "pool", "private", "protocol", "server", "transport", "used")

    def __init__(self, server: "Server", private: bool = False, protocol: Any = None) -> None:
        self.protocol = protocol
        self.server = server
        self.private = private
        self.transport: Any = None
        self.asker: Asker | None = None
        self.pool: Idle | None = None
        self.on_close: Callable[[], None] | None = None
        self.idle_since = 0.0
        self.used = 0

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``."""
        self.transport = transport
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``. A server that speaks without having been asked is not asked any more."""
        asker = self.asker
        if asker is not None:
            asker.response_data(data)
        else:
            self.close()

    def readConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``."""
        self._ended("the server closed the connection", clean=True)

    def writeConnectionLost(self) -> None:
        """See ``IHalfCloseableProtocol``; never asked for."""

    def connectionLost(self, reason: Failure) -> None:
        """See ``IProtocol``."""
        self._ended(reason.getErrorMessage(), clean=reason.check(ConnectionDone) is not None)

    def _ended(self, reason: str, clean: bool) -> None:
        asker, self.asker = self.asker, None
        self.close()
        if asker is not None:
            asker.server_ended(reason, clean)

    # What ``ServerProtocol`` of the stage connect passes on for transports that are not ours.

    data = dataReceived
    end_of_stream = readConnectionLost
    lost = connectionLost

    # IPushProducer: what is produced for the server is the request.

    def pauseProducing(self) -> None:
        """See ``IPushProducer``."""
        if self.asker is not None:
            self.asker.server_full()

    def resumeProducing(self) -> None:
        """See ``IPushProducer``."""
        if self.asker is not None:
            self.asker.server_drained()

    def stopProducing(self) -> None:
        """See ``IPushProducer``; ``connectionLost`` says the same."""

    def close(self) -> None:
        """Close at once; nobody is told any more."""
        transport, self.transport = self.transport, None
        if transport is None:
            return
        self.asker = None
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.forget(self)
        transport.unregisterProducer()
        if type(transport) is Stream:
            transport.drop()
        else:
            hang_up(transport)
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()


@dataclass(frozen=True, slots=True)
class HttpBackend:
    """What a backend's settings say about HTTP.

    ``reuse``: HAProxy's levels: which requests may use a connection that carried another client's. ``server_close``:
    none may. ``parsing``: how strictly responses are read. ``maximum``, ``idle_s``: see ``Idle``.
    """

    parsing: Http1Settings = STRICT
    reuse: Literal["never", "safe", "aggressive", "always"] = "safe"
    server_close: bool = False
    maximum: int = 100
    idle_s: float | None = 5.0


class Idle:
    """Idle connections to one server, that any client's request may use; the one that was used last comes first.

    ``maximum``: how many; 0 keeps none. ``idle_s``: for how long, ``None`` for ever.
    """

    def __init__(self, clock: IReactorTime, maximum: int, idle_s: float | None) -> None:
        self.maximum = maximum
        self.idle_s = idle_s
        self._clock = clock
        self._waiting: deque[ServerConnection] = deque()
        self._purge: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, used: int = 0) -> ServerConnection | None:
        """Take one that has carried at least ``used`` requests."""
        waiting = self._waiting
        if not waiting:
            return None
        if used > 1 and waiting[-1].used < used:
            connection = next((one for one in reversed(waiting) if one.used >= used), None)
            if connection is None:
                return None
            waiting.remove(connection)
        else:
            connection = waiting.pop()
        connection.pool = None
        return connection

    def put(self, connection: ServerConnection, now: float) -> None:
        """Keep an idle connection, or close it if there are enough."""
        waiting = self._waiting
        if len(waiting) >= self.maximum:
            connection.close()
            return
        connection.pool = self
        connection.idle_since = now
        waiting.append(connection)
        if self._purge is None and self.idle_s is not None:
            self._purge = self._clock.callLater(self.idle_s, self._close_old)

    def forget(self, connection: ServerConnection) -> None:
        """One of them has been closed."""
        self._waiting.remove(connection)

    def _close_old(self) -> None:
        self._purge = None
        assert self.idle_s is not None
        waiting, now = self._waiting, self._clock.seconds()
        while waiting and waiting[0].idle_since + self.idle_s <= now:
            waiting[0].close()
        if waiting:
            self._purge = self._clock.callLater(waiting[0].idle_since + self.idle_s - now, self._close_old)

    def close(self) -> None:
        """Close all of them."""
        if self._purge is not None:
            self._purge.cancel()
            self._purge = None
        while self._waiting:
            self._waiting[-1].close()
