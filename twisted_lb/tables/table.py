"""A table in memory: counters by key, with sliding windows, bounded in size and in time.

An entry is a slot: a place in columns that hold one number each. Only counters that somebody reads have a column, so
that an entry takes 150 to 165 bytes without its counters, and 4 to 16 bytes more for each of them.

Rates are sliding averages over two buckets: what the current bucket of ``window_s`` seconds has, and of the one before
the part that the window still reaches into, as if its events had come evenly. The true number is never below the first
and never above both together, so the error is at most the number of events in the bucket before; of evenly spread
events there is none. Thus whoever is held below a rate gets at most twice that many through within any one window,
and never more on the average. Source: HAProxy's ``freq_ctr`` does the same.
"""

import mmap
from collections.abc import Callable, Iterable
from typing import TypeAlias

from twisted_lb.tables.counters import COUNTERS, Counter, Event, Kind

_TICKS_PER_S = 8
"""In which the time of an entry's last use is kept: 32 bits of them last for 17 years."""
_WRAP = 0xFFFFFFFF
_WIDTH = {"I": 4, "Q": 8}
_HELD = 0
"""The slot that no entry has. The entries that may go form a ring through it, the one used longest ago first."""


# Looking a member up on its Enum is a call of a Python function on 3.11.
_CONNECTION, _CURRENT, _TOTAL = Event.CONNECTION, Kind.CURRENT, Kind.TOTAL

Column: TypeAlias = "memoryview[int]"


