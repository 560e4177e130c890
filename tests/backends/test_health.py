"""Health checks: when a server is checked, what takes it down and up again, and who hears of it."""

import socket
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from twisted_lb.backends.health import Check, Health, Rhythm
from twisted_lb.backends.pool import Backend, Server
from twisted_lb.backends.target import EndpointTarget, SocketTarget
from twisted_lb.config.inherit import BackendTimers
from twisted_lb.errors import PluginError
from twisted_lb.net.poll import Poller
from twisted_lb.plugin_host import Built
from twisted_lb.testing import make_facts

TIMERS = BackendTimers(connect=5.0, queue=5.0, server=30.0, server_fin=None, tunnel=None)
RHYTHM = Rhythm(interval_s=2.0, timeout_s=1.0, rise=2, fall=3)
FACTS = make_facts()


class Transport:
    """What an attempt got: the bytes written, and how it was closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = ""

    def write(self, data: bytes) -> None:
        self.written += data

    def loseConnection(self) -> None:
        self.closed = self.closed or "cleanly"

    def abortConnection(self) -> None:
        self.closed = "aborted"


class Attempt:
    """One attempt to connect to the endpoint, which the test decides."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        self.cancelled = False
        self.answer: Deferred[Any] = Deferred(self._cancel)
        self.transport = Transport()
        self.protocol: Any = None

    def _cancel(self, _: object) -> None:
        self.cancelled = True

    def refuse(self) -> None:
        self.answer.errback(ConnectionRefusedError())

    def accept(self) -> None:
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.answer.callback(self.protocol)

    def lose(self, reason: Exception) -> None:
        self.protocol.connectionLost(Failure(reason))


