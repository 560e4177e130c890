"""A table that several machines count in: what this one has to tell the others, and what it has heard of them.

How that travels is a store's business (``api.ITableStore``); this is the state on our side. The own counts are kept as
in any table, so that they can decide alone when nobody else can be asked.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from twisted_lb.tables.counters import COUNTERS, Counter, Event, Kind
from twisted_lb.tables.table import Table

QUEUED = 10_000
"""Keys at most whose counts wait to be told; those of further ones are not told to anybody, and counted in ``lost``."""
WATCHED = 5_000
"""Keys at most of which is known what the others have: those that were used last."""
BATCH = 500
"""Keys at most that are asked about at once."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What one machine tells about one key.

    ``connections``: how many it has open now. ``counted``: how many events of each kind in ``TableBatch.events`` it has
    counted since it told last. ``fresh``: whether these are of the last ``window_ms``, and so belong to the rates.
    """

    key: bytes
    connections: int
    counted: Sequence[int]
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class TableBatch:
    """What a store is asked: to add what this machine has counted, and to tell what all together have.

    ``machine``: this process, whose connections no longer count when it has said nothing for ``lease_ms``.
    ``events``: the names of what is counted. ``expire_ms``: after what time without use an entry may be forgotten.
    """

    table: str
    machine: str
    window_ms: int
    expire_ms: int
    lease_ms: int
    events: Sequence[str]
    entries: Sequence[TableEntry]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all machines together have of one key.

    ``others``: connections of all machines but this one. ``totals``, ``currents``, ``previous``: of each event of the
    batch, how many there were in all, in the current bucket of ``window_ms``, and in the one before.
    """

    others: int
    totals: Sequence[int]
    currents: Sequence[int]
    previous: Sequence[int]


@dataclass(frozen=True, slots=True)
class TableReply:
    """What a store answers. ``elapsed_ms``: how much of the current bucket is over, by the store's clock.

    ``known``: whether the store still knew this machine; if not, it has forgotten its connections too.
    ``entries``: in the batch's order.
    """

    elapsed_ms: int
    known: bool
    entries: Sequence[Shared]


_Seen = tuple[float, Shared]
"""When the current bucket began, by our clock, and what there was."""


