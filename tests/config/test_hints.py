"""What an operator is told about a name that does not exist."""

import pytest

from twisted_lb.api import Options
from twisted_lb.config.hints import nearest, unknown_key, unknown_name
from twisted_lb.config.model import Backend, Bind, Frontend, Server
from twisted_lb.config.section import Section
from twisted_lb.config.tcp import ConnectTcp
from twisted_lb.config.timeouts import BackendTimeouts, FrontendTimeouts


@pytest.mark.parametrize(
    ("name", "expected"), [("least-conn", "least_conn"), ("FIRST", "first"), ("frist", "first"), ("qqqq", None)]
)
def test_the_nearest_name(name: str, expected: str | None) -> None:
    assert nearest(name, ["least_conn", "first"]) == expected


def test_without_a_near_name_all_are_listed() -> None:
    assert unknown_name("qqqq", ["a", "b"]) == '; there are "a", "b"'
    assert unknown_name("qqqq", []) == "; there are none"


@pytest.mark.parametrize(
    ("table", "key", "place"),
    [
        (FrontendTimeouts, "server_fin", "[backends.NAME.timeouts]"),
        (BackendTimeouts, "policy", "[frontends.NAME.timeouts]"),
        (Frontend, "balance", "[backends.NAME]"),
        (Frontend, "client", "[frontends.NAME.timeouts]"),
        (Backend, "bind", "[frontends.NAME]"),
        (Bind, "mark", "belongs in tcp"),
        (Server, "idle", "belongs in keepalive, a table in tcp"),
        (ConnectTcp, "defer_accept", "belongs in tcp of a frontend or a bind"),
        (Backend, "transparent", "belongs in a table in bind or source"),
    ],
)
def test_a_key_of_another_table_is_sent_there(table: type[Section], key: str, place: str) -> None:
    assert place in unknown_key(table, key, table.__struct_fields__)


def test_a_key_that_may_be_misplaced_or_misspelt_is_called_both() -> None:
    hint = unknown_key(Backend, "server", Backend.__struct_fields__)
    assert "it belongs in [defaults.timeouts] or [backends.NAME.timeouts]" in hint
    assert hint.endswith('; or did you mean "servers"?')


def test_a_plugins_option_is_not_sent_to_our_tables() -> None:
    assert unknown_key(Options, "maxconn", ["count"]) == 'unknown key; the keys here are "count"'
