"""The policies of rules that count."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.counting.stores import Machine, Shelf, facts_of, named
from twisted_lb.api import ALLOW, Deny, IPolicy, Stage, WireError
from twisted_lb.counting.entries import AskFirst, Count, Limit, Track
from twisted_lb.tables.counters import COUNTERS, Event

STAGE = Stage.ADMISSION
NO = Deny("no")
RATE, OPEN, TOTAL = COUNTERS["connection_rate"], COUNTERS["connections"], COUNTERS["connection_count"]
SOURCE = b"\xc0\0\2\7"


def now(answer: Any) -> Any:
    """Return what a Deferred has, or the answer itself."""
    return answer.result if hasattr(answer, "result") else answer


def test_track_lets_on_and_counts() -> None:
    table = named(Clock())
    facts = facts_of()
    assert Track(table, STAGE, None).decide(facts) is ALLOW
    assert table.table.value(SOURCE, TOTAL) == 1
    assert facts.tracking is not None


@pytest.mark.parametrize("host", ["unix:/run/x", "unknown:Onion"])
def test_who_has_no_key_is_let_on_and_not_counted(host: str) -> None:
    table = named(Clock())
    facts = facts_of(host)
    assert Track(table, STAGE, None).decide(facts) is ALLOW
    assert Limit(table, OPEN, 0, NO, STAGE, None).decide(facts) is ALLOW
    assert Count(table, Event.GPC0, STAGE, None).decide(facts) is ALLOW
    assert (len(table.table), facts.tracking) == (0, None)


def test_without_its_condition_nothing_is_counted() -> None:
    table = named(Clock())
    facts = facts_of()
    for policy in (
        Track(table, STAGE, lambda _: False),
        Limit(table, OPEN, 0, NO, STAGE, lambda _: False),
        Count(table, Event.GPC0, STAGE, lambda _: False),
    ):
        assert policy.decide(facts) is ALLOW
    assert len(table.table) == 0


def test_a_condition_about_a_path_that_can_be_read_both_ways_refuses() -> None:
    def ambiguous(_: Any) -> bool:
        raise WireError("path-ambiguous")

    assert Track(named(Clock()), STAGE, ambiguous).decide(facts_of()) == Deny("path-ambiguous", 400)


def test_count_increments() -> None:
    table = named(Clock())
    policy = Count(table, Event.GPC0, STAGE, lambda _: True)
    for _ in range(3):
        assert policy.decide(facts_of()) is ALLOW
    assert table.table.value(SOURCE, COUNTERS["gpc0"]) == 3


def test_a_limit_answers_who_is_above_it() -> None:
    table = named(Clock(), "source", 100, "connection_rate")
    policy = Limit(table, RATE, 2, NO, STAGE, None)
    assert [policy.decide(facts_of()) for _ in range(4)] == [ALLOW, ALLOW, NO, NO]
    assert policy.decide(facts_of("192.0.2.8")) is ALLOW


def test_what_cannot_be_counted_is_refused() -> None:
    table = named(Clock(), "source", 1)
    first = facts_of()
    assert Track(table, STAGE, None).decide(first) is ALLOW
    for policy in (Track(table, STAGE, None), Limit(table, OPEN, 9, NO, STAGE, None)):
        assert policy.decide(facts_of("192.0.2.8")) == Deny("table t is full of open connections", 503)
    first.tracking.connection_over()
    assert Track(table, STAGE, None).decide(facts_of("192.0.2.8")) is ALLOW


def test_a_limit_of_connections_in_a_table_of_its_own_does_not_care_for_requests() -> None:
    assert not Limit(named(Clock()), OPEN, 2, NO, STAGE, None).counts_requests
    assert Limit(named(Clock()), COUNTERS["error_rate"], 2, NO, STAGE, None).counts_requests
    assert Track(named(Clock()), STAGE, None).counts_requests


# Shared tables


def machines(clock: Clock, **settings: Any) -> tuple[Machine, Machine]:
    shelf = Shelf()
    made = Machine(clock, shelf, "one", **settings), Machine(clock, shelf, "two", **settings)
    for machine in made:
        machine.exchange.start()
    clock.advance(0)
    return made


def test_a_limit_that_asks_at_each_decision_counts_what_all_machines_have() -> None:
    limits = [Limit(machine.named, TOTAL, 3, NO, STAGE, None) for machine in machines(Clock(), mode="each")]
    assert [now(limits[number % 2].decide(facts_of())) for number in range(5)] == [ALLOW, ALLOW, ALLOW, NO, NO]


@pytest.mark.parametrize(("when_away", "expected"), [("local", ALLOW), ("refuse", Deny)])
def test_with_the_store_away_our_own_count_decides_or_nobody_is_let_on(when_away: str, expected: Any) -> None:
    clock = Clock()
    one, other = machines(clock, mode="each", when_away=when_away)
    limits = [Limit(machine.named, TOTAL, 2, NO, STAGE, None) for machine in (one, other)]
    assert [now(limits[1].decide(facts_of())) for _ in range(2)] == [ALLOW, ALLOW]
    one.store.how = "fails"
    answer = now(limits[0].decide(facts_of()))
    assert answer is expected or type(answer) is expected
    if when_away == "local":
        assert [now(limits[0].decide(facts_of())) for _ in range(2)] == [ALLOW, NO]
    else:
        assert answer == Deny("the store of table t does not answer", 503)


class Reads:
    """A policy that reads a table."""

    stage = STAGE
    label = "deny"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def decide(self, facts: Any) -> Any:
        return NO if self._machine.table.value(SOURCE, TOTAL) > 1 else ALLOW


def test_a_rule_that_reads_a_shared_table_asks_first_and_makes_no_entry() -> None:
    clock = Clock()
    one, other = machines(clock, mode="each")
    policy = AskFirst(Reads(one), [one.named])
    assert IPolicy.providedBy(policy)
    assert policy.label == "deny"
    assert now(policy.decide(facts_of())) is ALLOW
    for _ in range(2):
        Track(other.named, STAGE, None).decide(facts_of())
    clock.advance(0.5)
    assert now(policy.decide(facts_of())) is NO
    assert len(one.table) == 0


def test_in_the_background_a_rule_decides_at_once_with_what_is_known() -> None:
    clock = Clock()
    one, other = machines(clock)
    policy = AskFirst(Reads(one), [one.named])
    for _ in range(2):
        Track(other.named, STAGE, None).decide(facts_of())
    assert policy.decide(facts_of()) is ALLOW
    clock.pump([0.5, 0.5])
    assert policy.decide(facts_of()) is NO


def test_a_rule_that_reads_a_shared_table_refuses_too_if_it_is_away_and_that_is_set() -> None:
    clock = Clock()
    one, _ = machines(clock, when_away="refuse")
    policy = AskFirst(Reads(one), [one.named])
    assert policy.decide(facts_of()) is ALLOW
    one.store.how = "fails"
    clock.advance(0.5)
    assert policy.decide(facts_of()) == Deny("the store of table t does not answer", 503)
    assert policy.decide(facts_of("unix:")) is ALLOW, "it has no key there"
