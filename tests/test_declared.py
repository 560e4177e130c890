"""What is declared of facts is what connections have."""

import pytest

from twisted_lb.declared import OWN_FACTS, FactType, protocol_fact, value_of
from twisted_lb.endings import Stage
from twisted_lb.facts import Credentials, Facts, SocketAddress

FACTS = Facts(SocketAddress("192.0.2.1", 1234), SocketAddress("198.51.100.2", 443), "web", "*:443", "blue")
FACTS.credentials = Credentials(1, 2, 3)
TYPES = {FactType.STRING: str, FactType.ADDRESS: str, FactType.INTEGER: int}


@pytest.mark.parametrize("name", OWN_FACTS)
def test_every_connection_has_it_from_the_first_stage_on_and_of_that_type(name: str) -> None:
    fact = OWN_FACTS[name]
    assert (fact.stage, fact.mode) == (Stage.ADMISSION, None)
    assert fact.get is not None
    assert type(fact.get(FACTS)) is TYPES[fact.type]


def test_the_client_the_proxy_before_us_and_we_are_told_apart() -> None:
    facts = Facts(SocketAddress("192.0.2.1", 1234), SocketAddress("198.51.100.2", 443), "web", "*:443")
    facts.source = SocketAddress("203.0.113.9", 9)
    got = {name: fact.get(facts) for name, fact in OWN_FACTS.items() if fact.get is not None}
    assert (got["source"], got["peer"], got["destination"]) == ("203.0.113.9", "192.0.2.1", "198.51.100.2")
    assert (got["source.port"], got["peer.port"], got["destination.port"]) == (9, 1234, 443)
    assert got["namespace"] is None
    assert got["unix.uid"] is None


def test_a_fact_s_value_is_looked_up_by_its_name() -> None:
    facts = Facts(SocketAddress("192.0.2.1", 1234), SocketAddress("198.51.100.2", 443), "web", "*:443")
    facts.learnt["tls.sni"] = "a.example"
    names = ("source", "destination.port", "namespace", "tls.sni", "tls.alpn")
    assert [value_of(facts, name) for name in names] == ["192.0.2.1", 443, None, "a.example", None]


def test_the_protocol_is_the_same_fact_of_whichever_validator_learns_it() -> None:
    tls, any_at_all = protocol_fact("tls"), protocol_fact()
    assert (tls.type, tls.values, any_at_all.values) == (FactType.STRING, ("tls",), ())
    assert (tls.about, tls.stage) == (any_at_all.about, any_at_all.stage)
