"""Opening the connection to the chosen server, and trying again.

Stage: connect.
In: a server with a slot taken, the backend's settings for retries, and the port that the client asked for.
Out: the owner's ``server_connected``, ``server_unreachable`` or ``balancer_failed``, once.
Never: goes on after ``cancel``; holds a slot of more than one server.
Source: HAProxy configuration.txt, "retries" and "option redispatch".
"""

import socket
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.backends.outgoing import NON_BLOCKING, Outgoing
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.source import OutgoingError, PortTakenError
from twisted_lb.backends.target import EndpointTarget, SocketTarget, endpoint_of
from twisted_lb.endings import Cause
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.net.hang_up import hang_up
from twisted_lb.net.poll import Poller
from twisted_lb.net.stream import Stream
from twisted_lb.stages.relay_transports import TransportSide

TURN_AROUND_S = 1.0
"""The most that passes before the same server is tried again; HAProxy's number."""

PORT_FREE_S = 0.001
"""What passes before a source port is tried again: the events that free it are waiting behind this one."""


class ConnectOwner(Protocol):
    """Who wants to be connected to a server."""

    def server_connected(self, transport: "Stream | ServerProtocol") -> None:
        """The connection is open and paused: a stream of ours, or the protocol of another transport."""

    def server_unreachable(self, cause: Cause, reason: str) -> None:
        """No connection came about, after all retries."""

    def balancer_failed(self, error: PluginError) -> None:
        """No other server could be chosen for a retry."""

    def connect_within(self, delay_s: float | None) -> None:
        """Call ``due`` in so many seconds, unless this is called again before; ``None`` for never."""

    def open_already(self, server: Server) -> bool:
        """A retry goes to ``server``. Returns: whether there is a connection to it already; then this is over."""


