"""Waiting for tokens in HTTP mode: one exchange whose bodies, and whose response's head, take from buckets.

Stage: body, response and relay, in HTTP mode, of requests that a policy has shaped.
In: the exchange; what it has read of the client and has sent to it, by its own counters.
Out: nothing; the client or the server is not read while there are no tokens.
Never: keeps a byte. What was read before there could be a pause passes, one read at most, and is waited for afterwards.
Source: as ``throttle``.

It stands where the server's connection expects the exchange, and passes everything on to it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted_lb.backends.http_connection import ServerConnection
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.body_exchange import BodyExchange
from twisted_lb.stages.exchange_owner import Moment
from twisted_lb.stages.http_exchange import Exchange
from twisted_lb.stages.throttle_transports import Debtor
from twisted_lb.token_bucket import Shaping, TokenBucket


class Times(Protocol):
    """The process, as far as it is about time."""

    wheel: TimerWheel
    moment: Moment


class ShapedOwner(Protocol):
    """The session of the client who asked."""

    @property
    def process(self) -> Times:
        """The process that it is of."""

    def pause_client(self) -> None:
        """Read no more from the client."""

    def resume_client(self) -> None:
        """Read from the client again, unless ``holds_client`` says otherwise."""

    @property
    def client_full(self) -> bool:
        """Whether the client takes no more for now, and the server is not read because of that."""


class _Direction(Debtor):
    """What the client sends, or what it is sent. ``since``: from when on it has been waiting."""

    __slots__ = ("_tell", "since")

    def __init__(self, buckets: Sequence[TokenBucket], wheel: TimerWheel, tell: Callable[[float], None]) -> None:
        super().__init__(buckets, wheel)
        self._tell: Callable[[float], None] | None = tell
        self.since = 0.0

    def pays(self, count: int, now: float) -> bool:
        """See ``Debtor``."""
        waited = self.waits
        paid = super().pays(count, now)
        if not paid and not waited:
            self.since = now
        return paid

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        """See ``Throttle``."""
        super().turn_came(bucket, share, now)
        if self._tell is not None:
            self._tell(now)

    def stop(self) -> None:
        """See ``Throttle``."""
        super().stop()
        self._tell = None


class ShapedExchange:
    """The throttle of one exchange."""

    __slots__ = ("_connection", "_exchange", "_in", "_out", "_owner", "_seen_in")

    def __init__(self, owner: ShapedOwner, exchange: Exchange, shaping: Shaping) -> None:
        self._owner = owner
        self._exchange: Any = exchange
        self._connection: ServerConnection | None = None
        self._seen_in = exchange.bytes_in
        wheel = owner.process.wheel
        self._in = _Direction(shaping.in_, wheel, self._read_client) if shaping.in_ else None
        self._out = _Direction(shaping.out, wheel, self._read_server) if shaping.out else None

    # What the client sends

    def client_said(self) -> None:
        """Something of the request's body has been read; if that was too much, pause the client."""
        direction, exchange = self._in, self._exchange
        if direction is None or exchange is None:
            return
        count = exchange.bytes_in - self._seen_in
        self._seen_in += count
        if exchange.request_done:
            direction.passed(count)
        elif not direction.pays(count, self._owner.process.moment.now):
            self._owner.pause_client()

    def holds_client(self) -> bool:
        """Whether the client may not be read now."""
        self.client_said()
        return self._in is not None and self._in.waits

    def _read_client(self, now: float) -> None:
        owner, exchange = self._owner, self._exchange
        self.excuse(now)
        if not exchange.request_done and not exchange.full:
            owner.resume_client()

    # What the server answers

    def begin(self, connection: ServerConnection) -> None:
        """The request has gone to a server; what it answers comes through here."""
        direction = self._out
        if direction is None or self._exchange.connection is not connection:
            return
        self._connection = connection
        connection.asker = self
        if not direction.pays(0, self._owner.process.moment.now):
            connection.transport.pauseProducing()

    @property
    def holds_server(self) -> bool:
        """Whether the server may not be read now."""
        return self._out is not None and self._out.waits

    def response_data(self, data: bytes) -> None:
        """See ``Asker``."""
        exchange, direction, connection = self._exchange, self._out, self._connection
        assert direction is not None
        before = exchange.bytes_out
        exchange.response_data(data)
        count = exchange.bytes_out - before
        if self._exchange is None or self._connection is not connection:
            direction.passed(count)  # it is over, or has gone to another server
        elif connection is not None and not direction.pays(count, self._owner.process.moment.now):
            connection.transport.pauseProducing()

    def server_ended(self, reason: str, clean: bool) -> None:
        """See ``Asker``."""
        self._connection = None
        self._exchange.server_ended(reason, clean)

    def server_full(self) -> None:
        """See ``Asker``."""
        self._exchange.server_full()

    def server_drained(self) -> None:
        """See ``Asker``."""
        self._exchange.server_drained()

    def _read_server(self, now: float) -> None:
        self.excuse(now)
        connection = self._connection
        if connection is not None and connection.transport is not None and not self._owner.client_full:
            connection.transport.resumeProducing()

    # Timers, the end

    def excuse(self, now: float) -> None:
        """Let no timer run for what is held up here. Called before they are looked at, and when a turn has come."""
        exchange, incoming, outgoing = self._exchange, self._in, self._out
        if outgoing is not None and outgoing.since:
            exchange.last_server = now
            outgoing.since = now if outgoing.waits else 0.0
        if incoming is not None and incoming.since:
            exchange.last_client = now
            if isinstance(exchange, BodyExchange):
                exchange.deadline += now - incoming.since
            incoming.since = now if incoming.waits else 0.0

    def stop(self) -> None:
        """The exchange is over; its connection to the server, if it is kept, is to be read."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None and self.holds_server:
            connection.transport.resumeProducing()
        self._exchange = None
        for direction in (self._in, self._out):
            if direction is not None:
                direction.stop()
