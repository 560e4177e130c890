"""One epoll over all streams: who is told of what, and when sockets are really closed."""

import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from twisted.logger import LogEvent

from twisted_lb.net.poll import EPOLLIN, EPOLLOUT, EPOLLRDHUP, READING, READING_AND_WRITING

if TYPE_CHECKING:
    from tests.conftest import Loop

Pair = tuple[socket.socket, socket.socket]


def fail(*_: object) -> None:
    raise ZeroDivisionError


class Spy:
    """A watcher that notes its events, and does something at each."""

    def __init__(self, act: Callable[[int], None] = lambda events: None) -> None:
        self.events: list[int] = []
        self.crashes = 0
        self.act = act

    def on_events(self, events: int) -> None:
        self.events.append(events)
        self.act(events)

    def on_crash(self) -> None:
        self.crashes += 1


@pytest.fixture
def pair() -> Iterator[Callable[[], Pair]]:
    """Make connected pairs of non-blocking sockets."""
    made: list[socket.socket] = []

    def make() -> Pair:
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
            made.append(end)
        return ends

    yield make
    for end in made:
        end.close()


def test_a_watcher_is_told_what_the_kernel_reports(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, far = pair()
    loop.poller.watch(near.fileno(), spy := Spy(), READING)
    far.send(b"x")
    loop.turn()
    far.shutdown(socket.SHUT_WR)
    loop.turn()
    assert spy.events == [EPOLLIN, EPOLLIN | EPOLLRDHUP]


def test_events_are_told_once_as_they_come_not_as_long_as_they_last(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, far = pair()
    loop.poller.watch(near.fileno(), spy := Spy(), READING)
    far.send(b"x")
    for _ in range(3):
        loop.turn()
    assert spy.events == [EPOLLIN]


def test_a_modification_reports_anew_what_is_ready(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, _ = pair()
    loop.poller.watch(near.fileno(), spy := Spy(), READING)
    assert loop.turn() == 0
    loop.poller.modify(near.fileno(), READING_AND_WRITING)
    loop.turn()
    assert spy.events == [EPOLLOUT]


def test_what_has_no_watcher_goes_to_the_reactor(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, far = pair()
    loop.poller.epoll.register(near.fileno(), EPOLLIN)
    far.send(b"x")
    foreign: list[tuple[int, int]] = []
    loop.poller.dispatch(loop.poller.epoll.poll(0), lambda fd, events: foreign.append((fd, events)))
    assert foreign == [(near.fileno(), EPOLLIN)]


def test_a_number_is_not_used_again_within_a_batch(loop: "Loop", pair: Callable[[], Pair]) -> None:
    """Trap: a closed number is taken by the next accept, and a stale event of the same batch hits the newcomer."""
    (near, far), (other, other_far) = pair(), pair()
    number = other.fileno()
    newcomers: list[socket.socket] = []
    newcomer_spy = Spy()

    def close_the_other_and_accept(events: int) -> None:
        loop.poller.close(number, other)
        newcomers.extend(socket.socketpair())
        for newcomer in newcomers:
            loop.poller.watch(newcomer.fileno(), newcomer_spy, READING)

    loop.poller.watch(number, other_spy := Spy(), READING)
    loop.poller.watch(near.fileno(), Spy(close_the_other_and_accept), READING)
    far.send(b"x")
    other_far.send(b"x")
    # Stale: both events are in one batch, and the first closes what the second is about.
    loop.poller.dispatch([(near.fileno(), EPOLLIN), (number, EPOLLIN)])
    assert number not in [newcomer.fileno() for newcomer in newcomers]
    assert (other_spy.events, newcomer_spy.events) == ([], [])
    assert other.fileno() == -1, "it is closed when the batch is over"
    for newcomer in newcomers:
        newcomer.close()


def test_between_batches_a_socket_is_closed_at_once(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, _ = pair()
    loop.poller.watch(near.fileno(), Spy(), READING)
    assert len(loop.poller) == 1
    loop.poller.close(near.fileno(), near)
    assert near.fileno() == -1
    assert len(loop.poller) == 0


def test_sockets_are_closed_even_if_the_batch_fails(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, far = pair()
    loop.poller.watch(near.fileno(), Spy(lambda _: loop.poller.close(near.fileno(), near)), READING)
    far.send(b"x")

    def interrupt(fd: int, events: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.poller.dispatch([(near.fileno(), EPOLLIN), (999_999, EPOLLIN)], interrupt)
    assert near.fileno() == -1


def test_who_asks_again_has_a_turn_after_the_events(loop: "Loop", pair: Callable[[], Pair]) -> None:
    (near, far), (other, other_far) = pair(), pair()
    order: list[str] = []
    bulk = Spy(lambda events: order.append("bulk"))

    def bulk_turn(events: int) -> None:
        order.append(f"bulk {events}")
        if len(order) < 5:
            loop.poller.again(bulk)

    bulk.act = bulk_turn
    loop.poller.watch(near.fileno(), bulk, READING)
    loop.poller.watch(other.fileno(), Spy(lambda events: order.append(f"small {events}")), READING)
    far.send(b"x")
    other_far.send(b"x")
    loop.turn()
    assert order == ["bulk 1", "small 1", "bulk 0"]
    loop.turn()
    assert order == ["bulk 1", "small 1", "bulk 0", "bulk 0"], "one turn per batch, however often it asks"


def test_calls_after_the_batch_come_after_all_events_and_once(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, far = pair()
    order: list[str] = []

    def act(events: int) -> None:
        loop.poller.after_batch(lambda: order.append("after"))
        loop.poller.again(again)
        order.append("event")

    again = Spy(lambda events: order.append("again"))
    loop.poller.watch(near.fileno(), Spy(act), READING)
    far.send(b"x")
    loop.turn()
    loop.turn()
    assert order == ["event", "again", "after"]


def test_a_call_after_the_batch_runs_at_once_between_batches(loop: "Loop") -> None:
    done: list[int] = []
    loop.poller.after_batch(lambda: done.append(1))
    assert done == [1]


def test_a_call_after_the_batch_that_fails_does_not_stop_the_next(
    loop: "Loop", pair: Callable[[], Pair], logged: list[LogEvent]
) -> None:
    near, far = pair()
    done: list[int] = []

    def act(events: int) -> None:
        loop.poller.after_batch(fail)
        loop.poller.after_batch(lambda: done.append(1))

    loop.poller.watch(near.fileno(), Spy(act), READING)
    far.send(b"x")
    loop.turn()
    assert done == [1]
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_a_watcher_that_fails_is_told_and_the_others_go_on(
    loop: "Loop", pair: Callable[[], Pair], logged: list[LogEvent]
) -> None:
    (near, far), (other, other_far) = pair(), pair()
    loop.poller.watch(near.fileno(), broken := Spy(fail), READING)
    loop.poller.watch(other.fileno(), whole := Spy(), READING)
    far.send(b"x")
    other_far.send(b"x")
    loop.poller.again(broken)
    loop.poller.again(whole)
    loop.turn()
    assert broken.crashes == 2
    assert whole.events == [EPOLLIN, 0]
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError] * 2


def test_a_watcher_that_fails_twice_is_logged_twice_and_harms_nobody(
    loop: "Loop", pair: Callable[[], Pair], logged: list[LogEvent]
) -> None:
    near, far = pair()

    class Hopeless(Spy):
        def on_crash(self) -> None:
            raise ValueError

    loop.poller.watch(near.fileno(), Hopeless(fail), READING)
    far.send(b"x")
    loop.turn()
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError, ValueError]


def test_now_is_the_moment_at_which_the_batch_began(loop: "Loop") -> None:
    loop.clock.advance(5)
    before = loop.poller.now
    loop.turn()
    assert loop.poller.now - before == 5


def test_the_windows_are_parts_of_one_memory(loop: "Loop") -> None:
    sizes = [len(window) for window in loop.poller.windows]
    assert sizes == sorted(sizes)
    assert len({id(window.obj) for window in loop.poller.windows}) == 1


def test_a_closed_number_may_be_watched_again_in_the_next_batch(loop: "Loop", pair: Callable[[], Pair]) -> None:
    near, _ = pair()
    number = near.fileno()
    loop.poller.watch(number, Spy(), READING)
    loop.poller.close(number, near)
    again, far = pair()  # the kernel gives the lowest number that is free
    assert again.fileno() == number
    loop.poller.watch(number, spy := Spy(), READING)
    far.send(b"x")
    loop.turn()
    assert spy.events == [EPOLLIN]


def test_a_watcher_that_wants_to_exit_does_not_cost_others_their_events(loop: "Loop") -> None:
    """Seen: SystemExit and the like left the loop, and edges of the same batch that nobody had looked at were gone."""

    class Exits:
        crashed = False

        def on_events(self, events: int) -> None:
            raise SystemExit(1)

        def on_crash(self) -> None:
            self.crashed = True

    class Counts:
        told = 0

        def on_events(self, events: int) -> None:
            self.told += 1

        def on_crash(self) -> None:
            """It does not."""

    exits, counts = Exits(), Counts()
    pairs = [socket.socketpair() for _ in range(2)]
    loop.poller.watch(pairs[0][0].fileno(), exits, READING)
    loop.poller.watch(pairs[1][0].fileno(), counts, READING)
    for _, far in pairs:
        far.send(b"x")
    loop.settle()
    assert exits.crashed
    assert counts.told == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_keyboard_interrupt_waits_for_the_end_of_the_batch(loop: "Loop") -> None:
    class Interrupted:
        def on_events(self, events: int) -> None:
            raise KeyboardInterrupt

        def on_crash(self) -> None:
            """Nothing belongs to it."""

    after: list[str] = []
    loop.poller.again(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        loop.poller.dispatch([])
    loop.poller.after_batch(lambda: after.append("between batches"))
    assert after == ["between batches"]
