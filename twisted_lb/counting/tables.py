"""All tables of one configuration: those that it names, and those that limits have for themselves.

A reload makes new ones of these, and takes over from those before what is still the same: a table with its counts, and
its exchange. Nothing that serves is touched before ``begin``.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_lb.config import model
from twisted_lb.config.uses import TableStoreUse
from twisted_lb.counting.entries import AskFirst
from twisted_lb.counting.exchange import Exchange
from twisted_lb.counting.named import NamedTable, counters_in
from twisted_lb.plugin_host import Built
from twisted_lb.tables.keys import Key
from twisted_lb.tables.sharing import SharedTable
from twisted_lb.tables.table import Table

MEMORY = "memory"
"""The ``store`` of a table that is not shared."""
OWN_SIZE = 100_000
"""Entries at most of a table that a limit has for itself."""
OWN_EXPIRE_S = 60.0
"""How long at least an entry of such a table is kept; two windows if that is longer."""

BuildStore = Callable[[TableStoreUse], Built[Any]]


class Tables:
    """The tables of one configuration. ``before``: those that were in force before, empty at the start."""

    _log = Logger(namespace="twisted_lb.tables")

    def __init__(self, clock: IReactorTime, before: "Tables | None" = None) -> None:
        self.named: dict[str, NamedTable] = {}
        self.faulty: set[str] = set()
        """The names of those that could not be made; what is wrong with them is told."""
        self.machine: str = secrets.token_hex(8) if before is None else before.machine
        self._own: dict[tuple[str, str, str, float | None, str | None], NamedTable] = {}
        self._clock = clock
        self._before = before

    def add(self, name: str, settings: model.Table, key: Key, build_store: BuildStore) -> None:
        """Make a table of the configuration. Raises: ConfigError if its store cannot be built."""
        settings = msgspec.structs.replace(settings, store=msgspec.structs.replace(settings.store, where=""))
        bounds = settings.size, float(settings.expire), float(settings.window)
        kept = self._kept(name, settings)
        if kept is not None:
            # The key was understood anew: what it says of its fact may come from another plugin now.
            self.named[name] = replace(kept, key=key, bounds=bounds, settings=settings, wanted=set())
            if settings.store.use != MEMORY:
                build_store(settings.store)  # so that what is wrong with it is told, as at the start
            return
        seconds = self._clock.seconds
        if settings.store.use == MEMORY:
            self.named[name] = NamedTable(name, key, Table(*bounds, seconds), bounds, settings)
            return
        table = SharedTable(*bounds, seconds)
        store = build_store(settings.store)
        exchange = Exchange(name, table, store, settings.store, self._clock, self.machine)
        self.named[name] = NamedTable(name, key, table, bounds, settings, exchange)

    def _kept(self, name: str, settings: model.Table) -> NamedTable | None:
        before = None if self._before is None else self._before.named.get(name)
        if before is None or before.settings is None:
            return None
        same = before.settings.key == settings.key and before.settings.store == settings.store
        return before if same else None

    def own(
        self, frontend: str, measure: str, key: Key, window_s: float | None, condition: str | None = None
    ) -> NamedTable:
        """Return the table of a limit of that frontend; limits that count the same share one."""
        identity = frontend, measure, key.text, window_s, condition
        table = self._own.get(identity)
        if table is None:
            before = None if self._before is None else self._before._own.get(identity)
            name = f"of {frontend}, {measure} per {key.text}"
            window_s = window_s or 1.0
            bounds = OWN_SIZE, max(2 * window_s, OWN_EXPIRE_S), window_s
            counts = Table(*bounds, self._clock.seconds) if before is None else before.table
            table = self._own[identity] = NamedTable(name, key, counts, bounds)
        return table

    def asked_first(self, policy: Any, facts: Iterable[str]) -> Any:
        """Note which counters a policy reads by these names of facts, and let it ask for those that are shared."""
        shared = []
        for name, counters in counters_in(facts).items():
            table = self.named[name]
            table.want(counters)
            if table.exchange is not None:
                shared.append(table)
        return AskFirst(policy, shared) if shared else policy

    # Life

    def begin(self) -> None:
        """Put all settings in force; exchange no more what is no longer shared."""
        before, self._before = self._before, None
        for name, table in self.named.items():
            if before is not None and name in before.named and before.named[name].table is table.table:
                self._log.info("table {name}: {state}", name=name, state=table.table)
        for table in self:
            table.begin()
        kept = {id(table.exchange) for table in self}
        for table in before or ():
            if table.exchange is not None and id(table.exchange) not in kept:
                table.exchange.stop()

    def start(self) -> None:
        """Exchange what is shared, from now on; by now the process is what it will be, and the reactor about to run."""
        for table in self:
            if table.exchange is not None and not table.exchange.running:
                table.exchange.start()

    def stop(self) -> None:
        """Exchange nothing any more."""
        for table in self:
            if table.exchange is not None:
                table.exchange.stop()

    def __iter__(self) -> Iterator[NamedTable]:
        yield from self.named.values()
        yield from self._own.values()
