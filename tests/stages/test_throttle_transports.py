"""Throttled transports keep to their buckets on average, one read beyond them at most, and end as any others."""

import pytest

from tests.stages.test_relay_transports import BULK, IDLE, ROOM, World
from twisted_lb.endings import Cause
from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.throttle_transports import throttle_transports
from twisted_lb.testing.transports import READ_SIZE, WRITE_LIMIT
from twisted_lb.token_bucket import Shaping, TokenBucket

RATE = 1_000_000
BURST = 100_000
TICK_S = 0.05


def bucket(rate: int = RATE, burst: int = BURST) -> TokenBucket:
    return TokenBucket(rate, burst)


class Shaped(World):
    """A relay between transports in memory that is throttled."""

    def __init__(self, *, in_: tuple[TokenBucket, ...] = (), out: tuple[TokenBucket, ...] = ()) -> None:
        super().__init__()
        self.wheel = TimerWheel(self.clock)
        throttle_transports(self.relay, Shaping(in_, out), self.wheel)

    def settle(self) -> None:
        """Let everything happen for which no time has to pass."""
        for _ in range(100):
            self.network.settle()
            self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            self.settle()


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_direction_passes_its_burst_and_then_its_rate(way: str) -> None:
    one = bucket()
    world = Shaped(in_=(one,)) if way == "in" else Shaped(out=(one,))
    source, sink = world.sides("client" if way == "in" else "server")
    world.start()
    source.transport.write(BULK[:1_500_000])
    world.settle()
    assert BURST <= len(sink.data) <= BURST + READ_SIZE
    for tenths in range(1, 11):
        world.pass_time(0.1)
        fair = BURST + RATE * tenths / 10
        assert fair - RATE * 2 * TICK_S - READ_SIZE <= len(sink.data) <= fair + READ_SIZE
    world.pass_time(0.7)
    assert sink.data == BULK[:1_500_000]


def test_the_other_direction_is_as_fast_as_ever() -> None:
    world = Shaped(in_=(bucket(),))
    world.start()
    world.server.transport.write(BULK[:600_000])
    world.settle()
    assert len(world.client.data) == 600_000


def test_what_was_looked_at_before_counts() -> None:
    world = Shaped(in_=(bucket(),))
    world.start(peeked=BULK[: BURST + 50_000])
    world.client.transport.write(BULK[:10_000])
    world.settle()
    assert len(world.server.data) == BURST + 50_000
    world.pass_time(0.2)
    assert len(world.server.data) == BURST + 60_000


def test_who_shares_a_bucket_gets_an_equal_part_of_it() -> None:
    shared = bucket()
    those = [Shaped() for _ in range(3)]
    wheel = those[0].wheel
    for world in those:
        world.clock = those[0].clock
        world.relay.clock = those[0].clock
        throttle_transports(world.relay, Shaping((shared,)), wheel)
        world.start()
        world.client.transport.write(BULK[:3_000_000])
    for _ in range(40):
        those[0].clock.advance(TICK_S)
        for world in those:
            world.settle()
    got = [len(world.server.data) for world in those]
    assert BURST + RATE * 1.8 <= sum(got) <= BURST + RATE * 2 + 3 * READ_SIZE
    assert min(got) > 0.7 * sum(got) / 3
    assert max(got) < 1.3 * sum(got) / 3


@pytest.mark.parametrize("times", [1, 10])
def test_a_reader_that_takes_nothing_is_not_sent_more_because_there_are_tokens_again(times: int) -> None:
    world = Shaped(in_=(bucket(times * RATE, times * BURST),))
    world.start()
    world.server.transport.pauseProducing()
    world.client.transport.write(BULK)
    world.pass_time(2)
    assert world.relay.server.blocked_since
    assert world.relay.client.bytes_in <= ROOM + WRITE_LIMIT + READ_SIZE
    world.server.transport.resumeProducing()
    world.pass_time(5)
    assert world.server.data == BULK


def test_a_reader_that_takes_more_again_does_not_undo_the_limit() -> None:
    world = Shaped(in_=(bucket(),))
    world.start()
    world.client.transport.write(BULK)
    for _ in range(20):
        world.server.transport.pauseProducing()
        world.pass_time(TICK_S)
        world.server.transport.resumeProducing()
        world.pass_time(TICK_S)
    assert len(world.server.data) <= BURST + 2 * RATE + READ_SIZE


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_end_follows_behind_what_was_held_up(who: str) -> None:
    world = Shaped(in_=(bucket(),), out=(bucket(),))
    source, sink = world.sides(who)
    world.start()
    source.transport.write(BULK[:600_000])
    source.transport.loseWriteConnection()
    world.pass_time(0.2)
    assert not sink.ended
    world.pass_time(0.6)
    assert sink.data == BULK[:600_000]
    assert sink.ended
    sink.transport.write(b"answer")
    sink.transport.loseWriteConnection()
    world.pass_time(0.1)
    assert source.data == b"answer"
    assert world.causes == [Cause.NORMAL]
    assert len(world.wheel) == 0


def test_one_that_is_killed_while_it_waits_leaves_nothing_behind() -> None:
    shared = bucket()
    world = Shaped(in_=(shared,))
    world.start()
    world.client.transport.write(BULK)
    world.settle()
    assert shared.line is not None
    world.relay.end(Cause.KILLED)
    assert (shared.line, len(world.wheel)) == (None, 0)
    world.pass_time(0.2)
    assert world.causes == [Cause.KILLED]


def test_no_timer_runs_for_what_is_held_up() -> None:
    world = Shaped(in_=(bucket(2_000, 1_000),))
    world.start()
    world.client.transport.write(BULK[: 2 * READ_SIZE])
    world.settle()
    for _ in range(30):
        world.pass_time(1)
        assert world.relay.look(world.clock.seconds(), IDLE) is not None
    assert len(world.server.data) == READ_SIZE
    world.pass_time(10)
    assert world.server.data == BULK[: 2 * READ_SIZE]


def test_a_debt_of_long_ago_does_not_hold_up_the_next_message() -> None:
    world = Shaped(in_=(bucket(),))
    world.start()
    world.client.transport.write(BULK[: 2 * BURST])
    world.pass_time(5)
    for _ in range(3):
        world.client.transport.write(b"x" * 30_000)
        world.settle()
    assert len(world.server.data) == 2 * BURST + 90_000
