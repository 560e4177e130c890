"""Tables as the configuration spells them: what they become, and what is wrong with them."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from twisted_lb.assembly import assemble
from twisted_lb.config.load import load_dict
from twisted_lb.errors import ConfigError
from twisted_lb.process import Process


def config(table: dict[str, Any], mode: str = "tcp", *policies: dict[str, Any], **frontend: Any) -> Any:
    return load_dict(
        {
            "tables": {"t": table},
            "frontends": {
                "web": {"bind": "127.0.0.1:0", "backend": "app", "mode": mode, "policies": list(policies), **frontend}
            },
            "backends": {"app": {"servers": {"s": "127.0.0.1:9"}}},
        },
        "lb.toml",
    )


def assembled(*arguments: Any, **settings: Any) -> Any:
    clock = Clock()
    return assemble(config(*arguments, **settings), Process(None, clock, None))


def problems(*arguments: Any, **settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        assembled(*arguments, **settings)
    return list(caught.value.problems)


def test_a_table_has_the_bounds_that_are_set() -> None:
    made = assembled({"key": "source/24", "size": 7, "expire": "1m", "window": "30s"})
    made.tables.begin()
    table = made.tables.named["t"]
    assert (table.table.size, table.table.expire_s, table.table.window_s) == (7, 60.0, 30.0)
    assert table.key.text == "source/24"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "lb.toml: tables.t.key: is missing"),
        ({"key": "sauce"}, 'tables.t.key: there is no fact "sauce"; did you mean "source"?'),
        ({"key": "source/99"}, 'tables.t.key: "source/99": networks are 1 to 32 bits long in IPv4'),
        ({"key": "source", "window": "50ms"}, "tables.t.window: 100ms at least"),
        ({"key": "source", "window": "1h", "expire": "1m"}, "tables.t.expire: an entry lives as long as the window"),
        ({"key": "source", "size": 0}, "lb.toml: tables.t.size: "),
        (
            {"key": "source", "store": "redys"},
            'tables.t.store: there is no table store "redys"; did you mean "redis"?',
        ),
        (
            {"key": "source", "store": {"use": "memory", "refresh": "1s"}},
            'tables.t.store.refresh: a table in "memory" is not shared',
        ),
        (
            {"key": "source", "store": {"use": "memory", "address": "x"}},
            'tables.t.store.address: a table in "memory" is not shared',
        ),
        ({"key": "source", "store": {"use": "redis", "refresh": "1ms"}}, "tables.t.store.refresh: 10ms at least"),
        ({"key": "source", "store": {"use": "redis", "timeout": "0s"}}, "tables.t.store.timeout: cannot be 0"),
        ({"key": "source", "store": {"use": "redis", "lease": "1s"}}, "tables.t.store.lease: twice as long"),
        ({"key": "source", "store": {"use": "redis", "mode": "often"}}, "lb.toml: tables.t.store.mode: "),
        ({"key": "source", "store": {"use": "redis", "host": "x"}}, "tables.t.store.host: unknown key"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table: dict[str, Any], problem: str) -> None:
    found = problems(table)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_table_may_be_keyed_by_what_only_some_frontends_know() -> None:
    for key in ("tls.sni", "http.host", "http.headers['x-user']"):
        assert assembled({"key": key}).tables.named["t"].key.text == key


def test_a_frontend_that_does_not_know_a_tables_key_cannot_use_it() -> None:
    found = problems({"key": "http.host"}, "tcp", {"track": "t"}, {"deny": "tables.t.gpc0 > 0"})
    assert found[0].startswith('frontends.web.policies[0].track: http.host is known only in mode = "http"')
    assert "the key of table t is http.host, and nobody knows that here" in found[1]


@pytest.mark.parametrize("name", ["my-table", "1st", "a.b", ""])
def test_a_tables_name_can_stand_in_an_expression(name: str) -> None:
    with pytest.raises(ConfigError, match="the name of a table"):
        load_dict({"tables": {name: {"key": "source"}}, "frontends": {}, "backends": {}}, "lb.toml")


def test_a_rule_does_not_deny_that_there_is_a_table_in_which_something_is_wrong() -> None:
    assert problems({"key": "sauce"}, "tcp", {"track": "t"})[1:] == [
        'frontends.web.policies[0].track: table "t" cannot be used before what is wrong with it is repaired'
    ]
