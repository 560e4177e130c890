"""A shared table: what is told, what is heard, and what holds when nobody answers."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.tables import sharing
from twisted_lb.tables.counters import COUNTERS, Event
from twisted_lb.tables.sharing import Shared, SharedTable, TableEntry, TableReply

COUNTED = ("connections", "connection_count", "connection_rate", "gpc0")


class Hands:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def made(clock: Hands, *counters: str, size: int = 100) -> SharedTable:
    table = SharedTable(size, 60, 10, clock)
    table.keep(counters or COUNTED)
    return table


def value(table: SharedTable, name: str, key: bytes = b"k") -> int:
    return table.value(key, COUNTERS[name])


def told(table: SharedTable) -> list[TableEntry]:
    return [table.tell(key) for key in table.waiting()]


def hear(
    table: SharedTable, entries: Sequence[TableEntry], *shared: Shared, elapsed_ms: int = 0, known: bool = True
) -> None:
    table.alone = False
    table.told(entries, TableReply(elapsed_ms, known, shared))


def test_what_was_counted_is_told_once_with_the_connections_that_are_open() -> None:
    table = made(Hands())
    assert table.events == ["connection", "gpc0"]
    assert table.connect(b"k")
    table.count(b"k", Event.CONNECTION, 2)
    table.count(b"k", Event.BYTES_IN, 100)
    assert told(table) == [TableEntry(b"k", 1, [3, 0])]
    assert told(table) == []
    table.release(b"k")
    assert told(table) == [TableEntry(b"k", 0, [0, 0])]


def test_alone_our_own_counts_are_all_there_is() -> None:
    table = made(Hands())
    table.enter(b"k")
    table.count(b"k", Event.GPC0, 3)
    hear(table, told(table), Shared(5, [9, 9], [9, 9], [0, 0]))
    table.alone = True
    assert [value(table, name) for name in COUNTED] == [0, 0, 0, 3]


def test_together_all_counts_are_read_and_what_we_have_not_told_yet() -> None:
    table = made(Hands())
    table.enter(b"k")
    table.count(b"k", Event.CONNECTION, 2)
    hear(table, told(table), Shared(5, [9, 1], [7, 0], [0, 0]))
    assert table.connect(b"k")
    assert [value(table, name) for name in COUNTED] == [6, 10, 8, 1]


def test_a_counter_that_is_read_for_the_first_time_is_shared_from_then_on() -> None:
    table = made(Hands(), "gpc0")
    table.watch(b"k")
    hear(table, [TableEntry(b"k", 0, [0])], Shared(0, [7], [7], [0]))
    assert value(table, "gpc1") == 0, "nobody has it, and there is no entry"
    table.enter(b"k")
    assert value(table, "gpc1") == 0
    assert table.events == ["gpc0", "gpc1"]


def test_what_all_had_in_the_bucket_before_fades_by_the_stores_clock() -> None:
    clock = Hands()
    table = made(clock)
    table.enter(b"k")
    hear(table, [TableEntry(b"k", 0, [0, 0])], Shared(0, [0, 0], [10, 0], [100, 0]), elapsed_ms=2500)
    rates = []
    for clock.now in (1000, 1005, 1007.4, 1007.5, 1012.5, 1017.4, 1017.5, 2000):
        rates.append(value(table, "connection_rate"))
    assert rates == [85, 35, 11, 10, 5, 0, 0, 0]


def test_a_store_that_has_lost_its_data_makes_us_forget_nothing_of_our_own() -> None:
    table = made(Hands())
    table.enter(b"k")
    table.count(b"k", Event.CONNECTION, 5)
    hear(table, told(table), Shared(0, [0, 0], [0, 0], [0, 0]))
    assert [value(table, name) for name in ("connection_count", "connection_rate")] == [5, 5]


def test_what_others_are_still_asking_for_does_not_count_in_a_decision_before_theirs() -> None:
    table = made(Hands(), "connection_count", "connection_rate")
    table.watch(b"k")
    asked = []
    for _ in range(3):
        table.count(b"k", Event.CONNECTION)
        asked.append(told(table))
    for number, entries in enumerate(asked, 1):
        hear(table, entries, Shared(0, [number], [number], [0]))
        assert [value(table, name) for name in ("connection_count", "connection_rate")] == [number, number]


def test_a_reply_that_comes_after_other_counters_are_kept_does_no_harm() -> None:
    table = made(Hands(), "gpc0")
    table.watch(b"k")
    table.count(b"k", Event.GPC0)
    entries = told(table)
    table.keep(["gpc1"])
    hear(table, entries, Shared(0, [1], [1], [0]))
    table.count(b"k", Event.GPC0)
    more = told(table)
    table.untold(entries)
    hear(table, more, Shared(0, [2, 0], [2, 0], [0, 0]))
    assert value(table, "gpc0") == 2


def test_what_did_not_arrive_is_told_again_with_what_came_since() -> None:
    table = made(Hands())
    table.count(b"k", Event.GPC0, 2)
    lost = told(table)
    table.count(b"k", Event.GPC0, 3)
    table.untold(lost)
    assert told(table) == [TableEntry(b"k", 0, [0, 5])]


def test_what_waited_for_longer_than_the_window_is_of_no_rate() -> None:
    clock = Hands()
    table = made(clock)
    table.count(b"k", Event.GPC0)
    clock.now += 11
    old = told(table)
    assert old == [TableEntry(b"k", 0, [0, 1], fresh=False)]
    table.untold(old)
    assert told(table) == old


def test_a_machine_that_the_store_has_forgotten_tells_its_connections_anew() -> None:
    table = made(Hands())
    for key in (b"a", b"b"):
        assert table.connect(key)
    table.enter(b"c")
    told(table)
    hear(table, [], known=False)
    assert told(table) == [TableEntry(b"a", 1, [0, 0]), TableEntry(b"b", 1, [0, 0])]


def test_no_more_waits_and_no_more_is_watched_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "QUEUED", 5)
    monkeypatch.setattr(sharing, "WATCHED", 4)
    table = made(Hands())
    for number in range(10):
        table.enter(b"%d" % number)
        table.count(b"%d" % number, Event.GPC0)
    assert table.waiting() == [b"%d" % number for number in range(5)]
    assert table.lost == 5
    assert table.to_ask() == [b"%d" % number for number in range(6, 10)]
    assert value(table, "gpc0", b"9") == 1, "our own counts have it all the same"


def test_keys_are_asked_about_as_long_as_they_were_used_within_the_window() -> None:
    clock = Hands()
    table = made(clock)
    table.enter(b"a")
    clock.now += 6
    table.watch(b"b")
    clock.now += 6
    assert table.to_ask() == [b"b"]
    assert len(table) == 1, "to watch a key makes no entry"


def test_other_counters_and_another_window_begin_to_be_shared_anew() -> None:
    table = made(Hands())
    table.count(b"k", Event.GPC0)
    before = told(table)
    table.count(b"k", Event.GPC0)
    table.keep(["gpc1"])
    assert table.waiting() == []
    table.untold(before)
    assert table.waiting() == []
    table.count(b"k", Event.GPC1)
    assert told(table) == [TableEntry(b"k", 0, [0, 0, 1])]
    table.count(b"k", Event.GPC1)
    table.resize(100, 60, 20)
    assert table.waiting() == []


STEPS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["count", "exchange", "lost"]), st.integers(1, 3)))


@given(STEPS)
def test_machines_that_have_all_told_agree_on_the_total(steps: list[tuple[int, str, int]]) -> None:
    clock = Hands()
    machines = [made(clock, "gpc0"), made(clock, "gpc0")]
    store = 0
    expected = 0

    def exchange(machine: SharedTable) -> None:
        nonlocal store
        machine.watch(b"k")
        entry = machine.tell(b"k")
        store += entry.counted[0]
        hear(machine, [entry], Shared(0, [store], [store], [0]))

    for number, what, amount in steps:
        machine = machines[number]
        if what == "count":
            machine.count(b"k", Event.GPC0, amount)
            expected += amount
        elif what == "exchange":
            exchange(machine)
        else:
            machine.untold([machine.tell(b"k")])
        assert value(machine, "gpc0") <= expected
    for machine in (*machines, *machines):
        exchange(machine)
    assert [value(machine, "gpc0") for machine in machines] == [expected, expected]
