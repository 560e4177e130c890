"""When a connection on its way out is given up."""

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from twisted_lb.net.poll import EPOLLOUT, Poller
from twisted_lb.net.stream import Stream
from twisted_lb.stages.lingering import LOOK_S, MOST_S, Lingering, undelivered


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    """A stream, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    poller = Poller(Clock())
    stream = Stream(poller, ours)
    stream.accepted()
    with theirs:
        yield stream, theirs
    stream.drop()
    poller.epoll.close()


def test_who_has_everything_and_says_nothing_is_not_waited_for(pair: tuple[Stream, socket.socket]) -> None:
    assert Lingering(pair[0], 0.0, 5.0).again_in(LOOK_S) is None


def test_who_still_sends_is_waited_for_but_not_for_ever(pair: tuple[Stream, socket.socket]) -> None:
    lingering = Lingering(pair[0], 0.0, 5.0)
    now, looks = 0.0, 0
    while True:
        lingering.heard()
        now += LOOK_S
        again = lingering.again_in(now)
        if again is None:
            break
        assert again == LOOK_S
        looks += 1
    assert MOST_S <= now < MOST_S + 2 * LOOK_S
    assert looks > 10


def test_who_takes_some_is_waited_for_until_it_takes_no_more(pair: tuple[Stream, socket.socket]) -> None:
    stream, theirs = pair
    stream.write(b"x" * 1_000_000)
    lingering = Lingering(stream, 0.0, 5.0)
    for second in range(1, 40):
        assert lingering.again_in(float(second)) == LOOK_S
        assert theirs.recv(20_000)
        stream.on_events(EPOLLOUT)
    assert undelivered(stream)
    assert lingering.again_in(40.0) == LOOK_S, "something was taken since the last look"
    assert lingering.again_in(44.0) == pytest.approx(1.0)
    assert lingering.again_in(45.1) is None


def test_where_nobody_knows_what_was_taken_patience_decides() -> None:
    lingering = Lingering(object(), 0.0, 5.0)
    assert lingering.again_in(4.0) == pytest.approx(1.0)
    assert lingering.again_in(5.0) is None


def test_a_closed_stream_has_nothing_on_its_way(pair: tuple[Stream, socket.socket]) -> None:
    pair[0].write(b"x" * 1_000_000)
    pair[0].drop()
    assert undelivered(pair[0]) == 0
