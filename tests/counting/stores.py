"""A store in memory that machines share, and what else tests of counting need; runs no test itself."""

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_lb.api import Facts, ITableStore, Shared, SocketAddress, TableBatch, TableReply
from twisted_lb.config.uses import TableStoreUse
from twisted_lb.counting.exchange import Exchange
from twisted_lb.counting.named import NamedTable
from twisted_lb.declared import OWN_FACTS
from twisted_lb.plugin_host import Built
from twisted_lb.tables.keys import parse_key
from twisted_lb.tables.sharing import SharedTable
from twisted_lb.tables.table import Table

WINDOW_S, EXPIRE_S = 10.0, 60.0


class Shelf:
    """What machines have told: totals, never fading, by key; and the connections of each machine."""

    def __init__(self) -> None:
        self.totals: dict[bytes, list[int]] = {}
        self.connections: dict[bytes, dict[str, int]] = {}
        self.machines: set[str] = set()

    def add(self, batch: TableBatch) -> TableReply:
        known = batch.machine in self.machines
        self.machines.add(batch.machine)
        shared = []
        for entry in batch.entries:
            totals = self.totals.setdefault(entry.key, [0] * len(batch.events))
            for place, amount in enumerate(entry.counted):
                totals[place] += amount
            opened = self.connections.setdefault(entry.key, {})
            opened[batch.machine] = entry.connections
            others = sum(count for machine, count in opened.items() if machine != batch.machine)
            shared.append(Shared(others, list(totals), list(totals), [0] * len(totals)))
        return TableReply(0, known, shared)


@implementer(ITableStore)
class ShelfStore:
    """One machine's way to a shelf.

    ``how``: "answers", "fails", "nothing", "nonsense", "torn", "short", or "raises", whatever it is asked.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.how = "answers"
        self.is_open = False
        self.cancelled = 0
        self.batches: list[TableBatch] = []

    def open(self) -> None:
        """See ``ITableStore``."""
        self._maybe_raise()
        self.is_open = True

    def close(self) -> None:
        """See ``ITableStore``."""
        self._maybe_raise()
        self.is_open = False

    def exchange(self, batch: TableBatch) -> "Deferred[Any]":
        """See ``ITableStore``."""
        self.batches.append(batch)
        self._maybe_raise()
        if self.how == "fails":
            return fail(OSError("unplugged"))
        if self.how == "nothing":
            return Deferred(self._cancel)
        if self.how == "nonsense":
            return succeed("nonsense")
        if self.how == "torn":
            return succeed(TableReply("soon", True, self.shelf.add(batch).entries))  # type: ignore[arg-type]
        reply = self.shelf.add(batch)
        if self.how == "short":
            return succeed(replace(reply, entries=[replace(one, currents=()) for one in reply.entries]))
        return succeed(reply)

    def _maybe_raise(self) -> None:
        if self.how == "raises":
            raise SystemExit("not an Exception")

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1


class Machine:
    """One machine with a shared table, keyed by the source."""

    def __init__(self, clock: Clock, shelf: Shelf, name: str = "one", **settings: Any) -> None:
        self.clock = clock
        self.store = ShelfStore(shelf)
        self.table = SharedTable(100, EXPIRE_S, WINDOW_S, clock.seconds)
        self.table.keep(["connections", "connection_count"])
        use = TableStoreUse(use="shelf", **settings)
        built = Built("plugin", "shelf", self.store)
        self.exchange = Exchange("t", self.table, built, use, clock, name)  # type: ignore[arg-type]

    @property
    def named(self) -> NamedTable:
        """The table as rules have it."""
        bounds = 100, EXPIRE_S, WINDOW_S
        return NamedTable("t", key_of("source"), self.table, bounds, exchange=self.exchange)


def key_of(text: str) -> Any:
    """Read a key that is made of what the proxy itself knows, or of what was learnt."""
    return parse_key(text, lambda name: (OWN_FACTS[name], OWN_FACTS[name].get or (lambda facts: None)))


def named(clock: Clock, key: str = "source", size: int = 100, *counters: str) -> NamedTable:
    """Make a table in memory that keeps these counters."""
    table = Table(size, EXPIRE_S, WINDOW_S, clock.seconds)
    table.keep(counters or ("connections", "connection_count", "request_count", "error_count", "gpc0"))
    return NamedTable("t", key_of(key), table, (size, EXPIRE_S, WINDOW_S))


def facts_of(host: str = "192.0.2.7", http: Any = None) -> Facts:
    """Make the facts of a connection."""
    facts = Facts(SocketAddress(host, 4711), SocketAddress("192.0.2.1", 80), "web", "*:80")
    facts.http = http
    return facts
