"""Deadlines for many sessions at the price of one reactor timer.

Sessions do not move a timer at each byte. They are armed once, and when their slot comes up they look at what happened
since and arm themselves again or end. Slots far away are coarse: a deadline is met up to one slot late, never early.
"""

from heapq import heappop, heappush
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


def slot_width_ms(delay_s: float) -> int:
    """How coarse deadlines are that far away: about one percent of the wait, and never less than 50 ms."""
    if delay_s < 5.0:
        return 50
    if delay_s < 60.0:
        return 500
    return 5_000 if delay_s < 600.0 else 60_000


REMEMBERED_DELAYS = 64
"""Nearly all delays are settings, of which there are few."""


class Timed(Protocol):
    """What can be armed; ``timer_slot`` belongs to the wheel and starts as ``None``."""

    timer_slot: "set[Timed] | None"

    def timer_due(self, now: float) -> None:
        """The deadline has passed; ``now`` in the clock's seconds. No longer armed; may arm itself again."""


class Hands(Protocol):
    """What tells the time to those who were woken by something else than the wheel: a ``Poller``."""

    now: float


class TimerWheel:
    """All deadlines of one process. ``hands``: set to the current time before anybody is told that it is due."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, hands: Hands | None = None) -> None:
        self.clock = clock
        self._hands = hands
        self._slots: dict[int, set[Timed]] = {}
        self._next: dict[float, tuple[float, set[Timed]]] = {}
        """By delay: the slot of who is armed now, and until when it is."""
        self._order: list[int] = []
        self._call: IDelayedCall | None = None
        self._called_at = 0

    def arm(self, item: Timed, delay_s: float, now: float) -> None:
        """Call ``item.timer_due`` once ``delay_s`` seconds after ``now``; replaces what was armed before."""
        known = self._next.get(delay_s)
        slot = known[1] if known is not None and now < known[0] else self._slot_for(delay_s, now)
        before = item.timer_slot
        if before is not None:
            before.discard(item)
        slot.add(item)
        item.timer_slot = slot

    def _slot_for(self, delay_s: float, now: float) -> "set[Timed]":
        width = slot_width_ms(delay_s)
        key = (int((now + delay_s) * 1000) // width + 1) * width
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = set()
            heappush(self._order, key)
            if self._call is None or key < self._called_at:
                self._schedule(key)
        if len(self._next) >= REMEMBERED_DELAYS:
            self._next.clear()
        self._next[delay_s] = key / 1000 - delay_s, slot
        return slot

    def disarm(self, item: Timed) -> None:
        """Forget the deadline of ``item``, if it has one."""
        if item.timer_slot is not None:
            item.timer_slot.discard(item)
            item.timer_slot = None

    def __len__(self) -> int:
        """How many items are armed."""
        return sum(map(len, self._slots.values()))

    def _schedule(self, key: int) -> None:
        delay = max(0.0, key / 1000 - self.clock.seconds())
        self._called_at = key
        if self._call is not None:
            self._call.reset(delay)
        else:
            self._call = self.clock.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._call = None
        now = self.clock.seconds()
        if self._hands is not None:
            self._hands.now = now  # the last batch of events may have begun long ago
        self._next.clear()
        due = []
        while self._order and self._order[0] <= now * 1000:
            due.append(self._slots.pop(heappop(self._order)))
        # Whoever is due and arms itself for a moment that has passed as well is asked in the next tick: who goes by the
        # time at which a batch of events began, long ago on a busy machine, would be asked here for ever.
        for slot in due:
            for item in tuple(slot):
                if item.timer_slot is not slot:
                    continue  # disarmed or armed anew by one that was due before it
                item.timer_slot = None
                try:
                    item.timer_due(now)
                except Exception:
                    self._log.failure("a timer failed")
        # Those who were due may have armed somebody, and disarmed it: nobody must be put into a slot that goes now.
        self._next.clear()
        while self._order and not self._slots[self._order[0]]:
            del self._slots[heappop(self._order)]
        if self._order:
            self._schedule(self._order[0])
