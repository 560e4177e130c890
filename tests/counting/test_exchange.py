"""A shared table and its store: rounds, decisions that ask, and a store that is away."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.counting.stores import Machine, Shelf
from twisted_lb.counting import exchange as exchange_module
from twisted_lb.counting.exchange import Exchange
from twisted_lb.tables.counters import COUNTERS, Event

COUNT = COUNTERS["connection_count"]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What it logs."""
    said: list[str] = []

    class Log:
        def error(self, text: str, **values: Any) -> None:
            said.append(text.format(**values))

        info = warn = error

    monkeypatch.setattr(Exchange, "_log", Log())
    return said


def two(clock: Clock, **settings: Any) -> tuple[Machine, Machine]:
    shelf = Shelf()
    machines = Machine(clock, shelf, "one", **settings), Machine(clock, shelf, "two", **settings)
    for machine in machines:
        machine.exchange.start()
    clock.advance(0)
    return machines


def connect(machine: Machine, key: bytes = b"k") -> None:
    assert machine.table.connect(key)


def test_each_hears_of_the_other_within_two_rounds() -> None:
    clock = Clock()
    one, other = two(clock)
    connect(one)
    connect(other)
    assert one.table.value(b"k", COUNT) == 1
    clock.pump([0.5, 0.5])
    assert [machine.table.value(b"k", COUNT) for machine in (one, other)] == [2, 2]
    assert [machine.table.value(b"k", COUNTERS["connections"]) for machine in (one, other)] == [2, 2]
    one.table.release(b"k")
    clock.pump([0.5, 0.5])
    assert other.table.value(b"k", COUNTERS["connections"]) == 1


def test_a_round_is_told_in_batches_and_an_idle_one_says_that_we_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BATCH", 10)
    clock = Clock()
    machine, _ = two(clock)
    assert [len(batch.entries) for batch in machine.store.batches] == [0]
    for number in range(25):
        connect(machine, b"%d" % number)
    clock.advance(0.5)
    assert [len(batch.entries) for batch in machine.store.batches[1:]] == [10, 10, 5]


def test_a_decision_that_asks_knows_what_the_other_has_told_until_then() -> None:
    clock = Clock()
    one, other = two(clock, mode="each")
    for machine in (one, other, one):
        connect(machine)
        asked = machine.exchange.ask(b"k")
        assert asked is not None
        assert asked.called
    assert one.table.value(b"k", COUNT) == 3
    assert two(clock)[0].exchange.ask(b"k") is None, "not with mode refresh"


@pytest.mark.parametrize("how", ["fails", "nothing", "nonsense", "torn", "short", "raises"])
@pytest.mark.parametrize("when_away", ["local", "refuse"])
def test_a_store_that_is_away_is_told_once_and_noticed_when_it_is_back(
    how: str, when_away: str, log: list[str]
) -> None:
    clock = Clock()
    one, _ = two(clock, when_away=when_away, mode="each")
    assert not one.exchange.refuses
    one.store.how = how
    connect(one)
    clock.pump([0.1] * 40)
    assert one.table.alone
    assert one.exchange.refuses == (when_away == "refuse")
    assert one.exchange.ask(b"k") is None, "nobody is asked while it is away"
    assert len([line for line in log if "does not answer" in line]) == 1
    one.store.how = "answers"
    clock.pump([0.1] * 20)
    assert not one.table.alone
    assert log[-1] == "table t: its store answers again"
    if how not in ("torn", "short"):  # else it may have been counted before the answer was spoilt
        assert one.store.shelf.totals[b"k"] == [1], "what was counted meanwhile is told"


def test_a_decision_waits_no_longer_than_the_stores_timeout(log: list[str]) -> None:
    clock = Clock()
    one, _ = two(clock, mode="each")
    one.store.how = "nothing"
    asked = one.exchange.ask(b"k")
    assert asked is not None
    clock.advance(0.99)
    assert not asked.called
    clock.advance(0.02)
    assert asked.called
    assert one.store.cancelled > 0


def test_who_gives_up_waiting_does_not_make_the_store_be_away() -> None:
    clock = Clock()
    one, _ = two(clock, mode="each")
    one.store.how = "nothing"
    asked = one.exchange.ask(b"k")
    assert asked is not None
    asked.addErrback(lambda _: None)
    asked.cancel()
    assert not one.table.alone
    assert one.store.cancelled == 0


def test_open_connections_are_told_anew_before_they_can_be_forgotten() -> None:
    clock = Clock()
    one, _ = two(clock)
    connect(one)
    clock.advance(0.5)
    one.store.batches.clear()
    clock.pump([0.5] * 70)
    told = [entry for batch in one.store.batches for entry in batch.entries if entry.connections]
    assert told
    assert all(not any(entry.counted) for entry in told)


def test_counts_that_nobody_was_told_are_logged(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    monkeypatch.setattr("twisted_lb.tables.sharing.QUEUED", 2)
    clock = Clock()
    one, _ = two(clock)
    for number in range(5):
        one.table.count(b"%d" % number, Event.CONNECTION)
    clock.advance(0.5)
    assert "table t: 3 counts were not told to the others: too many waited" in log


def test_stopped_it_asks_no_more_and_is_alone() -> None:
    clock = Clock()
    one, other = two(clock)
    one.exchange.stop()
    one.exchange.stop()
    other.exchange.stop()
    assert one.table.alone
    assert not one.store.is_open
    assert clock.getDelayedCalls() == []


def test_a_store_that_cannot_even_be_opened_or_closed_is_away(log: list[str]) -> None:
    """Raised in ``open`` it stopped the start, or a reload half-way; raised in ``close``, the stop of other tables."""
    clock = Clock()
    machine = Machine(clock, Shelf())
    machine.store.how = "raises"
    machine.exchange.start()
    clock.pump([0.5] * 4)
    assert machine.table.alone
    machine.exchange.stop()
    assert clock.getDelayedCalls() == []
    assert any("in open" in line for line in log)
    assert any("in close" in line for line in log)


def test_stopped_in_the_middle_of_a_round_it_begins_no_other() -> None:
    clock = Clock()
    one, other = two(clock)
    one.store.how = "nothing"
    clock.advance(0.5)
    one.exchange.stop()
    other.exchange.stop()
    clock.pump([0.5] * 10)
    assert clock.getDelayedCalls() == []
    assert one.table.alone
