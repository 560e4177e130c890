"""What is known of the values that facts can have."""

from enum import StrEnum

import pytest

from twisted_lb.declared import Fact, FactType
from twisted_lb.rules.values import Place, host_fault, use_of
from twisted_lb.testing import make_facts

HOST = use_of("tls.sni", Fact(FactType.STRING, "", host=True))


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("www.example.org", "whole", ""),
        ("[2001:db8::1]", "whole", ""),
        (".example.org", "end", ""),
        ("www.", "start", ""),
        ("WWW", "whole", "write 'www'"),
        ("a.", "whole", "write 'a'"),
        ("*.a", "whole", "no host has a *"),
        ("", "whole", "no host is empty"),
        ("a:80", "whole", "without their port"),
        ("ä.example", "whole", "xn--"),
        ("a b", "whole", "no host is spelt like that"),
        ("a/b", "whole", "no host is spelt like that"),
    ],
)
def test_a_text_that_no_host_can_be_is_told(text: str, place: Place, fault: str) -> None:
    found = host_fault(text, place)
    assert fault in found
    assert bool(found) is bool(fault)


def test_names_of_hosts_are_compared_in_small_letters_and_without_a_final_dot() -> None:
    assert HOST.get(make_facts(learnt={"tls.sni": "WWW.Example.org."})) == "www.example.org"
    assert HOST.get(make_facts()) is None


def test_small_letters_are_those_of_every_value() -> None:
    use = use_of("tls.alpn", Fact(FactType.STRINGS, "")).lowered()
    assert use.name == "tls.alpn.lower()"
    assert use.get(make_facts(learnt={"tls.alpn": ("H2", "x")})) == ("h2", "x")
    assert use.get(make_facts()) is None
    assert use.fault("H2", "whole")


def test_small_letters_of_a_string_of_a_kind_of_its_own_are_a_string() -> None:
    class Kind(StrEnum):
        ADMIN = "Admin"

    use = use_of("x.kind", Fact(FactType.STRING, "")).lowered()
    assert use.get(make_facts(learnt={"x.kind": Kind.ADMIN})) == "admin"


def test_a_fact_that_is_computed_is_asked_for_where_it_comes_from() -> None:
    assert use_of("x", Fact(FactType.STRING, "", get=lambda facts: facts.bind)).get(make_facts(bind="*:1")) == "*:1"