class Endpoint:
    """Notes each attempt, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.attempts: list[Attempt] = []
        self.times: list[float] = []

    def connect(self, factory: Any) -> "Deferred[Any]":
        self.attempts.append(Attempt(factory))
        self.times.append(self.clock.seconds())
        return self.attempts[-1].answer


class Observer:
    """Notes what it is told of servers; ``broken``: and raises that."""

    def __init__(self, broken: BaseException | None = None) -> None:
        self.broken = broken
        self.told: list[tuple[str, str, str, str]] = []

    def server_state_changed(self, backend: str, server: Server, state: str, reason: str) -> None:
        self.told.append((backend, server.name, state, reason))
        if self.broken is not None:
            raise self.broken


class First:
    """A balancer."""

    def choose(self, candidates: Any, facts: Any) -> Any:
        return candidates[0]


class World:
    """A backend whose servers are checked on a clock that the test moves."""

    def __init__(self, *names: str, rhythm: Rhythm = RHYTHM, header: bytes = b"") -> None:
        self.clock = Clock()
        self.endpoints = {name: Endpoint(self.clock) for name in names}
        servers = [Server(name, EndpointTarget(name, endpoint)) for name, endpoint in self.endpoints.items()]
        balancer: Any = Built("first", "first", First())
        self.backend = Backend("app", servers, balancer, TIMERS)
        self.servers = {server.name: server for server in servers}
        checks = [Check(server, server.target, header, rhythm, self.clock, None, None) for server in servers]
        self.blamed: list[PluginError] = []
        self.health = Health(self.backend, checks, lambda error, where: self.blamed.append(error))

    def start(self) -> "World":
        self.health.start(0, len(self.health.checks))
        self.clock.advance(0)
        return self

    def result(self, name: str, good: bool) -> None:
        """Let the check of a server that is under way end, and the next one begin."""
        attempt = self.endpoints[name].attempts[-1]
        if good:
            attempt.accept()
            attempt.lose(ConnectionDone())
        else:
            attempt.refuse()
        self.clock.advance(RHYTHM.interval_s)


@pytest.fixture
def one() -> World:
    return World("a").start()


# When


def test_the_first_checks_are_spread_over_the_interval_and_each_then_keeps_its_pace() -> None:
    world = World("a", "b", "c", "d").start()
    for _ in range(8):
        world.clock.advance(0.5)
        for endpoint in world.endpoints.values():
            if not endpoint.attempts or endpoint.attempts[-1].answer.called:
                continue
            endpoint.attempts[-1].refuse()
    assert [endpoint.times[0] for endpoint in world.endpoints.values()] == [0.0, 0.5, 1.0, 1.5]
    assert {endpoint.times[1] - endpoint.times[0] for endpoint in world.endpoints.values()} == {2.0}


def test_the_pace_counts_from_the_beginning_of_a_check(one: World) -> None:
    one.clock.advance(0.75)
    one.endpoints["a"].attempts[0].refuse()
    one.clock.advance(1.25)
    assert one.endpoints["a"].times == [0.0, 2.0]


def test_there_are_never_two_checks_of_a_server_at_once() -> None:
    world = World("a", rhythm=Rhythm(interval_s=1.0, timeout_s=3.0, rise=1, fall=1)).start()
    world.clock.pump([0.5] * 5)
    assert len(world.endpoints["a"].attempts) == 1
    world.clock.pump([0.5, 0])
    assert world.endpoints["a"].attempts[0].cancelled
    assert world.endpoints["a"].times == [0.0, 3.0]


def test_a_check_that_takes_too_long_is_given_up_and_has_failed(one: World) -> None:
    one.clock.advance(RHYTHM.timeout_s)
    assert one.endpoints["a"].attempts[0].cancelled
    assert one.servers["a"].contrary == 1


def test_a_connection_that_comes_after_the_check_was_given_up_is_closed_and_counts_for_nothing(one: World) -> None:
    one.clock.advance(RHYTHM.timeout_s)
    late = one.endpoints["a"].attempts[0]
    protocol = late.factory.buildProtocol(None)
    protocol.makeConnection(late.transport)
    assert late.transport.closed == "aborted"
    assert one.servers["a"].contrary == 1


# Up and down


def test_a_server_is_up_before_its_first_check() -> None:
    assert World("a").servers["a"].up


def test_so_many_failures_in_a_row_as_fall_says_take_it_down(one: World) -> None:
    states = []
    for _ in range(3):
        one.result("a", good=False)
        states.append(one.servers["a"].up)
    assert states == [True, True, False]


def test_a_good_check_in_between_starts_the_count_anew(one: World) -> None:
    for good in (False, False, True, False, False):
        one.result("a", good)
    assert one.servers["a"].up
    one.result("a", good=False)
    assert not one.servers["a"].up


def test_so_many_good_checks_in_a_row_as_rise_says_bring_it_up(one: World) -> None:
    states = []
    for good in (False, False, False, True, False, True, True):
        one.result("a", good)
        states.append(one.servers["a"].up)
    assert states == [True, True, False, False, False, False, True]


def test_a_connection_without_a_header_may_end_as_it_likes(one: World) -> None:
    attempt = one.endpoints["a"].attempts[0]
    attempt.accept()
    assert (attempt.transport.written, attempt.transport.closed) == (b"", "cleanly")
    attempt.lose(ConnectionLost())
    assert one.servers["a"].contrary == 0


def test_a_header_is_said_before_the_check_closes() -> None:
    world = World("a", header=b"PROXY UNKNOWN\r\n").start()
    attempt = world.endpoints["a"].attempts[0]
    attempt.accept()
    assert (attempt.transport.written, attempt.transport.closed) == (b"PROXY UNKNOWN\r\n", "cleanly")
    attempt.lose(ConnectionDone())
    assert world.servers["a"].contrary == 0


def test_a_header_that_is_not_taken_is_a_failure() -> None:
    world = World("a", header=b"PROXY UNKNOWN\r\n").start()
    attempt = world.endpoints["a"].attempts[0]
    attempt.accept()
    attempt.lose(ConnectionLost())
    assert world.servers["a"].contrary == 1


def test_a_header_that_the_server_does_not_take_within_the_time_is_a_failure() -> None:
    world = World("a", header=b"PROXY UNKNOWN\r\n").start()
    attempt = world.endpoints["a"].attempts[0]
    attempt.accept()
    world.clock.advance(RHYTHM.timeout_s)
    assert attempt.transport.closed == "aborted"
    attempt.lose(ConnectionLost())
    assert world.servers["a"].contrary == 1


# What follows


def take_down(world: World, *names: str) -> None:
    for _ in range(RHYTHM.fall):
        for name in names:
            world.endpoints[name].attempts[-1].refuse()
        world.clock.pump([RHYTHM.interval_s / 2] * 2)


def test_a_server_that_is_down_is_not_chosen_and_then_is_again() -> None:
    world = World("a", "b", rhythm=Rhythm(2.0, 1.9, 1, 1))
    world.start()
    world.endpoints["a"].attempts[0].refuse()
    assert world.backend.choose(FACTS) is world.servers["b"]
    world.clock.advance(2)
    world.endpoints["a"].attempts[1].accept()
    world.endpoints["a"].attempts[1].lose(ConnectionDone())
    assert world.backend.choose(FACTS) is world.servers["a"]


def test_without_a_server_that_is_up_there_is_nobody_to_choose(one: World) -> None:
    take_down(one, "a")
    assert not one.backend.usable
    assert one.backend.choose(FACTS) is None


def test_those_who_wait_are_served_when_a_server_comes_up(one: World) -> None:
    take_down(one, "a")
    got: list[Server] = []
    client: Any = type("Client", (), {"slot_free": lambda self, server: got.append(server)})()
    one.backend.queue.append(client)
    one.result("a", good=True)
    assert got == []
    one.result("a", good=True)
    assert got == [one.servers["a"]]
    assert not one.backend.queue


def test_sessions_that_began_before_a_reload_avoid_the_server_too(one: World) -> None:
    balancer: Any = Built("first", "first", First())
    after = Backend("app", one.backend.servers, balancer, TIMERS, before=one.backend)
    after.take_over()
    assert one.backend.usable
    one.servers["a"].up = False
    Health(after, [], lambda *_: None).changed(one.servers["a"], "refused")
    assert not one.backend.usable
    assert not after.usable


def test_changes_are_logged_and_the_last_server_going_is_an_error(one: World) -> None:
    with capturedLogs() as events:
        take_down(one, "a")
        one.result("a", good=True)
        one.result("a", good=True)
    assert [(event["log_level"], formatEvent(event)) for event in events] == [
        (
            LogLevel.warn,
            "server app/a is down: 3 checks in a row failed, the last: Connection was refused by other side.",
        ),
        (LogLevel.error, "backend app has no usable server left"),
        (LogLevel.info, "server app/a is up: 2 checks in a row went well"),
    ]


class UnspeakableError(Exception):
    """Its repr raises too."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("failure", [RuntimeError("oops"), SystemExit("oops"), UnspeakableError()])
