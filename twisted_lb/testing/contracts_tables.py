"""Contract suite of table stores."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_lb.api import ITableStore, TableBatch, TableEntry, TableReply

EVENTS = ("connection", "gpc0")


class TableStoreContract:
    """What every table store promises: what machines tell adds up, and each is told what all together have."""

    def make_stores(self, count: int) -> Sequence[ITableStore]:
        """Make so many stores that share what they are told; they are open, and nothing was told yet."""
        raise NotImplementedError

    def settle(self, answer: Any) -> None:
        """Let what takes time happen until ``answer``, a Deferred, has fired."""

    def test_it_satisfies_the_interface(self) -> None:
        """``ITableStore`` is declared, and its methods take what they will be given."""
        verifyObject(ITableStore, self.make_stores(1)[0])

    def test_nothing_is_an_answer_to_nothing(self) -> None:
        """A batch without entries asks whether anybody is there."""
        reply = self._exchange(self.make_stores(1)[0], "one")
        assert list(reply.entries) == []
        assert 0 <= reply.elapsed_ms < 3_600_000

    def test_counts_of_all_machines_are_added(self) -> None:
        """In the order of the batch's events; what is old belongs to no rate."""
        one, other = self.make_stores(2)
        self._exchange(one, "one", TableEntry(b"k", 0, [1, 10]))
        reply = self._exchange(
            other, "other", TableEntry(b"k", 0, [2, 20], fresh=False), TableEntry(b"\xff\0 {}", 0, [0, 1])
        )
        assert [list(shared.totals) for shared in reply.entries] == [[3, 30], [0, 1]]
        assert [list(shared.currents) for shared in reply.entries] == [[1, 10], [0, 1]]
        assert [list(shared.previous) for shared in reply.entries] == [[0, 0], [0, 0]]

    def test_a_question_counts_nothing(self) -> None:
        """An entry without counts asks."""
        store = self.make_stores(1)[0]
        self._exchange(store, "one", TableEntry(b"k", 0, [1, 0]))
        for _ in range(2):
            reply = self._exchange(store, "one", TableEntry(b"k", 0, [0, 0]))
        assert list(reply.entries[0].totals) == [1, 0]

    def test_connections_are_those_of_the_others(self) -> None:
        """Each machine says how many it has open; the last word counts."""
        one, other = self.make_stores(2)
        for connections in (5, 3):
            self._exchange(one, "one", TableEntry(b"k", connections, [0, 0]))
        assert self._exchange(other, "other", TableEntry(b"k", 1, [0, 0])).entries[0].others == 3
        assert self._exchange(one, "one", TableEntry(b"k", 0, [0, 0])).entries[0].others == 1
        assert self._exchange(other, "other", TableEntry(b"k", 1, [0, 0])).entries[0].others == 0

    def test_it_knows_whom_it_has_heard(self) -> None:
        """A machine is unknown the first time."""
        store = self.make_stores(1)[0]
        assert [self._exchange(store, "one").known for _ in range(2)] == [False, True]

    def test_tables_of_other_names_and_windows_are_others(self) -> None:
        """They share nothing."""
        store = self.make_stores(1)[0]
        self._exchange(store, "one", TableEntry(b"k", 0, [1, 0]))
        for name, window_ms in (("u", 3_600_000), ("t", 1_800_000)):
            batch = self._batch("one", [TableEntry(b"k", 0, [0, 0])], name, window_ms)
            assert list(self._answer(store, batch).entries[0].totals) == [0, 0]

    def test_closed_it_answers_no_more(self) -> None:
        """It fails then, or says nothing."""
        store = self.make_stores(1)[0]
        store.close()
        results: list[Any] = []
        maybeDeferred(store.exchange, self._batch("one", [])).addBoth(results.append)
        assert not results or isinstance(results[0], Failure)

    def _exchange(self, store: ITableStore, machine: str, *entries: TableEntry) -> TableReply:
        return self._answer(store, self._batch(machine, entries))

    def _batch(
        self, machine: str, entries: Sequence[TableEntry], name: str = "t", window_ms: int = 3_600_000
    ) -> TableBatch:
        return TableBatch(name, machine, window_ms, 7_200_000, 60_000, EVENTS, entries)

    def _answer(self, store: ITableStore, batch: TableBatch) -> TableReply:
        results: list[Any] = []
        answer = maybeDeferred(store.exchange, batch).addBoth(results.append)
        self.settle(answer)
        assert results, "it has not answered"
        assert isinstance(results[0], TableReply), results[0]
        return results[0]
