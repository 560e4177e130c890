"""What an HTTP connection becomes when the server accepts a change of protocol: bytes in both directions.

Stage: relay, in HTTP mode, after a 101 or the 2xx to a CONNECT.
In: the two transports, and what either side said behind the head that accepted it.
Out: ``tunnel_ended(cause, reason)`` once, with both connections closed.
Never: looks at a byte.
Source: RFC 9110, sections 7.8 and 9.3.6; HAProxy configuration.txt, "timeout tunnel".
"""

from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IReactorTime

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.endings import Cause
from twisted_lb.net.poll import LOOK
from twisted_lb.net.stream import Stream
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.connect import ServerProtocol
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.relay_transports import TransportRelay
from twisted_lb.stages.throttle import throttle_streams
from twisted_lb.stages.throttle_transports import throttle_transports
from twisted_lb.token_bucket import Shaping

if TYPE_CHECKING:
    from twisted_lb.net.timers import Timed


class TunnelOwner(Protocol):
    """The session of the client."""

    def tunnel_ended(self, cause: Cause, reason: str) -> None:
        """Both connections are closed."""


class Tunnel:
    """A relay with its timers, for a session that has done with HTTP."""

    __slots__ = ("_clock", "_idle", "_owner", "_shaping", "_wheel", "relay", "timer_slot")

    def __init__(
        self,
        owner: TunnelOwner,
        clock: IReactorTime,
        wheel: TimerWheel,
        idle: IdleTimers,
        shaping: Shaping | None = None,
    ) -> None:
        self.relay: StreamRelay | TransportRelay | None = None
        self.timer_slot: set[Timed] | None = None
        self._owner = owner
        self._clock = clock
        self._wheel = wheel
        self._idle = idle
        self._shaping = shaping

    def start(self, client: Any, connection: ServerConnection, to_client: bytes, to_server: bytes) -> None:
        """Send each side what is there for it, and go on with what comes. May end before this returns."""
        server = connection.transport
        client.unregisterProducer()
        server.unregisterProducer()
        self._watch()
        if type(client) is Stream and type(server) is Stream and not client.unsent and not server.unsent:
            self._start_streams(client, server, to_client, to_server)
        else:
            self._start_transports(client, connection, to_client, to_server)

    def _start_streams(self, client: Stream, server: Stream, to_client: bytes, to_server: bytes) -> None:
        relay = self.relay = StreamRelay(self, client, server)
        if self._shaping is not None:
            throttle_streams(relay, self._shaping, self._wheel)
        side = relay.client
        try:
            sent = side.send(to_client)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            side.broken(error)
            return
        if sent < len(to_client):
            side.set_aside(to_client[sent:])
        # What was reported of them before is not known here: look.
        relay.start(b"", to_server, LOOK, LOOK)

    def _start_transports(self, client: Any, connection: ServerConnection, to_client: bytes, to_server: bytes) -> None:
        protocol = connection.protocol
        server = connection.transport
        if protocol is None:
            protocol = ServerProtocol()
            server.attach(protocol, half_close=True)
            protocol.makeConnection(server)  # type: ignore[no-untyped-call]
        relay = self.relay = TransportRelay(self, self._clock, client, server)
        if self._shaping is not None:
            throttle_transports(relay, self._shaping, self._wheel)
        protocol.relay_through(relay.server)
        client.write(to_client)
        relay.start(b"", to_server)

    # What the client's transport says, where it is not a stream of ours

    def client_data(self, data: bytes) -> None:
        """Pass on what the client sent."""
        if isinstance(self.relay, TransportRelay):
            self.relay.client.data(data)

    def client_ended(self) -> None:
        """The client has sent all."""
        if isinstance(self.relay, TransportRelay):
            self.relay.client.end_of_stream()

    def client_lost(self, reason: Any) -> None:
        """The client's connection is gone."""
        if isinstance(self.relay, TransportRelay):
            self.relay.client.lost(reason)

    # Timers

    def _watch(self) -> None:
        if self._idle.shortest < inf:
            self._wheel.arm(self, self._idle.shortest, self._clock.seconds())

    def timer_due(self, now: float) -> None:
        """See ``Timed``."""
        if self.relay is not None:
            delay_s = self.relay.look(now, self._idle)
            if delay_s is not None:
                self._wheel.arm(self, delay_s, now)

    def relay_half_closed(self) -> None:
        """See ``RelayOwner``."""
        if self.timer_slot is not None:
            self._watch()

    def relay_ended(self, cause: Cause, reason: str) -> None:
        """See ``RelayOwner``."""
        self._wheel.disarm(self)
        self._owner.tunnel_ended(cause, reason)

    def end(self, cause: Cause, reason: str) -> None:
        """End both sides at once."""
        if self.relay is not None:
            self.relay.end(cause, reason)

    def bytes(self) -> tuple[int, int]:
        """How many bytes the client and the server have sent."""
        relay = self.relay
        return (0, 0) if relay is None else (relay.client.bytes_in, relay.server.bytes_in)

    def forget(self) -> None:
        """Let go of the relay, which refers to this."""
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.forget()
