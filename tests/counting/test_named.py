"""Tables as rules see them."""

from twisted.internet.task import Clock

from tests.counting.stores import facts_of, named
from twisted_lb.counting.named import counters_in, stage_of
from twisted_lb.declared import FactType
from twisted_lb.endings import Stage
from twisted_lb.tables.counters import COUNTERS, Event


def test_each_counter_is_a_fact_of_the_connections_key() -> None:
    table = named(Clock())
    facts = table.facts("tcp", Stage.ADMISSION)
    assert set(facts) == {f"tables.t.{name}" for name in COUNTERS}
    assert {fact.type for fact in facts.values()} == {FactType.INTEGER}
    table.table.count(table.key.of(facts_of()) or b"", Event.GPC0, 3)
    get = facts["tables.t.gpc0"].get
    assert get is not None
    assert [get(facts_of()), get(facts_of("192.0.2.8")), get(facts_of("unix:"))] == [3, 0, None]


def test_what_changes_with_each_request_is_asked_for_at_each_request() -> None:
    rate, connections = COUNTERS["request_rate"], COUNTERS["connections"]
    assert stage_of(rate, "http", Stage.ADMISSION) is Stage.POLICY
    assert stage_of(rate, "tcp", Stage.ADMISSION) is Stage.ADMISSION
    assert stage_of(connections, "http", Stage.ADMISSION) is Stage.ADMISSION
    assert stage_of(connections, "tcp", Stage.POLICY) is Stage.POLICY


def test_from_the_beginning_on_what_is_wanted_is_kept_within_the_bounds() -> None:
    table = named(Clock(), "source", 100, "gpc0")
    table.want(["gpc1"])
    table.bounds = 5, 30.0, 2.0
    assert table.table.kept == {"gpc0"}
    table.begin()
    assert table.table.kept == {"gpc0", "gpc1"}
    assert (table.table.size, table.table.expire_s, table.table.window_s) == (5, 30.0, 2.0)


def test_tables_are_found_among_the_names_of_facts() -> None:
    assert counters_in(["source", "tables.a.gpc0", "tables.b.gpc0", "tables.a.connections"]) == {
        "a": {"gpc0", "connections"},
        "b": {"gpc0"},
    }
