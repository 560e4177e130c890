"""The copy loop between any two Twisted transports: slower than ``relay.StreamRelay``, and the same in all it promises.

Stage: relay.
In: two transports, and the client's bytes that earlier stages looked at.
Out: ``relay_ended(cause, reason)`` once, with both connections closed.
Never: lets a transport's buffer grow beyond what its producer interface allows.
Source: ``twisted.internet.interfaces``: IPushProducer, IConsumer, ITCPTransport.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IPushProducer,
    IReactorTime,
    IReadDescriptor,
    ISSLTransport,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.endings import Cause
from twisted_lb.net.hang_up import hang_up
from twisted_lb.stages.relay_timers import RefusedError, Relay, RelayOwner

if TYPE_CHECKING:
    from twisted_lb.stages.throttle_transports import ReadThrottle


@implementer(IPushProducer)
class TransportSide:
    """One side of a ``TransportRelay``; it is registered as the producer of its own transport."""

    __slots__ = ("blocked_since", "bytes_in", "cause", "eof", "gone", "relay", "throttle", "transport")
    other: "TransportSide"

    def __init__(self, relay: "TransportRelay", transport: Any, cause: Cause) -> None:
        self.relay = relay
        self.transport = transport
        self.cause = cause
        self.eof = False
        self.gone = False
        self.bytes_in = 0
        self.blocked_since = 0.0
        self.throttle: ReadThrottle | None = None

    # What the transport's protocol passes on.

    def data(self, data: bytes) -> None:
        """Bytes came from this side."""
        relay = self.relay
        if relay.owner is not None and not relay.closing:
            self.bytes_in += len(data)
            relay.last = relay.clock.seconds()
            relay.other_of(self).transport.write(data)
            if self.throttle is not None:
                self.throttle.read(len(data))

    def first(self, preface: bytes, peeked: bytes) -> None:
        """Pass on what comes before all else: ``preface``, which is ours, and ``peeked``, which came from this side."""
        if preface or peeked:
            self.relay.other_of(self).transport.write(preface + peeked)

    def end_of_stream(self) -> None:
        """This side has sent all it will send, and still listens."""
        relay = self.relay
        if self.eof or relay.owner is None:
            return
        self.eof = True
        relay.half_close()
        other = relay.other_of(self)
        if other.eof:
            relay.finish()
        elif not other.blocked_since:
            # Else it is told when it takes more again: Twisted forgets a half-close that comes while it is full.
            other.shut_write()

    def shut_write(self) -> None:
        """Send this side an end of stream after what was written to it."""
        if can_half_close(self.transport):
            self.transport.loseWriteConnection()
        # Else nothing tells it that no more will come; the timers for half-closed connections bound it.

    def lost(self, reason: Failure) -> None:
        """This side's connection is gone."""
        relay = self.relay
        self.gone = self.eof = True
        if relay.owner is None:
            return
        if relay.failure is None and not reason.check(ConnectionDone):
            relay.failure = self.cause, reason.getErrorMessage()
        if relay.other_of(self).gone:
            relay.end(Cause.NORMAL, reset=False)
        else:
            relay.half_close()
            relay.finish()

    # What the transport asks of its producer.

    def pauseProducing(self) -> None:
        """This side takes no more for now: stop reading the other."""
        relay = self.relay
        if relay.owner is not None:
            self.blocked_since = relay.clock.seconds()
            relay.other_of(self).transport.pauseProducing()

    def resumeProducing(self) -> None:
        """This side takes more again."""
        relay = self.relay
        self.blocked_since = 0.0
        if relay.owner is None:
            return
        relay.last = relay.clock.seconds()
        other = relay.other_of(self)
        if other.eof:
            self.shut_write()
        elif other.throttle is None or not other.throttle.waits:
            other.transport.resumeProducing()

    def stopProducing(self) -> None:
        """This side's connection is going away; ``lost`` tells how.

        Twisted closes a socket at the first send that fails, whatever is there to be read: an answer that came right
        before a reset. This is the last chance to read it.
        """
        relay = self.relay
        if relay.owner is None or relay.closing or self.eof or not IReadDescriptor.providedBy(self.transport):
            return
        other, before = relay.other_of(self), -1
        while before != self.bytes_in and not other.blocked_since:
            before = self.bytes_in
            self.transport.doRead()

    def close(self) -> None:
        """Close this side after what was written to it."""
        if not self.gone:
            self.transport.unregisterProducer()
            # Nobody tells how far it gets, so from here on it counts as a side that takes nothing: the timers bound it.
            self.blocked_since = self.relay.clock.seconds()
            self.transport.loseConnection()

    def reset(self) -> None:
        """Close this side with a RST, but not before what was written to it has had its chance to go out."""
        if self.blocked_since:
            self.abort()
        else:
            # A transport sends what was written to it in the reactor's next turn, hence the second of two delays.
            call_later = self.relay.clock.callLater
            call_later(0, call_later, 0, self.abort)

    def abort(self) -> None:
        """Close this side at once, with a RST where the transport knows how."""
        if not self.gone:
            self.transport.unregisterProducer()
            hang_up(self.transport)