class SharedTable(Table):
    """A table, and what is known of the other machines' counts.

    ``alone``: whether nobody else can be asked now; then the own counts are all that counts.
    ``lost``: how many entries' counts were never told, for there were too many.
    """

    def __init__(self, size: int, expire_s: float, window_s: float, seconds: Callable[[], float]) -> None:
        super().__init__(size, expire_s, window_s, seconds)
        self.alone = True
        self.lost = 0
        self._events: list[Event] = []
        self._place: dict[Event, int] = {}
        self._queued: dict[bytes, tuple[float, list[int]]] = {}
        self._watched: OrderedDict[bytes, tuple[float, _Seen | None]] = OrderedDict()
        self._asking: dict[bytes, list[int]] = {}

    def keep(self, counters: Iterable[str]) -> None:
        """See ``Table``."""
        super().keep(counters)
        events = {COUNTERS[name].event for name in self.kept if COUNTERS[name].kind is not Kind.CURRENT}
        if events != set(self._events):
            # What waits was counted by other places; the little that it is, is forgotten.
            self._queued.clear()
            self._watched.clear()
            self._asking.clear()
            self._events = sorted(events)
            self._place = {event: place for place, event in enumerate(self._events)}

    def resize(self, size: int, expire_s: float, window_s: float) -> None:
        """See ``Table``."""
        if window_s != self.window_s:
            self._queued.clear()
            self._watched.clear()
            self._asking.clear()
        super().resize(size, expire_s, window_s)

    @property
    def events(self) -> Sequence[str]:
        """The names of what it counts, in the order of ``TableEntry.counted``."""
        return [event.name.lower() for event in self._events]

    # Counting

    def enter(self, key: bytes) -> bool:
        """See ``Table``."""
        self.watch(key)
        return super().enter(key)

    def count(self, key: bytes, event: Event, amount: int = 1) -> None:
        """See ``Table``."""
        super().count(key, event, amount)
        place = self._place.get(event)
        if place is not None:
            counted = self._waiting(key)
            if counted is not None:
                counted[place] += amount

    def connect(self, key: bytes) -> bool | None:
        """See ``Table``."""
        self.watch(key)
        held = super().connect(key)
        if held is not None:
            counted = self._waiting(key)
            place = self._place.get(Event.CONNECTION)
            if counted is not None and place is not None:
                counted[place] += 1
        return held

    def release(self, key: bytes) -> None:
        """See ``Table``."""
        super().release(key)
        self._waiting(key)

    def _waiting(self, key: bytes) -> list[int] | None:
        """Return what of ``key`` waits to be told; ``None`` if too much waits already."""
        waiting = self._queued.get(key)
        if waiting is None:
            if len(self._queued) >= QUEUED:
                self.lost += 1
                return None
            waiting = self._queued[key] = (self._seconds(), [0] * len(self._events))
        return waiting[1]

    def watch(self, key: bytes) -> None:
        """Ask in the coming rounds what the others have of ``key``."""
        known = self._watched.pop(key, None)
        self._watched[key] = (self._seconds(), known[1] if known else None)
        if len(self._watched) > WATCHED:
            self._watched.popitem(last=False)

    # Reading

    def value(self, key: bytes, counter: Counter) -> int:
        """See ``Table``: what all machines together have, as far as that is known."""
        own = super().value(key, counter)
        if self.alone:
            return own
        known = self._watched.get(key)
        if known is None or known[1] is None:
            return own
        began, shared = known[1]
        if counter.kind is Kind.CURRENT:
            return own + shared.others
        place = self._place.get(counter.event)
        if place is None:
            return own
        waiting = self._queued.get(key)
        untold = waiting[1][place] if waiting else 0
        # A store that has lost its data knows less than we do. What is on its way belongs to decisions to come.
        asking = self._asking.get(key)
        if asking is not None:
            own -= asking[place]
        if counter.kind is Kind.TOTAL:
            return max(own, shared.totals[place] + untold)
        return max(own, self._of_all(began, shared.currents[place] + untold, shared.previous[place]))

    def _of_all(self, began: float, current: int, previous: int) -> int:
        at = (self._seconds() - began) / self.window_s
        if at < 1:
            return current + int(previous * (1 - max(at, 0)))
        return int(current * (2 - at)) if at < 2 else 0

    # Telling and hearing

    @property
    def queued(self) -> int:
        """How many keys' counts wait to be told."""
        return len(self._queued)

    def waiting(self) -> list[bytes]:
        """Return the keys whose counts wait to be told. What does not arrive is given back with ``untold``."""
        return list(self._queued)

    def tell(self, key: bytes) -> TableEntry:
        """Take what waits of one key; nothing new is a question too."""
        since, counted = self._queued.pop(key, (self._seconds(), [0] * len(self._events)))
        fresh = self._seconds() - since <= self.window_s
        if any(counted):
            asking = self._asking.setdefault(key, [0] * len(counted))
            for place, amount in enumerate(counted):
                asking[place] += amount
        return TableEntry(key, self._open(key), counted, fresh)

    def _heard_of(self, entries: Sequence[TableEntry]) -> None:
        """What was told is no longer on its way."""
        for entry in entries:
            asking = self._asking.get(entry.key)
            if asking is None or not any(entry.counted) or len(asking) != len(entry.counted):
                continue
            for place, amount in enumerate(entry.counted):
                asking[place] = max(0, asking[place] - amount)
            if not any(asking):
                del self._asking[entry.key]

    def _open(self, key: bytes) -> int:
        slot = self._slots.get(key)
        return 0 if slot is None or self._connections is None else self._connections[slot]

    def to_ask(self) -> list[bytes]:
        """Return the keys that were used within the last window; the others need not be watched any more."""
        before = self._seconds() - self.window_s
        while self._watched:
            key, (used, _) = next(iter(self._watched.items()))
            if used >= before:
                break
            del self._watched[key]
        return list(self._watched)

    def untold(self, entries: Sequence[TableEntry]) -> None:
        """Let entries wait again that did not arrive, or of which nobody knows whether they did."""
        self._heard_of(entries)
        for entry in entries:
            if len(entry.counted) != len(self._events):
                continue  # counted by other places, before a reload
            counted = self._waiting(entry.key)
            if counted is not None:
                for place, amount in enumerate(entry.counted):
                    counted[place] += amount
            if not entry.fresh and entry.key in self._queued:
                # As old as the oldest part of it: a rate must not rise by what happened long ago.
                self._queued[entry.key] = (self._seconds() - 2 * self.window_s, self._queued[entry.key][1])

    def told(self, entries: Sequence[TableEntry], reply: TableReply) -> None:
        """Note what a store answered."""
        began = self._seconds() - reply.elapsed_ms / 1000
        self._heard_of(entries)
        for entry, shared in zip(entries, reply.entries, strict=True):
            known = self._watched.get(entry.key)
            if known is not None and len(shared.totals) == len(self._events):
                self._watched[entry.key] = (known[0], (began, shared))
        if not reply.known:
            self.tell_connections()

    def tell_connections(self) -> None:
        """Tell anew how many connections are open, as they may have been forgotten; as many as can wait."""
        connections = self._connections
        if connections is None:
            return
        for key, slot in self._slots.items():
            if connections[slot] and self._waiting(key) is None:
                return
