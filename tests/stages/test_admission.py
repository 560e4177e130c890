"""Limits: how much room there is, and who is woken when there is more."""

import inspect

import pytest

from twisted_lb.stages.admission import Limit


class Waiting:
    """A listener that notes when it is resumed, and may wait again at once. ``busy``: it will pass the wake on."""

    def __init__(self, limit: Limit | None = None, busy: bool = True) -> None:
        self.limit = limit
        self.busy = busy
        self.resumed = 0

    def resume(self, by: Limit | None = None) -> bool:
        self.resumed += 1
        if self.limit is not None:
            self.limit.wait(self)
        return self.busy


def test_without_a_maximum_there_is_always_room() -> None:
    limit = Limit()
    limit.count = 1_000_000
    assert limit.room(64) == 64


def test_room_is_what_is_left_below_the_maximum() -> None:
    limit = Limit(10)
    assert limit.room(64) == 10
    limit.count = 8
    assert (limit.room(64), limit.room(1)) == (2, 1)
    limit.count = 10
    assert limit.room(64) == 0


def test_a_maximum_that_was_lowered_below_the_count_leaves_no_room() -> None:
    limit = Limit(10)
    limit.count = 10
    limit.maximum = 5
    assert limit.room(1) <= 0
    limit.wait(waiting := Waiting())
    for _ in range(5):
        limit.give_back()
    assert waiting.resumed == 0, "five are as many as there may be"
    limit.give_back()
    assert waiting.resumed == 1


def test_one_place_wakes_one_who_waits_and_the_longest_first() -> None:
    """Seen: a thousand ports at the process's maxconn were all resumed, and paused again, for each that ended."""
    limit = Limit(1)
    limit.count = 1
    both = Waiting(), Waiting()
    for waiting in both:
        limit.wait(waiting)
    limit.give_back()
    assert [waiting.resumed for waiting in both] == [1, 0]
    limit.count += 1
    limit.give_back()
    assert [waiting.resumed for waiting in both] == [1, 1]


def test_the_next_is_woken_at_once_when_the_first_will_not_pass_it_on() -> None:
    limit = Limit(1)
    limit.count = 1
    three = Waiting(busy=False), Waiting(), Waiting()
    for waiting in three:
        limit.wait(waiting)
    limit.give_back()
    assert [waiting.resumed for waiting in three] == [1, 1, 0]


def test_whoever_leaves_room_passes_it_on() -> None:
    limit = Limit(1)
    limit.count = 1
    both = Waiting(), Waiting()
    for waiting in both:
        limit.wait(waiting)
    limit.give_back()
    limit.wake_next()
    assert [waiting.resumed for waiting in both] == [1, 1]


def test_who_waits_twice_is_woken_once() -> None:
    limit = Limit(0)
    waiting = Waiting()
    limit.wait(waiting)
    limit.wait(waiting)
    limit.maximum = 5
    limit.wake()
    assert waiting.resumed == 1


def test_a_connection_that_ends_while_a_listener_is_resumed_wakes_from_the_same_loop() -> None:
    """Else the stack would be as deep as there are listeners."""
    limit = Limit(1)
    limit.count = 1
    depths: list[int] = []

    class Passing:
        def resume(self, by: Limit | None = None) -> bool:
            depths.append(len(inspect.stack()))
            limit.count += 1
            limit.give_back()
            return False

    for _ in range(5):
        limit.wait(Passing())
    limit.give_back()
    assert len(depths) == 5
    assert len(set(depths)) == 1


@pytest.mark.parametrize(("maximum", "woken"), [(None, 3), (3, 2), (2, 1), (1, 0), (0, 0)])
def test_a_raised_maximum_wakes_as_many_as_have_room(maximum: int | None, woken: int) -> None:
    limit = Limit(1)
    limit.count = 1
    three = Waiting(), Waiting(), Waiting()
    for waiting in three:
        limit.wait(waiting)
    limit.maximum = maximum
    limit.wake()
    assert sum(waiting.resumed for waiting in three) == woken


def test_one_that_waits_again_while_it_is_woken_is_not_woken_for_ever() -> None:
    limit = Limit(1)
    limit.count = 1
    limit.wait(waiting := Waiting(limit))
    limit.give_back()
    assert waiting.resumed == 1