Look: TypeAlias = Callable[[bytes], bool]
"""Answers whether it wants to see what follows; raises RefusedError about what may not pass."""


class WatchedSide(TransportSide):
    """A side whose bytes are judged before they pass on."""

    __slots__ = ("looks",)

    def __init__(self, relay: "TransportRelay", transport: Any, cause: Cause, looks: Sequence[Look]) -> None:
        super().__init__(relay, transport, cause)
        self.looks = looks

    def data(self, data: bytes) -> None:
        """See ``TransportSide``."""
        relay = self.relay
        if relay.owner is None or relay.closing:
            return
        before = self.bytes_in
        self.bytes_in += len(data)  # also of what is refused
        if self.passes(data):
            self.bytes_in = before
            super().data(data)

    def first(self, preface: bytes, peeked: bytes) -> None:
        """See ``TransportSide``."""
        if not peeked or self.passes(peeked):
            super().first(preface, peeked)

    def passes(self, data: bytes) -> bool:
        """Whether ``data`` may pass; if not the relay is over."""
        try:
            self.looks = [look for look in self.looks if look(data)]
        except RefusedError as refused:
            self.relay.refuse(refused)
            return False
        return True


class TransportRelay(Relay):
    """A relay between two Twisted transports, of which any may be a stream of ours.

    ``closing``: both sides have sent all, or one is gone. ``failure``: what one of them broke with.
    """

    __slots__ = ("client", "clock", "closing", "failure", "server")
    client: TransportSide
    server: TransportSide

    def __init__(self, owner: RelayOwner, clock: IReactorTime, client: Any, server: Any) -> None:
        super().__init__(owner, clock.seconds())
        self.clock = clock
        self.closing = False
        self.failure: tuple[Cause, str] | None = None
        self.client = TransportSide(self, client, Cause.CLIENT)
        self.server = TransportSide(self, server, Cause.SERVER)

    def watch(self, client: Sequence[Look], server: Sequence[Look]) -> None:
        """Judge what either side says from now on; before ``start``."""
        self.client = WatchedSide(self, self.client.transport, Cause.CLIENT, client)
        self.server = WatchedSide(self, self.server.transport, Cause.SERVER, server)

    def start(self, preface: bytes, peeked: bytes) -> None:
        """Send the server ``preface``, which is ours, and ``peeked``, which is the client's, and go on."""
        if self.closing:
            return  # a side was lost before
        for side in (self.client, self.server):
            side.transport.registerProducer(side, True)
        self.client.bytes_in = len(peeked)
        self.client.first(preface, peeked)
        if self.owner is None:
            return  # what came first has been refused
        for side in (self.client, self.server):
            if side.throttle is None:
                side.transport.resumeProducing()
            else:
                side.throttle.begin(side.bytes_in)

    def other_of(self, side: TransportSide) -> TransportSide:
        """The side across."""
        return self.server if side is self.client else self.client

    def finish(self) -> None:
        """Both sides have sent all, or one is gone: close what is left when it has taken what was written to it.

        The relay ends when the transports say so, and until then the timers run.
        """
        if not self.closing:
            self.closing = True
            for side in (self.client, self.server):
                side.close() if self.failure is None else side.reset()

    def end(self, cause: Cause, reason: str = "", reset: bool = True) -> None:
        """See ``Relay``; what broke first is what it ended with."""
        if self.failure is not None:
            cause, reason = self.failure
        super().end(cause, reason, reset)

    def _give_back_client(self) -> bool:
        self.server.abort()
        self.client.transport.unregisterProducer()
        return not self.client.blocked_since

    def _close(self, reset: bool) -> None:
        for side in (self.client, self.server):
            side.abort()


def can_half_close(transport: Any) -> bool:
    """Whether ``loseWriteConnection`` sends an end of stream; over TLS it would break the connection."""
    return not ISSLTransport.providedBy(transport) and (
        ITCPTransport.providedBy(transport) or IUNIXTransport.providedBy(transport)
    )