def test_observers_hear_of_each_change_once_and_one_that_raises_is_blamed(one: World, failure: BaseException) -> None:
    broken, sound = Observer(failure), Observer()
    built: Any = (Built("broken", "x", broken), Built("sound", "y", sound))
    one.health.observers = built
    take_down(one, "a")
    assert [(backend, server, state) for backend, server, state, _ in sound.told] == [("app", "a", "down")]
    assert "refused" in sound.told[0][3]
    assert broken.told == sound.told
    assert [error.plugin for error in one.blamed] == ["broken"]


# Stop and reload


def test_a_stop_leaves_neither_a_timer_nor_an_attempt(one: World) -> None:
    one.health.stop()
    assert one.endpoints["a"].attempts[0].cancelled
    assert one.clock.getDelayedCalls() == []
    one = World("a").start()
    one.result("a", good=False)
    one.endpoints["a"].attempts[-1].refuse()
    one.health.stop()
    assert one.clock.getDelayedCalls() == []


def fail_to_cancel(_: object) -> None:
    raise RuntimeError


def test_an_attempt_that_cannot_be_given_up_is_followed_by_the_next_one(one: World, logged: list[LogEvent]) -> None:
    """Seen: a canceller that raised ended the checks of its server for good."""
    one.endpoints["a"].attempts[0].answer._canceller = fail_to_cancel
    one.clock.advance(RHYTHM.timeout_s)
    one.clock.advance(RHYTHM.interval_s - RHYTHM.timeout_s)
    assert len(one.endpoints["a"].attempts) == 2
    assert [event["log_failure"].type for event in logged] == [RuntimeError]


