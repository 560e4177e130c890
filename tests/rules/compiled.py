"""A scope with a fact of each type, and short ways to compile in it."""

from typing import Any, Literal

import pytest

from twisted_lb.declared import OWN_FACTS, Fact, FactType
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.rules.expression import compile_expression
from twisted_lb.rules.scope import Scope
from twisted_lb.testing import make_facts

LEARNT = {
    "tls.sni": Fact(FactType.STRING, "a name", host=True),
    "tls.alpn": Fact(FactType.STRINGS, "protocols"),
    "tls.ech": Fact(FactType.BOOLEAN, "whether"),
    "mqtt.from": Fact(FactType.STRING, "a name that Python reserves"),
    "mqtt.user": Fact(FactType.STRING, "a user"),
    "dns.opcode": Fact(FactType.INTEGER, "a number", least=0, most=15),
    "dns.size": Fact(FactType.INTEGER, "a number without bounds"),
    "geo.address": Fact(FactType.ADDRESS, "an address"),
}
TCP = Scope({**OWN_FACTS, **LEARNT}, elsewhere={"smtp.helo": 'a validator does: "smtp"'})
HTTP = Scope({**OWN_FACTS, **LEARNT}, "http")


def holds(text: str, facts: Facts | None = None, /, **learnt: Any) -> bool:
    """Ask about a connection from 192.0.2.1:1234 to 198.51.100.2:443; ``tls_sni`` stands for ``tls.sni``."""
    if facts is None:
        facts = make_facts("192.0.2.1", 1234)
        facts.learnt.update({name.replace("_", ".", 1): value for name, value in learnt.items()})
    mode: Literal["tcp", "http"] = "tcp" if facts.http is None else "http"
    return compile_expression(text, TCP if mode == "tcp" else HTTP).condition(facts)


def mistakes(text: str, scope: Scope = TCP) -> list[str]:
    """Return what is wrong with an expression."""
    with pytest.raises(ConfigError) as caught:
        compile_expression(text, scope)
    return list(caught.value.problems)


def mistake(text: str, scope: Scope = TCP) -> tuple[str, str]:
    """Return what is wrong with an expression, and the part of it that is marked."""
    (problem,) = mistakes(text, scope)
    what, line, marks = problem.split("\n")
    return what, line[marks.index("^") : len(marks)]
