"""The throttle of one exchange, with everything around it faked; whole sessions are in ``tests/http_sessions``."""

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from twisted_lb.net.timers import TimerWheel
from twisted_lb.stages.throttle_exchange import ShapedExchange
from twisted_lb.token_bucket import Shaping, TokenBucket


class Transport:
    """The server's; notes whether it is read."""

    reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True


class Exchange:
    """Counts what it is given, and ends when it is told to."""

    def __init__(self) -> None:
        self.bytes_in = 100
        self.bytes_out = 0
        self.last_client = self.last_server = 0.0
        self.request_done = self.full = False
        self.connection: Any = None
        self.told: list[str] = []
        self.ends = False
        self.shaped: ShapedExchange | None = None

    def response_data(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if self.ends and self.shaped is not None:
            self.shaped.stop()

    def server_ended(self, reason: str, clean: bool) -> None:
        self.told.append(f"ended {reason} {clean}")

    def server_full(self) -> None:
        self.told.append("full")

    def server_drained(self) -> None:
        self.told.append("drained")


class Owner:
    """A session; ``reads``: whether it reads the client."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.process: Any = SimpleNamespace(
            wheel=TimerWheel(self.clock), poller=None, moment=SimpleNamespace(now=self.clock.seconds())
        )
        self.client_full = False
        self.reads = True
        self.exchange = Exchange()
        self.transport = Transport()
        self.connection: Any = SimpleNamespace(transport=self.transport, asker=self.exchange)
        self.exchange.connection = self.connection
        self.shaped: ShapedExchange | None = None

    def shape(self, in_: TokenBucket | None = None, out: TokenBucket | None = None) -> ShapedExchange:
        shaping = Shaping().plus(in_, out)
        made = self.shaped = self.exchange.shaped = ShapedExchange(self, self.exchange, shaping)  # type: ignore[arg-type]
        made.begin(self.connection)
        return made

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.process.moment.now = self.clock.seconds()

    def pause_client(self) -> None:
        self.reads = False

    def resume_client(self) -> None:
        if self.shaped is None or not self.shaped.holds_client():
            self.reads = True


@pytest.fixture
def owner() -> Owner:
    """A session with an exchange and a connection."""
    return Owner()


def bucket() -> TokenBucket:
    return TokenBucket(1000, 1000)


def test_the_server_is_read_until_there_are_no_tokens_and_again_when_there_are(owner: Owner) -> None:
    shaped = owner.shape(out=bucket())
    assert owner.connection.asker is shaped
    shaped.response_data(b"x" * 400)
    assert owner.transport.reading
    shaped.response_data(b"x" * 1600)
    assert not owner.transport.reading
    assert shaped.holds_server
    owner.pass_time(1.0)
    assert not owner.transport.reading, "it has a debt of as much as comes in a second"
    owner.pass_time(0.6)
    assert owner.transport.reading
    assert owner.exchange.bytes_out == 2000


def test_without_a_limit_of_that_direction_it_does_not_stand_between(owner: Owner) -> None:
    owner.shape(in_=bucket())
    assert owner.connection.asker is owner.exchange


def test_a_server_whose_client_takes_nothing_is_not_read_when_its_turn_comes(owner: Owner) -> None:
    shaped = owner.shape(out=bucket())
    shaped.response_data(b"x" * 1600)
    owner.client_full = True
    owner.pass_time(2)
    assert not shaped.holds_server, "from now on it is the session that resumes it"
    assert not owner.transport.reading


def test_one_that_begins_with_an_empty_bucket_is_not_read_at_all(owner: Owner) -> None:
    shared = bucket()
    shared.room(1000.0)
    shared.take(1500)
    owner.shape(out=shared)
    assert not owner.transport.reading
    owner.pass_time(1.1)
    assert owner.transport.reading


def test_the_client_is_read_until_there_are_no_tokens_and_again_when_there_are(owner: Owner) -> None:
    shaped = owner.shape(in_=bucket())
    owner.exchange.bytes_in += 400
    shaped.client_said()
    assert owner.reads
    owner.exchange.bytes_in += 1600
    shaped.client_said()
    assert not owner.reads
    owner.resume_client()
    assert not owner.reads, "whoever asks"
    owner.pass_time(1.6)
    assert owner.reads


@pytest.mark.parametrize("attribute", ["full", "request_done"])
def test_a_client_that_nobody_wants_to_read_is_not_read_when_its_turn_comes(owner: Owner, attribute: str) -> None:
    shaped = owner.shape(in_=bucket())
    owner.exchange.bytes_in += 2000
    shaped.client_said()
    setattr(owner.exchange, attribute, True)
    owner.pass_time(3)
    assert not owner.reads
    assert not shaped.holds_client()


def test_the_last_bytes_of_a_request_are_counted_and_nothing_waits_for_them(owner: Owner) -> None:
    one = bucket()
    shaped = owner.shape(in_=one)
    owner.exchange.bytes_in += 2000
    owner.exchange.request_done = True
    shaped.client_said()
    assert one.room(1000.0) == -1000
    assert len(owner.process.wheel) == 0


def test_an_exchange_that_ends_with_what_it_is_given_is_counted_and_leaves_its_connection_readable(
    owner: Owner,
) -> None:
    one = bucket()
    shaped = owner.shape(out=one)
    shaped.response_data(b"x" * 1600)
    assert not owner.transport.reading
    owner.exchange.ends = True
    shaped.response_data(b"x" * 400)
    assert owner.transport.reading
    assert one.room(1000.0) == -1000
    assert (one.line, len(owner.process.wheel)) == (None, 0)
    owner.pass_time(5)
    shaped.client_said()


def test_what_else_the_connection_says_is_passed_on(owner: Owner) -> None:
    shaped = owner.shape(out=bucket())
    shaped.server_full()
    shaped.server_drained()
    shaped.server_ended("gone", True)
    assert owner.exchange.told == ["full", "drained", "ended gone True"]


def test_times_count_as_if_bytes_came_while_it_waits(owner: Owner) -> None:
    shaped = owner.shape(in_=bucket(), out=bucket())
    shaped.excuse(1000.0)
    assert (owner.exchange.last_client, owner.exchange.last_server) == (0.0, 0.0)
    owner.exchange.bytes_in += 5000
    shaped.client_said()
    shaped.response_data(b"x" * 5000)
    owner.pass_time(3)
    shaped.excuse(1003.0)
    assert (owner.exchange.last_client, owner.exchange.last_server) == (1003.0, 1003.0)