def _column(code: str, places: int) -> Column:
    """Make a column of zeros. The kernel gives it memory where it is written to; nothing is copied as it grows."""
    zeros = mmap.mmap(-1, places * _WIDTH[code], flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return memoryview(zeros).cast("I" if code == "I" else "Q")


class Table:
    """Counters of one kind of key.

    An entry begins with the first ``enter``, ``count`` or ``connect`` of its key. It is gone ``expire_s`` seconds after
    the last one, or before if the table is full and it is the one used longest ago. One that is held, as its
    connections have not ended, stays whatever happens; a table full of these takes no more keys.

    ``seconds``: a clock. One that jumps costs the rates, and nothing else.
    ``evicted``: how many entries went before their time. ``refused``: how often there was no place.
    """

    def __init__(self, size: int, expire_s: float, window_s: float, seconds: Callable[[], float]) -> None:
        self.size = size
        self.expire_s = expire_s
        self.window_s = window_s
        self.evicted = 0
        self.refused = 0
        self._seconds = seconds
        self._slots: dict[bytes, int] = {}
        self._keys: list[bytes | None] = [None]
        self._places = size + 1
        self._next = _column("I", self._places)
        self._previous = _column("I", self._places)
        self._used = _column("I", self._places)
        self._bucket = _column("I", self._places)
        self._connections: Column | None = None
        self._totals: list[Column | None] = [None] * len(Event)
        self._rates: list[tuple[Column, Column] | None] = [None] * len(Event)
        self._counters: tuple[Column, ...] = ()
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __str__(self) -> str:
        """Say for people how full it is."""
        return (
            f"{len(self)} of {self.size} entries; {self.evicted} went before their time,"
            f" {self.refused} times there was no place"
        )

    # What it keeps

    def keep(self, counters: Iterable[str]) -> None:
        """Keep these counters too, from now on; those that there are go on."""
        for name in counters:
            counter = COUNTERS[name]
            event = counter.event
            if counter.kind is Kind.CURRENT:
                if self._connections is None:
                    self._connections = self._added("I")
            elif counter.kind is Kind.TOTAL:
                if self._totals[event] is None:
                    self._totals[event] = self._added("Q")
            elif self._rates[event] is None:
                code = "Q" if event in (Event.BYTES_IN, Event.BYTES_OUT) else "I"
                self._rates[event] = self._added(code), self._added(code)

    @property
    def kept(self) -> frozenset[str]:
        """The names of the counters that it keeps."""
        return frozenset(name for name, counter in COUNTERS.items() if self.keeps(counter))

    def keeps(self, counter: Counter) -> bool:
        """Tell whether a counter is kept."""
        if counter.kind is Kind.CURRENT:
            return self._connections is not None
        return (self._totals if counter.kind is Kind.TOTAL else self._rates)[counter.event] is not None

    def _added(self, code: str) -> Column:
        column = _column(code, self._places)
        self._counters += (column,)
        return column

    def resize(self, size: int, expire_s: float, window_s: float) -> None:
        """Go on with other bounds; rates begin anew with another window."""
        self.expire_s = expire_s
        while len(self._slots) > size and self._next[_HELD] != _HELD:
            self._remove(self._next[_HELD])
        self.size = size
        if size >= self._places:
            self._widen(size + 1)
        if window_s != self.window_s:
            self.window_s = window_s
            for slot in self._slots.values():
                # What was counted within the old window is as if it had been long ago.
                self._turn(slot, self._bucket[slot] + 2 & _WRAP)

    def _widen(self, places: int) -> None:
        """Make room for more slots, in columns of that many places."""
        self._places = places
        self._next, self._previous = self._wider(self._next), self._wider(self._previous)
        self._used, self._bucket = self._wider(self._used), self._wider(self._bucket)
        before, self._counters = self._counters, ()
        wider = {id(column): self._wider(column) for column in before}
        self._counters = tuple(wider.values())
        if self._connections is not None:
            self._connections = wider[id(self._connections)]
        self._totals = [None if total is None else wider[id(total)] for total in self._totals]
        self._rates = [None if rate is None else (wider[id(rate[0])], wider[id(rate[1])]) for rate in self._rates]

    def _wider(self, column: Column) -> Column:
        wider = _column(column.format, self._places)
        wider[: len(column)] = column
        return wider

    # Counting. Once per connection, so the clock is read once each, and what is small is written out.

    def enter(self, key: bytes) -> bool:
        """Note that ``key`` is there. Returns: whether there is a place for it."""
        return bool(self._slot(key, self._seconds()))

    def count(self, key: bytes, event: Event, amount: int = 1) -> None:
        """Count ``amount`` more events; nothing happens if there is no place for the key."""
        now = self._seconds()
        slot = self._slot(key, now)
        if slot:
            self._add(slot, event, amount, now)

    def connect(self, key: bytes) -> bool | None:
        """Count a connection that begins; where connections are counted, its entry is held until it is released.

        Returns: whether it is held, ``None`` if there is no place for the key.
        """
        now = self._seconds()
        slot = self._slot(key, now)
        if not slot:
            return None
        self._add(slot, _CONNECTION, 1, now)
        connections = self._connections
        if connections is None:
            return False
        if not connections[slot]:
            self._unlink(slot)
        connections[slot] += 1
        return True

    def _add(self, slot: int, event: Event, amount: int, now: float) -> None:
        total = self._totals[event]
        if total is not None:
            total[slot] += amount
        rate = self._rates[event]
        if rate is not None:
            bucket = int(now / self.window_s) & _WRAP
            if bucket != self._bucket[slot]:
                self._turn(slot, bucket)
            try:
                rate[0][slot] += amount
            except ValueError:  # more than the column has bits for, and beyond every limit
                rate[0][slot] = _WRAP

    def release(self, key: bytes) -> None:
        """One connection less; once for each that is held."""
        slot = self._slots[key]
        connections = self._connections
        assert connections is not None
        connections[slot] -= 1
        if not connections[slot]:
            self._used[slot] = int(self._seconds() * _TICKS_PER_S) & _WRAP
            self._link(slot)

    # Reading

    def value(self, key: bytes, counter: Counter) -> int:
        """Return what is counted, 0 for what is not there; reading does not count as using an entry.

        What was not kept so far is from the first time on that it is asked for.
        """
        slot = self._slots.get(key)
        if slot is None:
            return 0
        kind = counter.kind
        if kind is _CURRENT:
            if self._connections is None:
                self.keep([counter.name])
                return 0
            return self._connections[slot]
        now = self._seconds()
        if self._expired(slot, now):
            return 0
        if kind is _TOTAL:
            total = self._totals[counter.event]
            if total is None:
                self.keep([counter.name])
                return 0
            return total[slot]
        rate = self._rates[counter.event]
        if rate is None:
            self.keep([counter.name])
            return 0
        at = now / self.window_s
        bucket = int(at)
        behind = (bucket - self._bucket[slot]) & _WRAP
        if behind == 0:
            return rate[0][slot] + int(rate[1][slot] * (1.0 - (at - bucket)))
        return int(rate[0][slot] * (1.0 - (at - bucket))) if behind == 1 else 0

    def entries(self) -> list[bytes]:
        """Return the keys of all entries."""
        now = self._seconds()
        return [key for key, slot in self._slots.items() if not self._expired(slot, now)]

    # Slots

    def _expired(self, slot: int, now: float) -> bool:
        age = (int(now * _TICKS_PER_S) - self._used[slot]) & _WRAP
        # More than half of all ticks ago is a moment to come: the clock has jumped back.
        if not self.expire_s * _TICKS_PER_S < age <= _WRAP // 2:
            return False
        return self._connections is None or not self._connections[slot]

    def _slot(self, key: bytes, now: float) -> int:
        """Return the slot of ``key``, made if need be, as the one used last; 0 if there is no place."""
        slot = self._slots.get(key)
        if slot is None:
            return self._make(key, now)
        tick = int(now * _TICKS_PER_S) & _WRAP
        age = (tick - self._used[slot]) & _WRAP
        if not age or (self._connections is not None and self._connections[slot]):
            return slot
        if self.expire_s * _TICKS_PER_S < age <= _WRAP // 2:
            self._clear(slot)
        self._used[slot] = tick
        self._unlink(slot)
        self._link(slot)
        return slot

    def _make(self, key: bytes, now: float) -> int:
        oldest = self._next[_HELD]
        for _ in range(2):  # two go for one that comes, so that the table shrinks when it is used less
            if oldest == _HELD or not self._expired(oldest, now):
                break
            self._remove(oldest)
            oldest = self._next[_HELD]
        if len(self._slots) >= self.size:
            if oldest == _HELD:
                self.refused += 1
                return 0
            self._remove(oldest)
            self.evicted += 1
        slot = self._free.pop() if self._free else self._grow()
        self._slots[key] = slot
        self._keys[slot] = key
        self._used[slot] = int(now * _TICKS_PER_S) & _WRAP
        self._link(slot)
        return slot

    def _grow(self) -> int:
        self._keys.append(None)
        return len(self._keys) - 1

    def _remove(self, slot: int) -> None:
        key = self._keys[slot]
        assert key is not None
        del self._slots[key]
        self._unlink(slot)
        self._clear(slot)
        self._keys[slot] = None
        self._free.append(slot)

    def _clear(self, slot: int) -> None:
        for column in self._counters:
            column[slot] = 0

    def _link(self, slot: int) -> None:
        last = self._previous[_HELD]
        self._next[last] = self._previous[_HELD] = slot
        self._previous[slot] = last
        self._next[slot] = _HELD

    def _unlink(self, slot: int) -> None:
        before, behind = self._previous[slot], self._next[slot]
        self._next[before] = behind
        self._previous[behind] = before

    def _turn(self, slot: int, bucket: int) -> None:
        """Begin a new bucket of all rates of an entry."""
        follows = (bucket - self._bucket[slot]) & _WRAP == 1
        for rate in self._rates:
            if rate is not None:
                current, previous = rate
                previous[slot] = current[slot] if follows else 0
                current[slot] = 0
        self._bucket[slot] = bucket
