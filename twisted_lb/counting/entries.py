"""The policies that entries with ``track``, ``count`` and ``limit`` become."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from twisted_lb.api import ALLOW, DecideAnswer, Decision, Deny, Facts, IPolicy, Stage
from twisted_lb.counting.named import NamedTable
from twisted_lb.counting.tracking import track
from twisted_lb.tables.counters import Counter, Event

Condition = Callable[[Facts], bool]


def _full(table: NamedTable) -> Deny:
    # Not to count would be not to limit: whoever fills the table would be free of it.
    return Deny(f"table {table.name} is full of open connections", 503)


def _away(table: NamedTable) -> Deny:
    return Deny(f"the store of table {table.name} does not answer", 503)


@implementer(IPolicy)
class Track:
    """Counts the connection, or request, in a table from here on; one without a key is not counted."""

    def __init__(self, table: NamedTable, stage: Stage, condition: Condition | None = None) -> None:
        self.stage = stage
        self._table = table
        self._if = condition
        self._full = _full(table)

    def decide(self, facts: Facts) -> Decision:
        """See ``IPolicy``."""
        if self._if is not None and not self._if(facts):
            return ALLOW
        key = self._table.key.of(facts)
        if key is None or track(facts, self._table.table, key):
            return ALLOW
        return self._full


@implementer(IPolicy)
class Count:
    """Increments a general counter of a table."""

    def __init__(self, table: NamedTable, event: Event, stage: Stage, condition: Condition | None = None) -> None:
        self.stage = stage
        self._table = table
        self._event = event
        self._if = condition

    def decide(self, facts: Facts) -> Decision:
        """See ``IPolicy``."""
        if self._if is None or self._if(facts):
            key = self._table.key.of(facts)
            if key is not None:
                self._table.table.count(key, self._event)
        return ALLOW


@implementer(IPolicy)
class Limit:
    """Tracks, and refuses whoever is above a limit: ``verdict``, when ``counter`` has more than ``most``."""

    def __init__(
        self,
        table: NamedTable,
        counter: Counter,
        most: int,
        verdict: Decision,
        stage: Stage,
        condition: Condition | None = None,
    ) -> None:
        self.stage = stage
        self._table = table
        self._counter = counter
        self._most = most
        self._verdict = verdict
        self._if = condition
        self._full = _full(table)
        self._away = _away(table)

    def decide(self, facts: Facts) -> DecideAnswer:
        """See ``IPolicy``."""
        if self._if is not None and not self._if(facts):
            return ALLOW
        table = self._table
        key = table.key.of(facts)
        if key is None:
            return ALLOW
        if not track(facts, table.table, key):
            return self._full
        if table.exchange is None:
            return self._verdict if table.table.value(key, self._counter) > self._most else ALLOW
        asked = table.exchange.ask(key)
        if asked is None:
            return self._judge(key)
        return asked.addCallback(lambda _: self._judge(key))

    def _judge(self, key: bytes) -> Decision:
        exchange = self._table.exchange
        if exchange is not None and exchange.refuses:
            return self._away
        return self._verdict if self._table.table.value(key, self._counter) > self._most else ALLOW


@implementer(IPolicy)
class AskFirst:
    """A policy that reads shared tables: they are asked first, and it is refused if they are away and that is set."""

    def __init__(self, policy: Any, tables: Sequence[NamedTable]) -> None:
        self.stage = policy.stage
        self._policy = policy
        self._tables = tables

    def decide(self, facts: Facts) -> DecideAnswer:
        """See ``IPolicy``."""
        waiting: list[Deferred[Any]] = []
        for table in self._tables:
            key = table.key.of(facts)
            if key is not None and table.exchange is not None:
                table.table.enter(key)
                asked = table.exchange.ask(key)
                if asked is not None:
                    waiting.append(asked)
        if not waiting:
            return self._decide(facts)
        return DeferredList(waiting, fireOnOneErrback=True).addCallback(lambda _: self._decide(facts))  # type: ignore[no-any-return]

    def _decide(self, facts: Facts) -> Any:
        for table in self._tables:
            if table.exchange is not None and table.exchange.refuses and table.key.of(facts) is not None:
                return _away(table)
        return self._policy.decide(facts)
