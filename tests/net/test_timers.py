"""Deadlines: never early, late by one slot at most, whatever is armed, disarmed and fails in between."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from twisted_lb.net.timers import TimerWheel, slot_width_ms


class Item:
    """Something with a deadline; ``act`` happens at it."""

    def __init__(self, act: Any = lambda: None) -> None:
        self.timer_slot: Any = None
        self.due: list[float] = []
        self.act = act

    def timer_due(self, now: float) -> None:
        self.due.append(now)
        self.act()


@pytest.fixture
def clock() -> Clock:
    """A clock that only the test moves, somewhere between two slots."""
    one = Clock()
    one.advance(1000.0123)
    return one


@pytest.fixture
def wheel(clock: Clock) -> TimerWheel:
    """A wheel on that clock."""
    return TimerWheel(clock)


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.05, 1.0, 4.999, 5.0, 30.0, 59.9, 60.0, 599.0, 600.0, 86_400.0])
def test_a_deadline_is_never_early_and_late_by_one_slot_at_most(
    clock: Clock, wheel: TimerWheel, delay_s: float
) -> None:
    start = clock.seconds()
    wheel.arm(item := Item(), delay_s, start)
    while not item.due:
        clock.advance(0.01 if delay_s < 100 else 1)
    late_s = item.due[0] - (start + delay_s)
    assert 0 <= late_s <= slot_width_ms(delay_s) / 1000 + (0.011 if delay_s < 100 else 1.001)


def test_a_deadline_is_met_though_one_like_it_was_set_and_forgotten_by_who_was_due(
    clock: Clock, wheel: TimerWheel
) -> None:
    brief, late = Item(), Item()

    def connect_and_fail() -> None:
        wheel.arm(brief, 2.0, clock.seconds())
        wheel.disarm(brief)

    wheel.arm(first := Item(connect_and_fail), 1.0, clock.seconds())
    while not first.due:
        clock.advance(0.001)
    wheel.arm(late, 2.0, clock.seconds())
    clock.advance(2.1)
    assert (len(brief.due), len(late.due), len(wheel)) == (0, 1, 0)


def test_deadlines_are_met_whatever_those_who_are_due_do_to_others(clock: Clock, wheel: TimerWheel) -> None:
    chance = Random(7)
    delays = [0.02, 0.3, 1.0, 2.0, 5.0]
    wanted: dict[Item, float] = {}
    late: list[float] = []

    def stir() -> None:
        for item in chance.sample(items, 3):
            if chance.random() < 0.5:
                wheel.disarm(item)
                wanted.pop(item, None)
            else:
                # A batch of events may have begun a while ago.
                now = clock.seconds() - chance.choice([0.0, 0.0, 0.1])
                delay_s = chance.choice(delays)
                wheel.arm(item, delay_s, now)
                wanted[item] = now + delay_s

    class Stirring(Item):
        def timer_due(self, now: float) -> None:
            late.append(now - wanted.pop(self))
            stir()

    items: list[Item] = [Stirring() for _ in range(12)]
    for _ in range(4000):
        if chance.random() < 0.1:
            stir()
        clock.advance(chance.choice([0.001, 0.01, 0.2]))
        assert all(clock.seconds() - due < 0.8 for due in wanted.values())
    assert len(late) > 200
    assert min(late) >= 0
    assert len(wheel) == len(wanted)


def test_many_deadlines_in_any_order_are_each_met(clock: Clock, wheel: TimerWheel) -> None:
    chance = Random(1)
    start = clock.seconds()
    items = {Item(): chance.uniform(0, 90) for _ in range(2000)}
    for item, delay_s in items.items():
        wheel.arm(item, delay_s, start)
    for _ in range(10_000):
        clock.advance(0.01)
    for item, delay_s in items.items():
        assert len(item.due) == 1
        assert 0 <= item.due[0] - (start + delay_s) <= slot_width_ms(delay_s) / 1000 + 0.011


def test_the_slots_are_about_one_percent_of_the_wait() -> None:
    for delay_s in (5.0, 59.0, 60.0, 599.0, 600.0, 6000.0):
        assert slot_width_ms(delay_s) / 1000 <= max(0.05, delay_s / 10)
    assert slot_width_ms(0.0) == 50


def test_arming_again_replaces_the_deadline(clock: Clock, wheel: TimerWheel) -> None:
    item = Item()
    wheel.arm(item, 1, clock.seconds())
    wheel.arm(item, 3, clock.seconds())
    assert len(wheel) == 1
    clock.advance(2)
    assert not item.due
    clock.advance(1.1)
    assert len(item.due) == 1
    clock.advance(10)
    assert len(item.due) == 1


def test_an_earlier_deadline_overtakes_a_later_one(clock: Clock, wheel: TimerWheel) -> None:
    wheel.arm(late := Item(), 100, clock.seconds())
    wheel.arm(early := Item(), 1, clock.seconds())
    clock.advance(1.1)
    assert (len(early.due), len(late.due)) == (1, 0)


def test_what_is_disarmed_does_not_come(clock: Clock, wheel: TimerWheel) -> None:
    item = Item()
    wheel.arm(item, 1, clock.seconds())
    wheel.disarm(item)
    wheel.disarm(item)
    clock.advance(5)
    assert not item.due
    assert (len(wheel), item.timer_slot) == (0, None)


def test_one_that_is_due_may_arm_itself_again(clock: Clock, wheel: TimerWheel) -> None:
    item: Item = Item(lambda: wheel.arm(item, 1, clock.seconds()))
    wheel.arm(item, 1, clock.seconds())
    for _ in range(500):
        clock.advance(0.01)
    assert len(item.due) == 4
    assert len(wheel) == 1


def test_one_that_arms_itself_for_now_does_not_hang_the_loop(clock: Clock, wheel: TimerWheel) -> None:
    item: Item = Item(lambda: wheel.arm(item, 0, clock.seconds()))
    wheel.arm(item, 0, clock.seconds())
    clock.advance(1)
    assert len(item.due) >= 1


def test_one_that_arms_itself_for_the_past_lets_the_loop_have_its_turn_before_it_comes_again() -> None:
    # Seen under load: a batch of events had begun 200 ms ago, whose time an HTTP session goes by when it arms itself.
    # It was due again in the same tick, and so on without end: that time moves on with the next batch alone.
    class Turns(Clock):
        taken = 0

        def callLater(self, *what: Any, **named: Any) -> Any:
            self.taken += 1
            return super().callLater(*what, **named)

    clock = Turns()
    clock.advance(1000.0)
    wheel = TimerWheel(clock)
    turns: list[int] = []

    def again() -> None:
        turns.append(clock.taken)
        if len(turns) < 4:
            wheel.arm(item, 0.05, 1000.0)

    wheel.arm(item := Item(again), 0.05, 1000.0)
    clock.advance(0.5)
    assert len(set(turns)) == len(turns) == 4


def test_one_that_fails_does_not_stop_the_rest(clock: Clock, wheel: TimerWheel, logged: list[LogEvent]) -> None:
    items = [Item(lambda: 1 // 0), Item(), Item(lambda: 1 // 0), Item()]
    for item in items:
        wheel.arm(item, 1, clock.seconds())
    wheel.arm(later := Item(), 2, clock.seconds())
    clock.advance(1.1)
    assert [len(item.due) for item in items] == [1, 1, 1, 1]
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError] * 2
    clock.advance(1)
    assert len(later.due) == 1


def test_one_that_was_due_with_it_can_disarm_another(clock: Clock, wheel: TimerWheel) -> None:
    items: list[Item] = []

    def disarm_all() -> None:
        for item in items:
            wheel.disarm(item)

    items.extend(Item(disarm_all) for _ in range(3))
    for item in items:
        wheel.arm(item, 1, clock.seconds())
    clock.advance(2)
    assert sum(len(item.due) for item in items) == 1, "the first of them disarmed the other two"


def test_one_that_was_due_with_it_can_put_another_off(clock: Clock, wheel: TimerWheel) -> None:
    items: list[Item] = []

    def put_off() -> None:
        for other in items:
            if not other.due:
                wheel.arm(other, 1, clock.seconds())

    items.extend(Item(put_off) for _ in range(2))
    for item in items:
        wheel.arm(item, 1, clock.seconds())
    clock.advance(1.1)
    assert sorted(len(item.due) for item in items) == [0, 1]
    clock.advance(1.1)
    assert [len(item.due) for item in items] == [1, 1]


def test_a_clock_that_jumps_finds_everything_that_is_due(clock: Clock, wheel: TimerWheel) -> None:
    items = [Item() for _ in range(50)]
    for number, item in enumerate(items):
        wheel.arm(item, number * 10, clock.seconds())
    clock.advance(100_000)
    assert [len(item.due) for item in items] == [1] * 50
    assert len(wheel) == 0


def test_a_deadline_in_the_past_comes_at_once(clock: Clock, wheel: TimerWheel) -> None:
    wheel.arm(item := Item(), -5, clock.seconds())
    clock.advance(0)
    assert len(item.due) == 1


def test_it_does_not_grow_with_what_was_armed_before(clock: Clock, wheel: TimerWheel) -> None:
    chance = Random(1)
    items = [Item() for _ in range(100)]
    for _ in range(1000):
        for item in items:
            wheel.arm(item, chance.uniform(0, 3600), clock.seconds())
        clock.advance(1)
    assert len(wheel) <= len(items)
    # One slot per width in sight, whatever has been armed: 100 of 50 ms, 110 of 500 ms, 108 of 5 s, 50 of 60 s.
    assert len(wheel._slots) < 500
    assert len(wheel._order) == len(wheel._slots)


def test_the_reactor_has_one_timer_for_all(clock: Clock, wheel: TimerWheel) -> None:
    items = [Item() for _ in range(1000)]
    for number, item in enumerate(items):
        wheel.arm(item, 1000 - number, clock.seconds())
        assert len(clock.getDelayedCalls()) == 1


def test_a_wheel_with_nothing_to_wait_for_asks_the_reactor_for_nothing(clock: Clock, wheel: TimerWheel) -> None:
    items = [Item() for _ in range(10)]
    for item in items:
        wheel.arm(item, 5, clock.seconds())
    for item in items:
        wheel.disarm(item)
    clock.advance(10)
    assert clock.getDelayedCalls() == []
    assert wheel._slots == {}


def test_it_is_exact_at_the_seconds_of_the_epoch() -> None:
    """A reactor's clock has ten digits before the point; what is lost behind it must not make a deadline early."""
    clock = Clock()
    clock.advance(1_795_376_895.4321)
    wheel = TimerWheel(clock)
    wheel.arm(item := Item(), 0.5, clock.seconds())
    for _ in range(499):
        clock.advance(0.001)
    assert not item.due
    clock.advance(0.055)
    assert len(item.due) == 1


def test_whoever_is_due_can_go_by_the_hands() -> None:
    """They showed when the last batch of events began: what was armed by them was due at once, again and again."""
    clock, hands = Clock(), SimpleNamespace(now=0.0)
    wheel = TimerWheel(clock, hands)

    class Watch:
        timer_slot: Any = None
        seen: list[float]

        def timer_due(self, now: float) -> None:
            self.seen.append(hands.now)
            wheel.arm(self, 1.0, hands.now)

    watch = Watch()
    watch.seen = []
    wheel.arm(watch, 1.0, hands.now)
    clock.pump([0.5] * 8)
    assert watch.seen == [1.5, 3.0]
    clock.advance(30)
    assert len(watch.seen) == 3
