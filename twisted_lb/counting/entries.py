"""The policies that entries with ``track``, ``count`` and ``limit`` become."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from twisted_lb.contracts import DecideAnswer, IPolicy
from twisted_lb.counting.named import NamedTable
from twisted_lb.counting.tracking import track
from twisted_lb.endings import Stage
from twisted_lb.errors import WireError
from twisted_lb.facts import Facts
from twisted_lb.tables.counters import Counter, Event
from twisted_lb.verdicts import ALLOW, Decision, Deny

Condition = Callable[[Facts], bool]


def _full(table: NamedTable) -> Deny:
    # Not to count would be not to limit: whoever fills the table would be free of it.
    return Deny(f"table {table.name} is full of open connections", 503)


def _away(table: NamedTable) -> Deny:
    return Deny(f"the store of table {table.name} does not answer", 503)


class _Conditional:
    """An entry with a condition; ``label`` names it in the record."""

    label: str

    def __init__(self, table: NamedTable, stage: Stage, condition: Condition | None) -> None:
        self.stage = stage
        self._table = table
        self._if = condition

    def decide(self, facts: Facts) -> DecideAnswer:
        """See ``IPolicy``. A condition about a path that servers may read both ways refuses, as a rule does."""
        try:
            if self._if is not None and not self._if(facts):
                return ALLOW
        except WireError as error:
            return Deny(error.reason, 400)
        key = self._table.key.of(facts)
        return ALLOW if key is None else self._decide(facts, key)

    def _decide(self, facts: Facts, key: bytes) -> DecideAnswer:
        raise NotImplementedError


@implementer(IPolicy)
class Track(_Conditional):
    """Counts the connection, or request, in a table from here on; one without a key is not counted."""

    label = "track"
    counts_requests = True

    def _decide(self, facts: Facts, key: bytes) -> Decision:
        return ALLOW if track(facts, self._table.table, key) else _full(self._table)


@implementer(IPolicy)
class Count(_Conditional):
    """Increments a general counter of a table."""

    label = "count"

    def __init__(self, table: NamedTable, event: Event, stage: Stage, condition: Condition | None) -> None:
        super().__init__(table, stage, condition)
        self._event = event

    def _decide(self, facts: Facts, key: bytes) -> Decision:
        self._table.table.count(key, self._event)
        return ALLOW


@implementer(IPolicy)
class Limit(_Conditional):
    """Tracks, and answers with ``verdict`` to whoever has more than ``most`` of ``counter``."""

    label = "limit"

    def __init__(
        self,
        table: NamedTable,
        counter: Counter,
        most: int,
        verdict: Decision,
        stage: Stage,
        condition: Condition | None,
    ) -> None:
        super().__init__(table, stage, condition)
        self.counts_requests = table.settings is not None or counter.event is not Event.CONNECTION
        self._counter = counter
        self._most = most
        self._verdict = verdict

    def _decide(self, facts: Facts, key: bytes) -> DecideAnswer:
        table = self._table
        if not track(facts, table.table, key):
            return _full(table)
        if table.exchange is None:
            return self._verdict if table.table.value(key, self._counter) > self._most else ALLOW
        asked = table.exchange.ask(key)
        if asked is None:
            return self._judge(key)
        return asked.addCallback(lambda _: self._judge(key))

    def _judge(self, key: bytes) -> Decision:
        exchange = self._table.exchange
        if exchange is not None and exchange.refuses:
            return _away(self._table)
        return self._verdict if self._table.table.value(key, self._counter) > self._most else ALLOW


@implementer(IPolicy)
class AskFirst:
    """A policy that reads shared tables: they are asked first, and it is refused if they are away and that is set."""

    def __init__(self, policy: Any, tables: Sequence[NamedTable]) -> None:
        self.stage = policy.stage
        self.label = getattr(policy, "label", "")
        self.counts_requests = getattr(policy, "counts_requests", False)
        self.policy = policy
        self._tables = tables

    def decide(self, facts: Facts) -> DecideAnswer:
        """See ``IPolicy``."""
        waiting: list[Deferred[Any]] = []
        for table in self._tables:
            key = table.key.of(facts)
            if key is not None and table.exchange is not None:
                table.exchange.table.watch(key)
                asked = table.exchange.ask(key)
                if asked is not None:
                    waiting.append(asked)
        if not waiting:
            return self._decide(facts)
        answer = DeferredList(waiting, fireOnOneErrback=True)
        return answer.addCallback(lambda _: self._decide(facts))

    def _decide(self, facts: Facts) -> DecideAnswer:
        for table in self._tables:
            if table.exchange is not None and table.exchange.refuses and table.key.of(facts) is not None:
                return _away(table)
        answer: DecideAnswer = self.policy.decide(facts)
        return answer
