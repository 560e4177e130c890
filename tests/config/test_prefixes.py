"""The words that begin a Twisted endpoint's description."""

import pytest
from twisted.internet import endpoints

from twisted_lb.config.prefixes import client_prefixes, server_prefixes


@pytest.mark.parametrize(
    "prefixes",
    [
        (server_prefixes(), endpoints._serverParsers),
        (client_prefixes(), endpoints._clientParsers),
    ],
    ids=["servers", "clients"],
)
def test_all_that_twisted_has_built_in_are_known(prefixes: tuple[frozenset[str], dict[str, object]]) -> None:
    known, built_in = prefixes
    assert {name.lower() for name in built_in} <= known


def test_those_of_twisteds_own_plugins_are_known() -> None:
    assert {"tcp6", "systemd", "haproxy"} <= server_prefixes()
    assert "tls" in client_prefixes()
