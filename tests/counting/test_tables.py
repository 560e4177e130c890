"""The tables of a configuration, and what a reload takes over."""

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from tests.counting.stores import Shelf, ShelfStore, facts_of, key_of
from twisted_lb.api import ALLOW, ConfigError
from twisted_lb.config.model import Table
from twisted_lb.config.units import Duration
from twisted_lb.config.uses import TableStoreUse
from twisted_lb.counting.entries import AskFirst
from twisted_lb.counting.tables import Tables
from twisted_lb.plugin_host import Built
from twisted_lb.tables.counters import COUNTERS, Event

SHELF = TableStoreUse(use="shelf", where="tables.t.store")
GPC0 = COUNTERS["gpc0"]


class Stores:
    """Builds stores. ``made``: all of them."""

    def __init__(self) -> None:
        self.made: list[ShelfStore] = []

    def __call__(self, use: TableStoreUse) -> Any:
        self.made.append(ShelfStore(Shelf()))
        return Built("plugin", use.use, self.made[-1])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def assembled(
    clock: Clock, before: Tables | None = None, build: Any = None, names: tuple[str, ...] = ("t",), **settings: Any
) -> Tables:
    tables = Tables(clock, before)
    settings = {"key": "source", **settings}
    for name in names:
        tables.add(name, Table(**settings), key_of(settings["key"]), build or Stores())
    return tables


def marked(tables: Tables) -> Tables:
    tables.named["t"].want(["gpc0", "connections"])
    tables.begin()
    tables.named["t"].table.count(b"k", Event.GPC0)
    return tables


def mark(tables: Tables) -> int:
    return tables.named["t"].table.value(b"k", GPC0)


def test_a_reload_logs_how_full_the_tables_are(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = Logger(observer=lambda event: said.append(formatEvent(event)))  # type: ignore[arg-type]
    monkeypatch.setattr(Tables, "_log", logger)
    after = assembled(clock, marked(assembled(clock)))
    assert said == []
    after.begin()
    assert said == ["table t: 1 of 100000 entries; 0 went before their time, 0 times there was no place"]


def test_a_table_of_the_same_key_is_taken_over_with_its_counts(clock: Clock) -> None:
    before = marked(assembled(clock))
    assert before.named["t"].table.connect(b"k")
    after = assembled(clock, before, size=5, window=Duration(2))
    after.named["t"].want(["gpc1"])
    assert before.named["t"].table.size == 100_000, "nothing changes before it begins"
    after.begin()
    assert mark(after) == 1
    table = after.named["t"].table
    assert (table.size, table.window_s) == (5, 2.0)
    assert table.kept >= {"gpc0", "gpc1", "connections"}
    table.release(b"k")


@pytest.mark.parametrize("settings", [{"key": "source/24"}, {"store": SHELF}])
def test_with_another_key_or_another_store_a_table_begins_anew(clock: Clock, settings: dict[str, Any]) -> None:
    before = marked(assembled(clock))
    after = assembled(clock, before, **settings)
    after.begin()
    assert after.named["t"].table is not before.named["t"].table
    assert mark(after) == 0
    after.stop()


def test_a_table_that_is_gone_and_comes_back_begins_anew(clock: Clock) -> None:
    before = marked(assembled(clock))
    without = assembled(clock, before, names=())
    without.begin()
    again = assembled(clock, without)
    again.begin()
    assert mark(again) == 0


def test_the_tables_of_limits_are_taken_over_if_they_count_the_same(clock: Clock) -> None:
    key, before = key_of("source"), Tables(clock)
    own = before.own("web", "connection_rate", key, 10.0)
    assert before.own("web", "connection_rate", key, 10.0) is own
    before.begin()
    after = Tables(clock, before)
    assert after.own("web", "connection_rate", key, 10.0).table is own.table
    for other in (
        after.own("api", "connection_rate", key, 10.0),
        after.own("web", "error_rate", key, 10.0),
        after.own("web", "connection_rate", key_of("source/24"), 10.0),
        after.own("web", "connection_rate", key, 20.0),
        after.own("web", "connections", key, None),
        after.own("web", "connection_rate", key, 10.0, "source.port == 1"),
    ):
        assert other.table is not own.table


def test_an_entry_of_a_limits_table_outlives_its_window(clock: Clock) -> None:
    own = Tables(clock).own("web", "connection_rate", key_of("source"), 3600.0)
    assert own.bounds[1] == 7200.0


def test_a_shared_table_goes_on_with_its_store_until_that_changes(clock: Clock) -> None:
    stores = Stores()
    one = assembled(clock, None, stores, store=SHELF)
    one.begin()
    assert not stores.made[0].is_open, "nothing is opened before the process serves"
    one.start()
    two = assembled(clock, one, stores, store=SHELF)
    two.begin()
    two.start()
    assert two.named["t"].exchange is one.named["t"].exchange
    assert [store.is_open for store in stores.made] == [True, False], "the second was only built to see that it can be"
    three = assembled(clock, two, stores, store=TableStoreUse(use="shelf", when_away="refuse"))
    three.begin()
    three.start()
    assert [store.is_open for store in stores.made] == [False, False, True]
    four = assembled(clock, three, stores)
    four.begin()
    four.start()
    assert not any(store.is_open for store in stores.made)
    clock.advance(10)
    assert clock.getDelayedCalls() == []


def test_a_store_that_cannot_be_built_is_an_error_also_in_a_reload(clock: Clock) -> None:
    def broken(use: TableStoreUse) -> Any:
        raise ConfigError("store.address: no")

    before = assembled(clock, None, Stores(), store=SHELF)
    before.begin()
    for former in (None, before):
        with pytest.raises(ConfigError, match=r"store\.address"):
            assembled(clock, former, broken, store=SHELF)
    before.stop()


def test_a_policy_that_reads_a_table_makes_it_keep_that_and_asks_if_it_is_shared(clock: Clock) -> None:
    class Reads:
        stage = None

        def decide(self, facts: Any) -> Any:
            return ALLOW

    policy = Reads()
    tables = assembled(clock)
    assert tables.asked_first(policy, ["source", "tables.t.gpc1"]) is policy
    tables.begin()
    assert tables.named["t"].table.kept == {"gpc1"}
    shared = assembled(clock, store=SHELF)
    asking = shared.asked_first(policy, ["tables.t.gpc1"])
    assert isinstance(asking, AskFirst)
    assert asking.decide(facts_of()) is ALLOW
    assert shared.asked_first(policy, ["source"]) is policy
