"""The contract suite of table stores holds for a plain store, and finds each defect that it asks for."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import TestCase

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_lb.api import ITableStore, Shared, TableBatch, TableReply
from twisted_lb.testing import TableStoreContract


class Shelf:
    """What machines have told."""

    def __init__(self) -> None:
        self.counted: dict[Any, tuple[list[int], list[int]]] = {}
        self.opened: dict[Any, dict[str, int]] = {}
        self.machines: set[str] = set()


@implementer(ITableStore)
class Plain:
    """A store that shares a shelf. ``spoil``: what a defect makes of a reply."""

    def __init__(self, shelf: Shelf, spoil: Callable[[TableReply], Any] = lambda reply: reply) -> None:
        self._shelf = shelf
        self._spoil = spoil
        self._is_open = True

    def open(self) -> None:
        """See ``ITableStore``."""

    def close(self) -> None:
        """See ``ITableStore``."""
        self._is_open = False

    def exchange(self, batch: TableBatch) -> "Deferred[Any]":
        """See ``ITableStore``."""
        if not self._is_open:
            return fail(ConnectionError("closed"))
        shelf = self._shelf
        entries = []
        for entry in batch.entries:
            key = batch.table, batch.window_ms, entry.key
            totals, currents = shelf.counted.setdefault(key, ([0] * len(batch.events), [0] * len(batch.events)))
            opened = shelf.opened.setdefault(key, {})
            opened[batch.machine] = entry.connections
            for place, amount in enumerate(entry.counted):
                totals[place] += amount
                currents[place] += amount if entry.fresh else 0
            others = sum(count for name, count in opened.items() if name != batch.machine)
            entries.append(Shared(others, list(totals), list(currents), [0] * len(totals)))
        known = batch.machine in shelf.machines
        shelf.machines.add(batch.machine)
        return succeed(self._spoil(TableReply(0, known, entries)))


class TestPlain(TableStoreContract, TestCase):
    """A plain store holds."""

    def make_stores(self, count: int) -> Sequence[ITableStore]:
        """See ``TableStoreContract``."""
        shelf = Shelf()
        stores: list[Any] = [Plain(shelf) for _ in range(count)]
        return stores


def each(**changes: Any) -> Callable[[TableReply], TableReply]:
    return lambda reply: replace(reply, entries=[replace(one, **changes) for one in reply.entries])


@pytest.mark.parametrize(
    ("test", "spoil"),
    [
        ("test_nothing_is_an_answer_to_nothing", lambda reply: replace(reply, elapsed_ms=-1)),
        ("test_nothing_is_an_answer_to_nothing", lambda reply: "nonsense"),
        ("test_counts_of_all_machines_are_added", each(totals=[1, 1])),
        ("test_counts_of_all_machines_are_added", each(currents=[3, 30])),
        ("test_a_question_counts_nothing", each(totals=[2, 0])),
        ("test_connections_are_those_of_the_others", each(others=4)),
        ("test_it_knows_whom_it_has_heard", lambda reply: replace(reply, known=True)),
        ("test_tables_of_other_names_and_windows_are_others", each(totals=[1, 0])),
    ],
)
def test_each_defect_is_found(test: str, spoil: Callable[[TableReply], Any]) -> None:
    class Spoilt(TableStoreContract):
        def make_stores(self, count: int) -> Sequence[ITableStore]:
            shelf = Shelf()
            stores: list[Any] = [Plain(shelf, spoil) for _ in range(count)]
            return stores

    with pytest.raises(AssertionError):
        getattr(Spoilt(), test)()
