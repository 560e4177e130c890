"""A throttled relay passes what its buckets allow and no more, whoever shares them, and ends as any other."""

import contextlib
import gc
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogEvent

from tests.stages.test_relay import NOISE, Link, ended, fill, read, was_reset
from twisted_lb.endings import Cause
from twisted_lb.net.poll import WINDOWS
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.relay import StreamRelay
from twisted_lb.stages.relay_timers import IdleTimers
from twisted_lb.stages.throttle import SendThrottle, Throttle, throttle_streams
from twisted_lb.token_bucket import Shaping, TokenBucket

if TYPE_CHECKING:
    from tests.conftest import Loop

RATE = 200_000
BURST = 20_000
TICK_S = 0.05
IDLE = IdleTimers(client=2, server=2, client_fin=1, server_fin=1, shortest=1)


class Shaped(Link):
    """A link whose relay is throttled."""

    def __init__(self, loop: "Loop", wheel: TimerWheel) -> None:
        super().__init__(loop)
        self.wheel = wheel

    def shape(self, in_: tuple[TokenBucket, ...] = (), out: tuple[TokenBucket, ...] = ()) -> StreamRelay:
        """Begin to relay with these buckets."""
        client, server = self.streams
        relay = self.owner.relay = StreamRelay(self.owner, client, server)
        throttle_streams(relay, Shaping(in_, out), self.wheel)
        relay.start(b"", b"", client.reported, server.reported)
        return relay


Links = Callable[[], Shaped]


@pytest.fixture
def wheel(loop: "Loop") -> TimerWheel:
    """The timers of the loop's clock."""
    return TimerWheel(loop.clock)


@pytest.fixture
def links(loop: "Loop", wheel: TimerWheel) -> Iterator[Links]:
    """Make links; they are closed at the end."""
    made: list[Shaped] = []

    def make() -> Shaped:
        made.append(Shaped(loop, wheel))
        return made[-1]

    yield make
    for link in made:
        link.close()


def bucket(rate: int = RATE, burst: int = BURST) -> TokenBucket:
    return TokenBucket(rate, burst)


def pass_time(loop: "Loop", seconds: float) -> None:
    """Let time pass, tick by tick, and let happen what happens."""
    for _ in range(round(seconds / TICK_S)):
        loop.clock.advance(TICK_S)
        loop.settle()


