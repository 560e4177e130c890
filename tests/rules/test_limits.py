"""Rules that count: what their entries become, when they are asked, and what is wrong with them."""

from typing import Any, Literal

import pytest
from twisted.internet.task import Clock

from tests.counting.stores import facts_of
from twisted_lb.api import ALLOW, Answer, ConfigError, Deny, Redirect, Stage, Tarpit
from twisted_lb.config.model import Table
from twisted_lb.config.policies import Rule
from twisted_lb.config.units import Duration
from twisted_lb.counting.entries import Count, Limit, Track
from twisted_lb.counting.tables import Tables
from twisted_lb.rules.limits import read_key, with_tables
from twisted_lb.rules.rule import build_rule
from twisted_lb.rules.scope import Scope
from twisted_lb.tables.counters import COUNTERS, Event

SOURCE = b"\xc0\0\2\7"


def scope_of(mode: Literal["tcp", "http"] = "tcp", **keys: str) -> Scope:
    """A scope with a table of each key by name; ``t`` is keyed by the source."""
    tables = Tables(Clock())
    wide = Scope(mode="http")
    for name, key in {"t": "source", **keys}.items():
        settings = Table(key=key, window=Duration(10))
        tables.add(name, settings, read_key(key, wide), lambda use: pytest.fail("it has no store"))
    return with_tables(Scope(mode=mode, frontend="web"), tables)


def built(scope: Scope | None = None, /, **entry: Any) -> Any:
    if "condition" in entry:
        entry["if_"] = entry.pop("condition")
    return build_rule(Rule(**entry), scope or scope_of())


def problems(scope: Scope | None = None, /, **entry: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        built(scope, **entry)
    return list(caught.value.problems)


def begun(scope: Scope) -> Tables:
    assert scope.tables is not None
    scope.tables.begin()
    return scope.tables


def test_each_kind_of_entry_becomes_its_policy_with_its_label() -> None:
    kinds = {
        policy.label: type(policy)
        for policy in (
            built(track="t"),
            built(count="t.gpc1"),
            built(limit="connections per source > 2"),
        )
    }
    assert kinds == {"track": Track, "count": Count, "limit": Limit}


def test_a_counter_can_be_compared_and_is_kept_from_then_on() -> None:
    scope = scope_of()
    deny = built(scope, deny="tables.t.gpc0 > 1 or tables.t.connections > 5")
    table = begun(scope).named["t"].table
    assert table.kept == {"gpc0", "connections"}
    assert deny.decide(facts_of()) is ALLOW
    table.count(SOURCE, Event.GPC0, 2)
    assert isinstance(deny.decide(facts_of()), Deny)
    assert deny.decide(facts_of("unix:")) is ALLOW, "without a key no comparison holds"


def test_a_misspelt_counter_is_pointed_out() -> None:
    assert (
        'there is no fact "tables.t.connection_rat"; did you mean "tables.t.connection_rate"?'
        in problems(deny="tables.t.connection_rat > 1")[0]
    )


def test_a_comparison_that_can_never_hold_is_pointed_out() -> None:
    assert problems(deny="tables.t.gpc0 == -1")


@pytest.mark.parametrize(
    ("mode", "entry", "stage"),
    [
        ("tcp", {"track": "t"}, Stage.ADMISSION),
        ("http", {"track": "t"}, Stage.ADMISSION),
        ("http", {"track": "t", "condition": "http.path == '/x'"}, Stage.POLICY),
        ("http", {"track": "host"}, Stage.POLICY),
        ("http", {"count": "t.gpc0"}, Stage.ADMISSION),
        ("http", {"limit": "connections per source > 2"}, Stage.ADMISSION),
        ("http", {"limit": "connections per source > 2", "status": 429}, Stage.POLICY),
        ("http", {"limit": "connections per source > 2", "action": "tarpit"}, Stage.POLICY),
        ("http", {"limit": "requests per source > 2 in 10s"}, Stage.POLICY),
        ("http", {"limit": "errors per source > 2 in 10s"}, Stage.POLICY),
        ("tcp", {"limit": "errors per source > 2 in 10s"}, Stage.ADMISSION),
        ("http", {"deny": "tables.t.connection_rate > 2"}, Stage.ADMISSION),
        ("http", {"deny": "tables.t.request_rate > 2"}, Stage.POLICY),
        ("tcp", {"deny": "tables.t.bytes_in > 2"}, Stage.ADMISSION),
    ],
)
def test_a_rule_is_asked_as_early_as_its_key_and_its_counter_allow(
    mode: Literal["tcp", "http"], entry: dict[str, Any], stage: Stage
) -> None:
    keys = {"host": "http.host"} if mode == "http" else {}
    assert built(scope_of(mode, **keys), **entry).stage is stage


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ({}, Deny("", 429, (("Retry-After", "10"),), "close")),
        ({"action": "deny", "status": 503}, Deny("", 503, (), "close")),
        ({"headers": {"retry-after": "3"}}, Deny("", 429, (("retry-after", "3"),), "close")),
        ({"action": "reject"}, Deny("", how="reset")),
        ({"action": "drop"}, Deny("", how="drop")),
        ({"action": "tarpit"}, Tarpit("")),
        ({"action": "redirect", "location": "/"}, Redirect("/", reason="")),
        ({"action": "answer", "body": "x"}, Answer(200, b"x", reason="")),
    ],
)
def test_who_is_above_a_limit_gets_what_its_action_says(entry: dict[str, Any], verdict: Any) -> None:
    scope = scope_of("http")
    policy = built(scope, limit="requests per source > 0 in 9.5s", **entry)
    begun(scope)
    facts = facts_of(http=object())
    assert policy.decide(facts) == verdict


