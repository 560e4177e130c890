"""Connections to HTTP servers; those that wait for their next request are kept in ``idle``."""

from collections.abc import Hashable
from dataclasses import dataclass
from socket import MSG_PEEK
from typing import TYPE_CHECKING, Any, Literal, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReadDescriptor, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.stream import Stream
from twisted_lb.wire.http1 import STRICT, Http1Settings

if TYPE_CHECKING:
    from twisted_lb.backends.idle import Idle
    from twisted_lb.backends.pool import Server

LAST_READS = 4
"""So often is read from a transport of Twisted's that is broken; each time up to 64 KiB."""


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


class Shelf(Protocol):
    """What keeps idle connections."""

    def forget(self, connection: "ServerConnection") -> None:
        """One of them has been closed."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class ServerConnection:
    """One connection to a server: the protocol of its transport, and the producer that the transport pauses.

    ``asker``: whose request it carries; ``None`` while it is idle. ``used``: how many requests it has carried.
    ``private``: it may carry the requests of one client only. ``bound``: the server knows it for that client's, who has
    logged in on it. ``asked_in``: the poller's batch in which it was asked without a look whether it was still silent:
    what is reported of it in that batch came before, and is no answer. ``protocol``: what stands between a transport
    that is no stream of ours and this. ``home``: where it may wait for its next request; ``None``: nowhere. ``key``:
    see ``Idle.key_of``. ``shelf``: where it does wait.
    """

    __slots__ = (
        "asked_in",
        "asker",
        "bound",
        "home",
        "idle_since",
        "key",
        "private",
        "protocol",
        "server",
        "shelf",
        "transport",
        "used",
    )

    def __init__(
        self,
        server: "Server",
        private: bool = False,
        protocol: Any = None,
        home: "Idle | None" = None,
        key: Hashable = None,
    ) -> None:
        self.protocol = protocol
        self.server = server
        self.private = private
        self.bound = False
        self.home = home
        self.key = key
        self.transport: Any = None
        self.asker: Asker | None = None
        self.shelf: Shelf | None = None
        self.idle_since = 0.0
        self.used = 0
        self.asked_in = -1

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``."""
        self.transport = transport
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """See ``IProtocol``. A server that speaks without having been asked is not asked any more."""
        asker = self.asker
        if asker is None:
            self.close()
        elif self.asked_in < 0 or self.asked_in != self.transport.poller.batch:
            asker.response_data(data)
        else:
            self._ended("the server spoke before it was asked", clean=False)

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
        """See ``IPushProducer``: the connection is going away; ``connectionLost`` tells how.

        Twisted closes a socket at the first send that fails, whatever is there to be read: an answer that came right
        before a reset. This is the last chance to read it.
        """
        transport = self.transport
        if type(transport) is Stream or not IReadDescriptor.providedBy(transport):
            return
        for _ in range(LAST_READS):
            if self.asker is not None:
                transport.doRead()

    def close(self) -> None:
        """Close at once; nobody is told any more."""
        transport, self.transport = self.transport, None
        if transport is None:
            return
        self.asker = None
        shelf, self.shelf = self.shelf, None
        if shelf is not None:
            shelf.forget(self)
        transport.unregisterProducer()
        if type(transport) is Stream:
            transport.drop()
        else:
            # The two refer to each other: without this they would live until the garbage collector comes by.
            protocol, self.protocol = self.protocol, None
            if protocol is not None:
                protocol.side = None
            hang_up(transport)

    def may_be_asked(self, replayable: bool) -> bool:
        """Whether it can carry another request now. ``replayable``: that could be sent again if it turns out later.

        The kernel is asked only where what it reports next would not tell.
        """
        transport = self.transport
        if replayable and type(transport) is Stream and transport.poller.whole:
            self.asked_in = transport.poller.batch
            return True
        self.asked_in = -1
        return not self.stale

    @property
    def stale(self) -> bool:
        """Whether the server has closed it, or said something, and we are yet to be told; asks the kernel."""
        transport = self.transport
        sock: Any
        if type(transport) is Stream:
            sock = transport.sock
        elif ISSLTransport.providedBy(transport):
            return False  # what comes may be of TLS itself
        else:
            sock = getattr(transport, "socket", None)  # of Twisted's own
            if sock is None:
                return transport is None
        try:
            sock.recv(1, MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


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