def offer(sock: socket.socket, size: int) -> int:
    """Send as much of ``size`` bytes as the kernel takes; returns how many."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < size:
            sent += sock.send(NOISE[: size - sent])
    return sent


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_direction_passes_its_burst_and_then_its_rate(loop: "Loop", links: Links, way: str) -> None:
    link = links()
    if way == "in":
        link.shape(in_=(bucket(),))
        source, sink = link.client, link.server
    else:
        link.shape(out=(bucket(),))
        source, sink = link.server, link.client
    assert offer(source, 150_000) == 150_000
    loop.settle()
    got = read(sink)
    assert len(got) == BURST
    for tenths in range(1, 6):
        pass_time(loop, 0.1)
        got += read(sink)
        assert abs(len(got) - BURST - RATE * tenths / 10) <= RATE * 2 * TICK_S
        assert len(got) <= BURST + RATE * tenths / 10
    pass_time(loop, 0.3)
    assert got + read(sink) == NOISE[:150_000]


def test_the_other_direction_is_as_fast_as_ever(loop: "Loop", links: Links) -> None:
    link = links()
    link.shape(in_=(bucket(),))
    offer(link.client, 100_000)
    offer(link.server, 100_000)
    loop.settle()
    assert len(read(link.client)) == 100_000
    assert len(read(link.server)) == BURST


def test_no_more_than_one_window_is_read_ahead(loop: "Loop", links: Links) -> None:
    link = links()
    relay = link.shape(in_=(bucket(),))
    fill(loop, link.client)
    assert relay.server.pending is not None
    assert len(relay.server.pending) <= WINDOWS[0]
    assert relay.client.bytes_in <= WINDOWS[0] + BURST
    before = loop.poller.aside
    pass_time(loop, 1)
    assert loop.poller.aside <= max(before, WINDOWS[0])


def test_all_its_buckets_count(loop: "Loop", links: Links) -> None:
    link = links()
    slow, fast = bucket(RATE // 4, 5_000), bucket(10 * RATE, 10 * BURST)
    link.shape(in_=(fast, slow))
    offer(link.client, 150_000)
    pass_time(loop, 1)
    assert RATE // 4 - 5_000 <= len(read(link.server)) <= RATE // 4 + 5_000
    assert fast.room(loop.clock.seconds()) > 9 * BURST


@pytest.mark.parametrize("count", [2, 5])
def test_who_shares_a_bucket_gets_an_equal_part_of_it(loop: "Loop", links: Links, count: int) -> None:
    shared = bucket()
    those = [links() for _ in range(count)]
    for link in those:
        link.shape(in_=(shared,))
    for link in those:
        offer(link.client, 400_000)
    pass_time(loop, 1.5)
    got = [len(read(link.server)) for link in those]
    assert BURST + RATE * 1.4 <= sum(got) <= BURST + RATE * 1.5
    assert min(got) > 0.7 * sum(got) / count
    assert max(got) < 1.3 * sum(got) / count


def test_who_comes_later_gets_its_part_too_and_who_leaves_leaves_it_to_the_others(loop: "Loop", links: Links) -> None:
    shared = bucket()
    first, second = links(), links()
    first.shape(in_=(shared,))
    offer(first.client, 1_000_000)
    pass_time(loop, 0.5)
    second.shape(in_=(shared,))
    offer(second.client, 1_000_000)
    loop.settle()
    read(first.server)
    pass_time(loop, 1)
    ours, theirs = len(read(first.server)), len(read(second.server))
    assert 0.7 < ours / theirs < 1.4
    assert second.owner.relay is not None
    second.owner.relay.end(Cause.KILLED)
    pass_time(loop, 0.5)
    assert len(read(first.server)) > 0.8 * RATE * 0.5


class Waiting(Throttle):
    """A throttle of nothing; it may be given turns."""


def test_who_comes_while_others_wait_gets_no_more_than_they_will(wheel: TimerWheel) -> None:
    shared = bucket()
    first, second, third = (Waiting((shared,), wheel) for _ in range(3))
    now = wheel.clock.seconds()
    assert first.room(BURST, now) == BURST
    first.passed(BURST)
    assert [first.room(BURST, now), second.room(BURST, now)] == [0, 0]
    assert first.waits
    assert second.waits
    assert third.room(BURST, now + 0.04) == RATE * 0.04 // 3
    assert not third.waits


class Failing(Throttle):
    """A throttle whose turn goes wrong."""

    def turn_came(self, bucket: TokenBucket, share: int, now: float) -> None:
        raise RuntimeError("a defect")


def test_a_defect_in_the_turn_of_one_does_not_take_the_others_turns(
    loop: "Loop", wheel: TimerWheel, logged: list[LogEvent]
) -> None:
    shared = bucket()
    now = wheel.clock.seconds()
    throttles = [Failing((shared,), wheel), Waiting((shared,), wheel)]
    shared.room(now)
    shared.take(BURST)
    for throttle in throttles:
        throttle.room(BURST, now)
    pass_time(loop, 0.2)
    assert not throttles[1].waits
    assert (shared.line, len(wheel)) == (None, 0)
    assert any("a defect" in str(event.get("log_failure")) for event in logged)


def test_a_bucket_so_slow_that_turns_are_rare_serves_everybody_in_turn(loop: "Loop", links: Links) -> None:
    shared = bucket(2_000, 1_000)
    those = [links() for _ in range(4)]
    for link in those:
        link.shape(in_=(shared,))
        offer(link.client, 50_000)
    pass_time(loop, 8)
    got = [len(read(link.server)) for link in those]
    assert 14_000 <= sum(got) <= 17_000
    assert min(got) >= 3_000


def test_an_end_follows_behind_what_was_held_up(loop: "Loop", links: Links) -> None:
    link = links()
    link.shape(in_=(bucket(),))
    offer(link.client, 60_000)
    link.client.shutdown(socket.SHUT_WR)
    pass_time(loop, 0.1)
    assert not link.owner.endings
    got = read(link.server)
    assert len(got) < 60_000
    pass_time(loop, 0.3)
    got += read(link.server)
    assert got == NOISE[:60_000]
    assert ended(link.server)
    link.server.send(b"answer")
    link.server.shutdown(socket.SHUT_WR)
    loop.settle()
    assert read(link.client) == b"answer"
    assert link.owner.causes == [Cause.NORMAL]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_ends_it_at_once(loop: "Loop", links: Links, who: str) -> None:
    link = links()
    link.shape(in_=(bucket(),))
    offer(link.client, 100_000)
    loop.settle()
    one, other = (link.client, link.server) if who == "client" else (link.server, link.client)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
    loop.until(lambda: link.owner.endings)
    assert link.owner.causes == [Cause.CLIENT if who == "client" else Cause.SERVER]
    assert was_reset(other)
    pass_time(loop, 0.2)
    assert len(link.wheel) == 0
    assert loop.poller.aside == 0


def test_a_reader_that_is_slower_than_the_bucket_decides(loop: "Loop", links: Links) -> None:
    link = links()
    one = bucket(100 << 20, 10 << 20)
    relay = link.shape(in_=(one,))
    taken = fill(loop, link.client)
    loop.clock.advance(10)
    loop.settle()
    assert relay.server.pending is not None
    assert len(link.wheel) == 0, "it waits for the kernel, not for tokens"
    assert relay.server.blocked_since < loop.clock.seconds(), "that it takes nothing is its own doing"
    got = bytearray()
    while len(got) < len(taken):
        got += read(link.server)
        loop.turn(0.05)
        loop.clock.advance(TICK_S)
    assert bytes(got) == taken


def test_no_timer_runs_for_what_is_held_up(loop: "Loop", links: Links) -> None:
    link = links()
    relay = link.shape(in_=(bucket(500, 1024),))
    offer(link.client, 4_096)
    loop.settle()
    got = read(link.server)
    for _ in range(8):
        pass_time(loop, 1)
        assert relay.look(loop.clock.seconds(), IDLE) is not None
        got += read(link.server)
    assert got == NOISE[:4_096], "a turn each two seconds, which is as long as a side may be idle"
    pass_time(loop, 1)
    assert relay.look(loop.clock.seconds(), IDLE) is None, "now it is idle"


def test_who_takes_nothing_when_its_turn_comes_is_timed_from_then_on(loop: "Loop", links: Links) -> None:
    link = links()
    relay = link.shape(in_=(bucket(500, 2_048),))
    offer(link.client, 8_192)
    loop.settle()
    (throttle,) = relay.throttles
    assert isinstance(throttle, SendThrottle)

    def full(data: bytes | memoryview) -> int:
        raise BlockingIOError

    throttle._send = full
    before = relay.server.blocked_since
    pass_time(loop, 2.2)
    assert not throttle.waits
    assert relay.server.blocked_since >= before + 2


def test_a_side_that_takes_nothing_is_still_timed(loop: "Loop", links: Links) -> None:
    link = links()
    relay = link.shape(in_=(bucket(100 << 20, 10 << 20),))
    fill(loop, link.client)
    for _ in range(3):
        loop.clock.advance(1)
        loop.settle()
        if not link.owner.endings:
            relay.look(loop.clock.seconds(), IDLE)
    assert link.owner.causes == [Cause.SERVER_TIMEOUT]


def test_what_ends_while_it_waits_leaves_nothing_behind(loop: "Loop", links: Links) -> None:
    shared = bucket()
    link = links()
    relay = link.shape(in_=(shared,), out=(shared,))
    offer(link.client, 200_000)
    offer(link.server, 200_000)
    loop.settle()
    assert len(link.wheel) == 1
    assert shared.line is not None
    side = relay.server
    gc.collect()
    gc.disable()
    try:
        relay.end(Cause.KILLED)
        assert (len(link.wheel), shared.line, loop.poller.aside) == (0, None, 0)
        del relay
        loop.settle()
        # Who else knows it is this frame and the call that asks.
        assert sys.getrefcount(side) == 2
    finally:
        gc.enable()


def test_a_defect_while_it_tries_again_ends_the_connection(loop: "Loop", links: Links) -> None:
    link = links()
    relay = link.shape(in_=(bucket(),))
    offer(link.client, 100_000)
    loop.settle()

    def crash() -> bool:
        raise RuntimeError("a defect")

    class Crashing(type(relay.server)):  # type: ignore[misc]
        """A side whose flush fails."""

        __slots__ = ()

        def flush(self) -> bool:
            return crash()

    relay.server.__class__ = Crashing
    pass_time(loop, 0.1)
    assert link.owner.causes == [Cause.INTERNAL]