class Connecting:
    """All attempts to connect for one client. ``server``: the one tried now, a slot of which is taken.

    ``client_first``: the client has said something already.
    """

    __slots__ = (
        "_attempt",
        "_backend",
        "_client_first",
        "_facts",
        "_owner",
        "_poller",
        "_reactor",
        "redispatched",
        "retries",
        "server",
    )

    def __init__(
        self,
        owner: ConnectOwner,
        backend: Backend,
        server: Server,
        facts: Facts,
        poller: Poller | None,
        reactor: Any,
        client_first: bool = False,
    ) -> None:
        self.server = server
        self.retries = 0
        self.redispatched = False
        self._owner = owner
        self._backend = backend
        self._facts = facts
        self._poller = poller
        self._reactor = reactor
        self._client_first = client_first
        self._attempt: Stream | EndpointAttempt | None = None

    def start(self) -> None:
        """Try ``server``."""
        self._owner.connect_within(self._backend.timers.connect)
        server = self.server
        target = server.target
        if server.outgoing is not None:
            self._try_outgoing(server.outgoing)
            return
        if not isinstance(target, SocketTarget):
            assert isinstance(target, EndpointTarget), "only an Outgoing knows how to reach it"
            self._try_endpoint(target.endpoint)
            return
        port = self._facts.destination.port
        sockaddr = target.sockaddr if target.port_offset is None else target.sockaddr_for(port)
        if sockaddr is None:
            reason = f"port {port}{target.port_offset:+d} of server {self.server.name} is outside 1..65535"
            self._owner.server_unreachable(Cause.RESOURCE, reason)
        elif self._poller is None:
            self._try_endpoint(endpoint_of(self._reactor, target, sockaddr))
        else:
            self._try_stream(self._poller, target, sockaddr)

    def _try_stream(self, poller: Poller, target: SocketTarget, sockaddr: Any) -> None:
        try:
            sock = socket.SocketType(target.family, NON_BLOCKING)
        except OSError as error:
            self._owner.server_unreachable(Cause.RESOURCE, f"no socket for the server: {error.strerror}")
            return
        if target.family != AF_UNIX:
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        stream = self._attempt = Stream(poller, sock)
        stream.connecting(sock.connect_ex(sockaddr), self)

    def _try_outgoing(self, outgoing: Outgoing) -> None:
        assert self._poller is not None
        server = self.server
        try:
            data_first = self._client_first or server.sender is not None
            sock, code = outgoing.connect(server.target, self._facts, data_first)
        except PortTakenError as error:
            self._port_taken(outgoing, error)
            return
        except OutgoingError as error:
            self._owner.server_unreachable(Cause.RESOURCE, f"server {server.name}: {error.reason}")
            return
        stream = self._attempt = Stream(self._poller, sock)
        stream.connecting(code, self)

    def _port_taken(self, outgoing: Outgoing, error: PortTakenError) -> None:
        """Try the same server again; that it is no failure of the server's sets this apart from ``_failed``."""
        if self.retries >= self._backend.retries:
            outgoing.complain(error.reason)
            self._owner.server_unreachable(Cause.RESOURCE, f"server {self.server.name}: {error.reason}")
            return
        self.retries += 1
        self._owner.connect_within(PORT_FREE_S if self.retries == 1 else self._turn_around_s())

    def _try_endpoint(self, endpoint: Any) -> None:
        attempt = self._attempt = EndpointAttempt(self)
        attempt.start(endpoint)

    def stream_connected(self, stream: Stream) -> None:
        """See ``ConnectWaiter``."""
        self._attempt = None
        self._owner.server_connected(stream)

    def stream_failed(self, stream: Stream, error: OSError) -> None:
        """See ``ConnectWaiter``."""
        self._failed(Cause.SERVER, error.strerror or str(error))

    def endpoint_connected(self, protocol: "ServerProtocol") -> None:
        """An attempt through an endpoint came about; the protocol's transport is paused."""
        self._attempt = None
        self._owner.server_connected(protocol)

    def endpoint_failed(self, reason: Failure) -> None:
        """An attempt through an endpoint came to nothing."""
        self._failed(Cause.SERVER, reason.getErrorMessage())

    def due(self) -> None:
        """The deadline that ``connect_within`` asked for has passed."""
        if self._attempt is None:
            self.start()
        else:
            self.cancel()
            self._failed(Cause.SERVER_TIMEOUT, "no answer within timeouts.connect")

    def cancel(self) -> None:
        """Give the attempt up; nothing more is heard of it."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.drop()

    def _failed(self, cause: Cause, reason: str) -> None:
        self._attempt = None
        server, backend = self.server, self._backend
        server.failures += 1
        if self.retries >= backend.retries:
            self._owner.server_unreachable(cause, f"server {server.name}: {reason}")
            return
        self.retries += 1
        if retry_elsewhere(self.retries, backend.retries, backend.redispatch):
            try:
                other = backend.choose(self._facts, besides=server)
            except PluginError as error:
                self._owner.balancer_failed(error)
                return
            if other is not None:
                self.server = other
                backend.give_back(server)
                if other is not server:
                    self.redispatched = True
                    if not self._owner.open_already(other):
                        self.start()
                    return
        self._owner.connect_within(self._turn_around_s())

    def _turn_around_s(self) -> float:
        connect_s = self._backend.timers.connect
        return TURN_AROUND_S if connect_s is None else min(TURN_AROUND_S, connect_s)


class EndpointAttempt:
    """An attempt to connect through an ``IStreamClientEndpoint``."""

    _log = Logger()

    def __init__(self, waiter: Connecting) -> None:
        self._waiter: Connecting | None = waiter
        self._connecting: Deferred[Any] | None = None

    def start(self, endpoint: Any) -> None:
        """Begin; the waiter may hear of the outcome before this returns."""
        factory = Factory.forProtocol(ServerProtocol)
        factory.noisy = False
        self._connecting = maybeDeferred(endpoint.connect, factory)
        self._connecting.addCallbacks(self._connected, self._failed)

    def _connected(self, protocol: "ServerProtocol") -> None:
        if self._waiter is None:
            protocol.drop()
        else:
            self._waiter.endpoint_connected(protocol)

    def _failed(self, reason: Failure) -> None:
        if self._waiter is not None:
            self._waiter.endpoint_failed(reason)

    def drop(self) -> None:
        """Give the attempt up; nothing more is heard of it."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and self._connecting is not None:
            try:
                self._connecting.cancel()
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._log.failure("server {server}: giving up a connection failed", server=waiter.server.name)


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
        """From now on ``side`` hears of everything; to be called before the relay starts."""
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

    def drop(self, reset: Literal[True] = True) -> None:
        """Close at once, as ``Stream.drop`` with a reset: transports know no other way that does not wait."""
        hang_up(self.transport)


def retry_elsewhere(retry: int, retries: int, redispatch: int) -> bool:
    """Whether the ``retry``-th of ``retries`` retries (counted from 1) goes to another server.

    ``redispatch``: 0 never; N > 0 every N-th retry; -1 the last one.
    """
    if redispatch < 0:
        return retry == retries
    return redispatch > 0 and retry % redispatch == 0