def test_an_attempt_that_cannot_be_given_up_keeps_a_stop_from_nothing(logged: list[LogEvent]) -> None:
    world = World("a", "b", rhythm=Rhythm(interval_s=2.0, timeout_s=1.9, rise=1, fall=1)).start()
    world.clock.advance(1.5)
    first, second = (world.endpoints[name].attempts[0] for name in "ab")
    first.answer._canceller = fail_to_cancel
    world.health.stop()
    assert second.cancelled
    assert world.clock.getDelayedCalls() == []
    assert [event["log_failure"].type for event in logged] == [RuntimeError]


def test_a_stop_closes_a_connection_that_is_still_open(one: World) -> None:
    attempt = one.endpoints["a"].attempts[0]
    attempt.accept()
    one.health.stop()
    assert attempt.transport.closed == "aborted"
    attempt.lose(ConnectionLost())
    assert one.clock.getDelayedCalls() == []


def test_a_server_keeps_its_state_and_its_count_when_other_checks_take_over(one: World) -> None:
    take_down(one, "a")
    one.result("a", good=True)
    one.health.stop()
    server = one.servers["a"]
    again = Check(server, server.target, b"", RHYTHM, one.clock, None, None)
    Health(one.backend, [again], lambda *_: None).start(0, 1)
    one.clock.advance(0)
    assert not server.up
    one.result("a", good=True)
    assert server.up


def test_a_server_that_is_not_checked_any_more_is_up(one: World) -> None:
    take_down(one, "a")
    one.health.stop()
    Health(one.backend, [], lambda *_: None).start(0, 0)
    assert one.servers["a"].up
    assert one.backend.choose(FACTS) is one.servers["a"]


# Sockets of ours


def turn(poller: Poller) -> None:
    poller.dispatch(poller.epoll.poll(0 if poller.ready else 5))


@pytest.mark.parametrize("header", [b"", b"PROXY UNKNOWN\r\n"])
def test_a_check_through_a_stream_says_the_header_and_leaves_nothing_open(header: bytes) -> None:
    clock = Clock()
    poller = Poller(clock)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = SocketTarget(socket.AF_INET, listening.getsockname())
        server = Server("a", target)
        server.contrary = 1
        check = Check(server, target, header, RHYTHM, clock, poller, None)
        check.start(0, lambda *_: None)
        clock.advance(0)
        while server.contrary:
            turn(poller)
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(99) == header
            assert accepted.recv(99) == b""
        check.stop()
    assert len(poller) == 0
    assert clock.getDelayedCalls() == []
    poller.epoll.close()


def test_a_refused_stream_is_a_failure_and_a_stop_closes_one_that_waits() -> None:
    clock = Clock()
    poller = Poller(clock)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = SocketTarget(socket.AF_INET, listening.getsockname())
    server = Server("a", target)
    reasons: list[str] = []
    check = Check(server, target, b"", Rhythm(2.0, 1.0, 1, 1), clock, poller, None)
    check.start(0, lambda server, reason: reasons.append(reason))
    clock.advance(0)
    while not reasons:
        turn(poller)
    assert reasons == ["1 check failed, the last: Connection refused"]
    clock.advance(2)
    check.stop()
    assert len(poller) == 0
    assert clock.getDelayedCalls() == []
    poller.epoll.close()
