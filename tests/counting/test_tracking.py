"""A connection is counted once, for the key of its last rule, and given back once."""

import pytest

from tests.counting.stores import facts_of
from twisted_lb.counting.tracking import Tracking, track
from twisted_lb.endings import NORMAL, Cause, Ending, Stage
from twisted_lb.tables.counters import COUNTERS
from twisted_lb.tables.table import Table

DENIED = Ending(Cause.PROXY, Stage.POLICY)


def made(size: int = 10) -> Table:
    table = Table(size, 60, 10, lambda: 1000.0)
    table.keep(COUNTERS)
    return table


def values(table: Table, key: bytes = b"k") -> dict[str, int]:
    """All totals of a key that are not 0, and its connections."""
    names = ("connections", *(name for name in COUNTERS if name.endswith("_count")), "bytes_in", "bytes_out")
    return {name: value for name in names if (value := table.value(key, COUNTERS[name]))}


def test_a_connection_is_counted_once_however_many_rules_track_it() -> None:
    table, tracking = made(), Tracking()
    for _ in range(3):
        assert tracking.track(table, b"k", request=False)
    assert values(table) == {"connections": 1, "connection_count": 1}
    tracking.ended(NORMAL, 10, 20)
    assert values(table) == {"connection_count": 1, "bytes_in": 10, "bytes_out": 20}


def test_an_end_gives_back_only_once() -> None:
    table, tracking, other = made(), Tracking(), Tracking()
    assert tracking.track(table, b"k", request=False)
    assert other.track(table, b"k", request=False)
    for _ in range(3):
        tracking.connection_over()
    assert values(table)["connections"] == 1


def test_what_is_tracked_for_the_connection_is_counted_in_all_its_requests() -> None:
    table, tracking = made(), Tracking()
    tracking.track(table, b"k", request=False)
    for _ in range(3):
        tracking.request_begun()
        tracking.request_over(NORMAL, 200, 1, 2)
    assert values(table) == {"connections": 1, "connection_count": 1, "request_count": 3, "bytes_in": 3, "bytes_out": 6}


def test_what_is_tracked_for_a_request_is_counted_in_that_one_alone() -> None:
    table, tracking = made(), Tracking()
    for tracked in (True, False, True):
        tracking.request_begun()
        if tracked:
            tracking.track(table, b"k", request=True)
        tracking.request_over(NORMAL, 404, 1, 0)
    assert values(table) == {
        "connections": 1,
        "connection_count": 1,
        "request_count": 2,
        "error_count": 2,
        "bytes_in": 2,
    }


def test_another_key_takes_the_connection_over() -> None:
    table, tracking = made(), Tracking()
    tracking.track(table, b"k", request=True)
    tracking.track(table, b"other", request=True)
    assert values(table) == {"connection_count": 1, "request_count": 1}
    assert values(table, b"other") == {"connections": 1, "connection_count": 1, "request_count": 1}
    tracking.connection_over()
    assert "connections" not in values(table, b"other")


def test_each_table_has_its_own_key() -> None:
    one, other, tracking = made(), made(), Tracking()
    tracking.track(one, b"a", request=False)
    tracking.track(other, b"b", request=False)
    assert values(one, b"a") == values(other, b"b") == {"connections": 1, "connection_count": 1}
    tracking.connection_over()
    assert values(one, b"a") == values(other, b"b") == {"connection_count": 1}


def test_without_a_place_in_the_table_nothing_is_counted_and_nothing_given_back() -> None:
    table, first, second = made(size=1), Tracking(), Tracking()
    assert first.track(table, b"k", request=False)
    assert not second.track(table, b"other", request=False)
    second.ended(NORMAL, 1, 1)
    first.ended(NORMAL, 0, 0)
    assert values(table) == {"connection_count": 1}


def test_a_table_that_counts_no_connections_is_left_in_peace_at_the_end() -> None:
    table, tracking = Table(10, 60, 10, lambda: 1000.0), Tracking()
    table.keep(["gpc0"])
    assert tracking.track(table, b"k", request=False)
    table.keep(["connections"])
    tracking.ended(NORMAL, 1, 1)
    assert table.value(b"k", COUNTERS["connections"]) == 0


@pytest.mark.parametrize(
    ("ending", "status", "errors"),
    [
        (NORMAL, 200, 0),
        (NORMAL, 404, 1),
        (NORMAL, 500, 0),
        (DENIED, 0, 1),
        (Ending(Cause.PROXY, Stage.TARPIT), 500, 1),
        (Ending(Cause.PROXY, Stage.VALIDATION), 400, 1),
        (Ending(Cause.PROXY, Stage.RESPONSE), 502, 0),
        (Ending(Cause.SERVER, Stage.CONNECT), 503, 0),
        (Ending(Cause.CLIENT, Stage.RELAY), 0, 0),
    ],
)
def test_errors_are_the_clients(ending: Ending, status: int, errors: int) -> None:
    table, tracking = made(), Tracking()
    tracking.track(table, b"k", request=False)
    tracking.request_over(ending, status, 0, 0)
    assert values(table).get("error_count", 0) == errors


def test_facts_are_tracked_from_the_first_rule_on() -> None:
    table, facts = made(), facts_of()
    assert facts.tracking is None
    assert track(facts, table, b"k")
    assert track(facts, table, b"k")
    assert values(table) == {"connections": 1, "connection_count": 1}
