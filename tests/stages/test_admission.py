"""Limits: how much room there is, and who is woken when there is more."""

from twisted_lb.stages.admission import Limit


class Waiting:
    """A listener that notes when it is resumed, and may wait again at once."""

    def __init__(self, limit: Limit | None = None) -> None:
        self.limit = limit
        self.resumed = 0

    def resume(self) -> None:
        self.resumed += 1
        if self.limit is not None:
            self.limit.wait(self)


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


def test_whoever_waits_is_woken_once_when_there_is_room() -> None:
    limit = Limit(1)
    limit.count = 1
    both = Waiting(), Waiting()
    for waiting in both:
        limit.wait(waiting)
    limit.give_back()
    limit.count += 1
    limit.give_back()
    assert [waiting.resumed for waiting in both] == [1, 1]


def test_a_raised_maximum_wakes_who_waits() -> None:
    limit = Limit(1)
    limit.count = 1
    limit.wait(waiting := Waiting())
    limit.maximum = None
    limit.wake()
    assert waiting.resumed == 1


def test_one_that_waits_again_while_it_is_woken_is_not_woken_for_ever() -> None:
    limit = Limit(1)
    limit.count = 1
    limit.wait(waiting := Waiting(limit))
    limit.give_back()
    assert waiting.resumed == 1
