"""The copy loop between any two Twisted transports, which are in memory here."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from twisted_lb.endings import Cause
from twisted_lb.stages.connect import ServerProtocol
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.relay_transports import TransportRelay, can_half_close
from twisted_lb.testing import MemoryNetwork, MemoryTransport
from twisted_lb.testing.transports import READ_SIZE, WRITE_LIMIT

BULK = bytes(range(256)) * 4096 * 4
ROOM = 256 * 1024
IDLE = IdleTimers(client=30, server=20, client_fin=5, server_fin=6, shortest=5)


@implementer(IHalfCloseableProtocol)
class End:
    """The client or the server, held by the test."""

    transport: MemoryTransport

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.reason: Failure | None = None

    def makeConnection(self, transport: MemoryTransport) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        """It is no news."""

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason

    @property
    def was_reset(self) -> bool:
        """Whether its connection ended with a reset."""
        return self.reason is not None and "reset" in self.reason.getErrorMessage()


class World:
    """A relay between a client and a server."""

    def __init__(self, change: Callable[[MemoryTransport], None] = lambda transport: None) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork()
        self.client, self.server = End(), End()
        self.endings: list[tuple[Cause, str]] = []
        self.half_closed = 0
        protocols = ServerProtocol(), ServerProtocol()
        self.near = [
            self.network.connect(protocol, end, ROOM)[0]
            for protocol, end in zip(protocols, (self.client, self.server), strict=True)
        ]
        for transport in self.near:
            change(transport)
        self.relay = TransportRelay(self, self.clock, *self.near)
        for protocol, side in zip(protocols, (self.relay.client, self.relay.server), strict=True):
            protocol.relay_through(side)

    def start(self, peeked: bytes = b"", preface: bytes = b"") -> "World":
        """Begin to relay."""
        self.relay.start(preface, peeked)
        return self.turn()

    def turn(self) -> "World":
        """Let everything that can happen happen, without time passing."""
        for _ in range(5):
            self.network.settle()
            self.clock.advance(0)
        return self

    def relay_ended(self, cause: Cause, reason: str) -> None:
        self.endings.append((cause, reason))

    def relay_half_closed(self) -> None:
        self.half_closed += 1

    @property
    def causes(self) -> list[Cause]:
        """With which causes the relay ended."""
        return [cause for cause, _ in self.endings]

    def sides(self, who: str) -> tuple[End, End]:
        """Who acts, and the one across."""
        return (self.client, self.server) if who == "client" else (self.server, self.client)


BOTH = pytest.mark.parametrize(("who", "cause"), [("client", Cause.CLIENT), ("server", Cause.SERVER)])


def test_bytes_go_both_ways_until_both_have_ended() -> None:
    world = World().start()
    world.client.transport.write(BULK)
    world.server.transport.write(b"answer")
    world.client.transport.loseWriteConnection()
    world.turn()
    assert (world.server.data, world.server.ended, world.client.data) == (BULK, True, b"answer")
    assert world.endings == []
    world.server.transport.loseWriteConnection()
    world.turn()
    assert world.endings == [(Cause.NORMAL, "")]
    assert (world.relay.client.bytes_in, world.relay.server.bytes_in) == (len(BULK), 6)
    assert world.half_closed == 1
    assert not any(transport.connected for transport in world.near)


def test_what_was_looked_at_goes_first_and_behind_our_own_preface() -> None:
    world = World()
    world.client.transport.write(b"three")
    world.start(b"two ", b"one ").turn()
    assert world.server.data == b"one two three"
    assert world.relay.client.bytes_in == len(b"two three"), "the preface is not the client's"


@BOTH
def test_a_reader_that_stalls_stops_the_other_side(who: str, cause: Cause) -> None:
    world = World().start()
    source, sink = world.sides(who)
    sink.transport.pauseProducing()
    source.transport.write(BULK)
    world.turn()
    passed_on = len(BULK) - len(source.transport.unsent)
    assert passed_on <= 2 * ROOM + WRITE_LIMIT + READ_SIZE
    blocked = world.relay.server if who == "client" else world.relay.client
    assert blocked.blocked_since == 1000
    world.clock.advance(3)
    sink.transport.resumeProducing()
    world.turn()
    assert sink.data == BULK
    assert blocked.blocked_since == 0
    assert world.relay.last == 1003


def test_an_end_of_stream_reaches_a_side_that_is_full_once_it_takes_more() -> None:
    """Seen: Twisted forgets a half-close that comes while its producer is paused, and the server waited for ever."""
    world = World().start()
    world.server.transport.pauseProducing()
    size = ROOM + WRITE_LIMIT + 1
    world.client.transport.write(BULK[:size])
    world.turn()
    assert world.relay.server.blocked_since
    # A stream of ours tells its end although it is paused, if nothing is unread before it.
    world.relay.client.end_of_stream()
    assert not world.near[1]._finishing
    world.server.transport.resumeProducing()
    world.turn()
    assert world.server.data == BULK[:size]
    assert world.server.ended
    assert not world.relay.server.blocked_since, "it takes everything, so no write timer runs any more"
    assert world.endings == []


@BOTH
def test_a_side_that_closes_while_the_other_is_full_loses_nothing(who: str, cause: Cause) -> None:
    world = World().start()
    source, sink = world.sides(who)
    sink.transport.pauseProducing()
    source.transport.write(BULK[: 3 * ROOM])
    source.transport.loseConnection()
    sink.transport.loseWriteConnection()
    world.turn()
    sink.transport.resumeProducing()
    world.turn()
    assert sink.data == BULK[: 3 * ROOM]
    assert world.causes == [Cause.NORMAL]


# Failures


@BOTH
def test_a_reset_on_one_side_is_a_reset_on_the_other(who: str, cause: Cause) -> None:
    world = World().start()
    source, sink = world.sides(who)
    source.transport.abortConnection()
    world.turn()
    assert world.endings == [
        (cause, "Connection to the other side was lost in a non-clean fashion: reset by the other end.")
    ]
    assert sink.was_reset


@BOTH
def test_what_was_said_before_a_reset_arrives_before_it(who: str, cause: Cause) -> None:
    """Seen: an answer that Twisted had buffered was dropped when its server reset the connection."""
    world = World().start()
    source, sink = world.sides(who)
    side = world.relay.client if who == "client" else world.relay.server
    side.data(b"413 too large")
    source.transport.abortConnection()
    side.lost(Failure(ConnectionLost()))
    world.turn()
    assert sink.data == b"413 too large"
    assert sink.was_reset
    assert world.causes == [cause]


@BOTH
def test_a_reset_does_not_wait_for_a_side_that_takes_nothing(who: str, cause: Cause) -> None:
    world = World().start()
    source, sink = world.sides(who)
    sink.transport.pauseProducing()
    source.transport.write(BULK)
    world.turn()
    source.transport.abortConnection()
    side = world.relay.client if who == "client" else world.relay.server
    side.lost(Failure(OSError("reset")))
    world.turn()
    assert world.causes == [cause]


@BOTH
def test_a_connection_that_is_closed_and_not_half_closed_ends_the_relay(who: str, cause: Cause) -> None:
    """As one over TLS, or any protocol that cannot half-close, tells it: the loss is clean."""
    world = World().start()
    source, sink = world.sides(who)
    source.transport.write(b"all there is")
    world.network.settle()
    near = world.near[0 if who == "client" else 1]
    near.loseConnection()
    near.unregisterProducer()
    world.turn()
    assert sink.data == b"all there is"
    assert world.causes == [Cause.NORMAL]
    assert not any(transport.connected for transport in world.near)


def test_the_owner_may_end_it_and_both_sides_are_reset() -> None:
    world = World().start()
    world.relay.end(Cause.KILLED, "the process stops")
    world.relay.end(Cause.CLIENT, "too late")
    world.turn()
    assert world.endings == [(Cause.KILLED, "the process stops")]
    assert world.client.was_reset
    assert world.server.was_reset


def test_what_comes_after_the_end_does_nothing() -> None:
    world = World().start()
    world.relay.end(Cause.KILLED)
    for side in (world.relay.client, world.relay.server):
        side.data(b"late")
        side.end_of_stream()
        side.pauseProducing()
        side.resumeProducing()
        side.stopProducing()
        side.lost(Failure(OSError()))
    world.turn()
    assert world.causes == [Cause.KILLED]


# Timers


def test_activity_is_noted_at_each_byte() -> None:
    world = World().start()
    world.clock.advance(10)
    world.server.transport.write(b"x")
    world.turn()
    assert world.relay.last == 1010
    assert world.relay.next_deadline(IDLE) == (1030, Cause.SERVER_TIMEOUT)


@BOTH
def test_a_closing_side_that_takes_nothing_is_bounded_by_a_timer(who: str, cause: Cause) -> None:
    """Seen: both had ended, no timer ran, and a client that read nothing kept the connection for ever."""
    world = World().start()
    source, sink = world.sides(who)
    sink.transport.loseWriteConnection()
    world.turn()
    sink.transport.pauseProducing()
    source.transport.write(BULK[: ROOM + WRITE_LIMIT // 2])
    source.transport.loseWriteConnection()
    world.turn()
    assert world.endings == []
    deadline = world.relay.next_deadline(IDLE)
    assert deadline is not None
    assert deadline[0] <= 1006
    world.relay.end(deadline[1], "idle for too long")
    world.turn()
    assert len(world.endings) == 1
    assert not any(transport.connected for transport in world.near)


def test_what_broke_first_is_what_it_ended_with() -> None:
    world = World().start()
    world.relay.server.lost(Failure(OSError("broken pipe")))
    assert world.endings == []
    world.relay.end(Cause.CLIENT_TIMEOUT, "idle for too long")
    assert world.causes == [Cause.SERVER]


# Transports that cannot half-close


def tls(transport: MemoryTransport) -> None:
    alsoProvides(transport, ISSLTransport)


def test_over_tls_an_end_of_stream_is_not_passed_on_but_bounded_by_the_fin_timers() -> None:
    world = World(tls)
    assert not can_half_close(world.near[0])
    world.start()
    world.client.transport.loseWriteConnection()
    world.turn()
    assert not world.server.ended
    assert world.half_closed == 1
    assert world.relay.next_deadline(IDLE) == (1006, Cause.SERVER_TIMEOUT)
    world.server.transport.write(b"still here")
    world.turn()
    assert world.client.data == b"still here"


def test_only_sockets_can_half_close() -> None:
    class Anything:
        """A transport of which nothing is known."""

    assert can_half_close(World().near[0])
    assert not can_half_close(Anything())


def test_a_transport_that_knows_no_reset_is_closed() -> None:
    class Plain:
        """A transport with the least that one can have."""

        def __init__(self) -> None:
            self.calls: list[str] = []

        def __getattr__(self, name: str) -> Any:
            if name == "abortConnection":
                raise AttributeError(name)
            return lambda *_: self.calls.append(name)

    clock = Clock()
    endings: list[Cause] = []

    class Owner:
        def relay_ended(self, cause: Cause, reason: str) -> None:
            endings.append(cause)

        def relay_half_closed(self) -> None:
            """It is no news."""

    client, server = Plain(), Plain()
    relay = TransportRelay(Owner(), clock, client, server)
    relay.start(b"", b"")
    relay.end(Cause.KILLED)
    assert endings == [Cause.KILLED]
    assert client.calls[-2:] == server.calls[-2:] == ["unregisterProducer", "loseConnection"]
