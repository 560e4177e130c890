"""A table in memory: exact where it can be, within its bound where it cannot, and never larger than it may be."""

import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.tables.counters import COUNTERS, Event
from twisted_lb.tables.table import Table


class Hands:
    """A clock that is moved by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def made(clock: Hands, *counters: str, size: int = 100, expire_s: float = 60, window_s: float = 10) -> Table:
    table = Table(size, expire_s, window_s, clock)
    table.keep(counters or COUNTERS)
    return table


def value(table: Table, key: bytes, name: str) -> int:
    return table.value(key, COUNTERS[name])


def test_what_is_counted_is_read_under_each_name() -> None:
    table = made(Hands())
    assert table.connect(b"k")
    for event in Event:
        table.count(b"k", event, event + (event is not Event.CONNECTION))
    assert {name: value(table, b"k", name) for name in COUNTERS} == {
        "connections": 1,
        **{name: counter.event + 1 for name, counter in COUNTERS.items() if name != "connections"},
    }


def test_a_key_that_never_came_has_zeros_and_reading_makes_no_entry() -> None:
    table = made(Hands())
    assert [value(table, b"k", name) for name in COUNTERS] == [0] * len(COUNTERS)
    assert len(table) == 0


def test_only_what_is_read_is_kept() -> None:
    table = made(Hands(), "connection_rate", "gpc0")
    assert table.kept == {"connection_rate", "gpc0"}
    table.count(b"k", Event.REQUEST)
    table.count(b"k", Event.CONNECTION)
    assert value(table, b"k", "connection_rate") == 1
    assert table.connect(b"k") is False


def test_counters_that_come_later_begin_at_zero_and_the_others_go_on() -> None:
    table = made(Hands(), "gpc0")
    table.count(b"k", Event.GPC0)
    table.keep(["gpc0", "gpc1"])
    table.count(b"k", Event.GPC1)
    assert (value(table, b"k", "gpc0"), value(table, b"k", "gpc1")) == (1, 1)


def test_a_rate_beyond_its_column_stays_at_the_most_that_it_can_hold() -> None:
    table = made(Hands())
    for _ in range(3):
        table.count(b"k", Event.REQUEST, 2**31)
    assert value(table, b"k", "request_rate") == 2**32 - 1
    assert value(table, b"k", "request_count") == 3 * 2**31


# Windows


def test_a_rate_fades_over_the_window_behind_its_bucket() -> None:
    clock = Hands(1000)
    table = made(clock)
    table.count(b"k", Event.CONNECTION, 100)
    rates = []
    for clock.now in (1009.9, 1010, 1012.5, 1015, 1019.9, 1020, 1100):
        rates.append(value(table, b"k", "connection_rate"))
    assert rates == [100, 100, 75, 50, 1, 0, 0]
    assert value(table, b"k", "connection_count") == 0, "expired"


def test_all_rates_of_an_entry_turn_together() -> None:
    clock = Hands(1000)
    table = made(clock)
    table.count(b"k", Event.CONNECTION, 10)
    table.count(b"k", Event.BYTES_IN, 5_000_000_000)
    clock.now = 1015
    table.count(b"k", Event.CONNECTION, 1)
    assert value(table, b"k", "connection_rate") == 6
    assert value(table, b"k", "bytes_in_rate") == 2_500_000_000


EVENTS = st.lists(st.tuples(st.floats(0, 8), st.sampled_from([b"a", b"b"]), st.integers(1, 5)), max_size=60)


@given(EVENTS, st.floats(0, 25))
def test_a_rate_differs_from_the_true_one_by_no_more_than_the_bucket_before(
    steps: list[tuple[float, bytes, int]], later: float
) -> None:
    clock = Hands(0.0)
    table = made(clock, "connection_rate", "connection_count", window_s=10, expire_s=10_000)
    happened: dict[bytes, list[tuple[float, int]]] = defaultdict(list)
    for delay, key, amount in steps:
        clock.now += delay
        table.count(key, Event.CONNECTION, amount)
        happened[key].append((clock.now, amount))
    clock.now += later
    bucket = clock.now // 10
    for key, events in happened.items():
        true = sum(amount for when, amount in events if when > clock.now - 10)
        current = sum(amount for when, amount in events if when // 10 == bucket)
        before = sum(amount for when, amount in events if when // 10 == bucket - 1)
        rate = value(table, key, "connection_rate")
        assert current <= rate <= current + before
        assert abs(rate - true) <= before + 1
        assert value(table, key, "connection_count") == sum(amount for _, amount in events)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.integers(1, 10))
def test_who_is_held_below_a_rate_gets_at_most_twice_that_through_in_any_window(gaps: list[float], most: int) -> None:
    clock = Hands(0.0)
    table = made(clock, "connection_rate", window_s=10, expire_s=10_000)
    passed: list[float] = []
    for gap in gaps:
        clock.now += gap
        if value(table, b"k", "connection_rate") < most:
            table.count(b"k", Event.CONNECTION)
            passed.append(clock.now)
    for begin in passed:
        assert sum(1 for when in passed if begin <= when < begin + 10) <= 2 * most


@pytest.mark.parametrize("jump", [-1e9, -3600, -5, 3600, 1e9, 1e12])
def test_a_clock_that_jumps_costs_the_rates_and_harms_nothing_else(jump: float) -> None:
    clock = Hands(1e6)
    table = made(clock, expire_s=1e10)
    table.count(b"k", Event.CONNECTION, 7)
    assert table.connect(b"k")
    clock.now += jump
    assert value(table, b"k", "connection_rate") in (0, 7)
    assert value(table, b"k", "connections") == 1
    for _ in range(3):
        table.count(b"k", Event.CONNECTION)
    assert value(table, b"k", "connection_rate") in (3, 10)
    clock.now += 20
    assert value(table, b"k", "connection_rate") == 0
    table.release(b"k")
    assert value(table, b"k", "connections") == 0
    for number in range(200):
        table.count(b"%d" % number, Event.CONNECTION)
    assert len(table) == 100


# Size and expiry


def test_an_entry_is_gone_when_it_was_not_used_for_long_enough() -> None:
    clock = Hands()
    table = made(clock, expire_s=60)
    table.count(b"k", Event.GPC0)
    clock.now += 59
    assert table.enter(b"k")
    clock.now += 60
    assert value(table, b"k", "gpc0") == 1
    assert table.entries() == [b"k"]
    clock.now += 1
    assert value(table, b"k", "gpc0") == 0
    assert table.entries() == []
    table.count(b"k", Event.GPC0)
    assert value(table, b"k", "gpc0") == 1


def test_a_full_table_loses_the_entry_used_longest_ago() -> None:
    clock = Hands()
    table = made(clock, size=3)
    for key in (b"a", b"b", b"c"):
        clock.now += 1
        table.count(key, Event.GPC0)
    clock.now += 1
    table.enter(b"a")
    clock.now += 1
    table.count(b"d", Event.GPC0)
    assert sorted(table.entries()) == [b"a", b"c", b"d"]
    assert table.evicted == 1
    assert str(table) == "3 of 3 entries; 1 went before their time, 0 times there was no place"


def test_expired_entries_make_room_before_any_other_has_to_go() -> None:
    clock = Hands()
    table = made(clock, size=1000)
    for number in range(1000):
        table.count(b"%d" % number, Event.GPC0)
    clock.now += 61
    for number in range(500):
        table.count(b"new %d" % number, Event.GPC0)
    assert table.evicted == 0
    assert len(table) == 500, "two go for each that comes"


def test_an_entry_with_open_connections_stays_and_a_table_full_of_them_takes_no_more() -> None:
    clock = Hands()
    table = made(clock, size=2)
    assert table.connect(b"a")
    clock.now += 1000
    assert table.connect(b"b")
    assert not table.enter(b"c")
    assert table.connect(b"c") is None
    table.count(b"c", Event.GPC0)
    assert table.refused == 3
    assert value(table, b"a", "connections") == 1
    table.release(b"a")
    assert table.connect(b"c")
    assert sorted(table.entries()) == [b"b", b"c"]


def test_a_connection_that_ended_leaves_its_entry_as_the_one_used_last() -> None:
    clock = Hands()
    table = made(clock, size=2)
    assert table.connect(b"a")
    clock.now += 1
    table.enter(b"b")
    clock.now += 1
    table.release(b"a")
    table.enter(b"c")
    assert sorted(table.entries()) == [b"a", b"c"]


def test_other_bounds_hold_from_then_on_and_keep_what_they_can() -> None:
    clock = Hands()
    table = made(clock, size=4, window_s=10)
    for key in (b"a", b"b", b"c", b"d"):
        clock.now += 1
        table.count(key, Event.GPC0)
    assert table.connect(b"a")
    table.resize(2, 60, 10)
    assert sorted(table.entries()) == [b"a", b"d"]
    assert value(table, b"d", "gpc0_rate") == 1
    table.resize(300, 60, 20)
    assert value(table, b"d", "gpc0") == 1
    assert value(table, b"d", "gpc0_rate") == 0
    for number in range(400):
        table.count(b"%d" % number, Event.GPC0)
    assert len(table) == 300
    assert value(table, b"a", "connections") == 1
    table.release(b"a")


class Model:
    """The same table, kept in dictionaries."""

    def __init__(self, size: int, expire_s: float) -> None:
        self.size, self.expire_s = size, expire_s
        self.entries: dict[bytes, dict[str, Any]] = {}

    def enter(self, key: bytes, now: float) -> dict[str, Any] | None:
        entry = self.entries.get(key)
        if entry is not None and not entry["open"] and now - entry["used"] > self.expire_s:
            del self.entries[key]
            entry = None
        if entry is None:
            loose = [(one["used"], name) for name, one in self.entries.items() if not one["open"]]
            if len(self.entries) >= self.size:
                if not loose:
                    return None
                del self.entries[min(loose)[1]]
            entry = self.entries[key] = {"open": 0, "gpc0": 0, "used": now}
        entry["used"] = now
        return entry


STEPS = st.lists(st.tuples(st.sampled_from(["count", "hold", "release", "wait"]), st.integers(0, 6)), max_size=80)


@given(STEPS)
def test_a_table_does_as_a_plain_model_does(steps: list[tuple[str, int]]) -> None:
    clock = Hands(0.0)
    table, model = made(clock, "gpc0", "connections", size=4, expire_s=20), Model(4, 20)
    held: list[bytes] = []
    for what, number in steps:
        clock.now += 1 if what != "wait" else number * 4  # at least a tick, so that the order is one
        key = b"%d" % number
        if what == "count":
            table.count(key, Event.GPC0)
            entry = model.enter(key, clock.now)
            if entry is not None:
                entry["gpc0"] += 1
        elif what == "hold":
            entry = model.enter(key, clock.now)
            assert table.connect(key) is (None if entry is None else True)
            if entry is not None:
                entry["open"] += 1
                held.append(key)
        elif what == "release" and held:
            key = held.pop(number % len(held))
            table.release(key)
            model.entries[key]["open"] -= 1
            model.entries[key]["used"] = clock.now
        for known in range(7):
            key = b"%d" % known
            entry = model.entries.get(key)
            live = entry is not None and (entry["open"] or clock.now - entry["used"] <= 20)
            assert value(table, key, "gpc0") == (entry["gpc0"] if entry is not None and live else 0)
            assert value(table, key, "connections") == (entry["open"] if entry is not None else 0)
        assert len(table) <= 4


# Memory

MEASURE = """
import sys, time
from twisted_lb.tables.table import Table

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024

count, counters = int(sys.argv[1]), sys.argv[2].split(",")
table = Table(count, 3600, 10, time.monotonic)
table.keep(counters)
before = resident()
for number in range(count):
    table.connect(b"\\x20\\x01\\x0d\\xb8" * 3 + number.to_bytes(4))
assert len(table) == count
print((resident() - before) / count)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_entry_for_an_ipv6_address_takes_less_than_200_bytes() -> None:
    # Many, as a dictionary grows by doubling: just before it does, an entry takes less than here.
    arguments = [sys.executable, "-c", MEASURE, "200000", "connections,connection_count,connection_rate"]
    measured = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120).stdout
    assert 100 < float(measured) < 200