def test_a_limit_of_what_is_open_at_the_same_time_cannot_say_when_to_come_back() -> None:
    scope = scope_of("http")
    policy = built(scope, limit="connections per source > 0")
    begun(scope)
    assert policy.decide(facts_of()) == Deny("", 429, (), "close")


def test_a_limit_may_count_in_a_named_table() -> None:
    scope = scope_of()
    policy = built(scope, limit="connections per source > 1 in 10s", table="t")
    table = begun(scope).named["t"].table
    assert [policy.decide(facts_of()) for _ in range(2)] == [ALLOW, Deny("", 429, (("Retry-After", "10"),), "close")]
    assert table.value(SOURCE, COUNTERS["connection_rate"]) == 2


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"track": "tt"}, 'track: there is no table "tt"; did you mean "t"?'),
        ({"track": "other"}, 'track: there is no table "other"; there are "t"'),
        ({"count": "t.gpc9"}, 'count: "t.gpc9": expected TABLE.COUNTER; the counters are gpc0, gpc1, gpc2'),
        ({"count": "gpc0"}, 'count: "gpc0": expected TABLE.COUNTER'),
        ({"count": "x.gpc0"}, 'count: there is no table "x"'),
        ({"track": "t", "condition": "tables.x.gpc0 > 1"}, 'if: there is no table "x"; there are "t"'),
        ({"limit": "requests per source > 1 in 1s"}, 'limit: "requests per source > 1 in 1s": there are requests only'),
        ({"limit": "connections per sauce > 1"}, 'limit: there is no fact "sauce"; did you mean "source"?'),
        ({"limit": "connections per source > 1 in 10s", "table": "u"}, 'limit: there is no table "u"'),
        (
            {"limit": "connections per source/24 > 1 in 10s", "table": "t"},
            'limit: "connections per source/24 > 1 in 10s": the key of table t is source',
        ),
        (
            {"limit": "connections per source > 1 in 20s", "table": "t"},
            'limit: "connections per source > 1 in 20s": the window of table t is 10s',
        ),
        ({"track": "t", "condition": "sauce == '1'"}, 'if: there is no fact "sauce"'),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_with_its_key(entry: dict[str, Any], problem: str) -> None:
    found = problems(**entry)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_limits_that_count_the_same_count_together() -> None:
    scope = scope_of()
    low, high = (built(scope, limit=f"connections per source > {most} in 10s") for most in (1, 3))
    begun(scope)
    assert [low.decide(one) is ALLOW and high.decide(one) is ALLOW for one in map(facts_of, ["192.0.2.7"] * 2)] == [
        True,
        False,
    ]
    assert len(list(begun(scope))) == 2, "the named one, and theirs"


def test_a_limit_with_a_condition_counts_only_who_meets_it() -> None:
    scope = scope_of()
    some = built(scope, limit="connections per source > 1 in 10s", condition="destination.port == 1")
    every = built(scope, limit="connections per source > 1 in 10s")
    begun(scope)
    assert [every.decide(facts_of()) is ALLOW for _ in range(3)] == [True, False, False]
    facts = facts_of()
    facts.destination = facts.destination._replace(port=1)
    assert some.decide(facts) is ALLOW
