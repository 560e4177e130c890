"""What is there and what is not, with the nearest name."""

import pytest

from tests.rules.compiled import HTTP, TCP, mistake
from twisted_lb.declared import Fact, FactType
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.rules.scope import NoLists, Scope
from twisted_lb.testing import make_facts


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("req.ssl_sni", 'there is no fact "req.ssl_sni"; write tls.sni'),
        ("any", 'there is no fact "any"; write true for every connection'),
        ("tls.snl", 'there is no fact "tls.snl"; did you mean "tls.sni"?'),
        ("smtp.helo", 'nobody here learns smtp.helo: a validator does: "smtp"'),
        ("True", "True is written true"),
        ("http.headers.host", "there is no fact \"http.headers.host\"; write http.headers['host']"),
        ("http.host", 'http.host is known only in mode = "http"'),
        ("tls.quite_another", 'there is no fact "tls.quite_another"; there are tls.sni, tls.alpn, tls.ech'),
    ],
)
def test_a_fact_that_is_not_there_is_told_with_what_is(name: str, what: str) -> None:
    assert TCP.missing(name) == what
    with pytest.raises(ValueError, match=name):
        TCP.fact(name)


def test_a_fact_that_comes_too_late_is_told() -> None:
    late = Scope({"smtp.helo": Fact(FactType.STRING, "", Stage.RELAY)})
    assert mistake("smtp.helo == 'x'", late) == (
        "smtp.helo is known only in the stage relay, when all rules were asked",
        "smtp.helo",
    )


def test_what_asks_for_a_fact_gets_its_value_or_is_told_why_not() -> None:
    fact, get = TCP.find("tls.sni")
    facts = make_facts(learnt={"tls.sni": "a.example"})
    assert (fact.type, get(facts), get(make_facts())) == (FactType.STRING, "a.example", None)
    with pytest.raises(ConfigError, match=r'did you mean "tls\.sni"'):
        TCP.find("tls.snl")


def test_a_fact_of_the_other_mode_is_told() -> None:
    scope = Scope({"a.b": Fact(FactType.STRING, "", mode="tcp")}, "http")
    assert scope.missing("a.b") == 'a.b is known only in mode = "tcp"'
    with pytest.raises(ValueError, match="mode"):
        scope.fact("a.b")


def test_facts_and_fields_are_found() -> None:
    assert TCP.fact("source.port").fact.most == 65535
    assert HTTP.header("Via").name == "http.headers['via']"
    with pytest.raises(ValueError, match="mode"):
        TCP.header("via")


def test_without_lists_there_are_none() -> None:
    assert NoLists().names() == []
    with pytest.raises(ValueError, match=r"write \[lists\] and"):
        TCP.list_view("bad", "networks")
    with pytest.raises(LookupError):
        NoLists().view("bad", "networks")


def test_without_tables_it_is_told_how_one_is_made() -> None:
    assert TCP.missing_table("t") == 'there is no table "t": write [tables.t] and key = "source"'
