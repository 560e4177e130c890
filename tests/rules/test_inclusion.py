"""What may stand behind ``in``, and what it means."""

from pathlib import Path
from typing import Any

import pytest

from tests.rules.compiled import TCP, holds, mistake
from twisted_lb.config.model import ListFile
from twisted_lb.rules.expression import compile_expression
from twisted_lb.rules.lists import ListFiles
from twisted_lb.rules.scope import Scope
from twisted_lb.testing import make_facts


@pytest.mark.parametrize(
    ("text", "learnt", "expected"),
    [
        ("source in ['192.0.2.0/24', '10.0.0.0/8']", {}, True),
        ("source in '192.0.2.0/24'", {}, True),
        ("source not in ('192.0.2.0/24', 'unix')", {}, False),
        ("geo.address not in ['10.0.0.0/8']", {}, False),
        ("geo.address not in ['10.0.0.0/8']", {"geo_address": "unknown:Onion"}, True),
        ("source.port in [80, '1200-1299', range(5, 7)]", {}, True),
        ("source.port in '1200-1299'", {}, True),
        ("source.port in range(1234, 1235)", {}, True),
        ("source.port not in range(1235, 2000)", {}, True),
        ("dns.size in ['-5--3']", {"dns_size": -4}, True),
        ("tls.sni in ['example.org', '*.example.org']", {"tls_sni": "A.B.example.ORG"}, True),
        ("tls.sni in ['*.example.org']", {"tls_sni": "example.org"}, False),
        ("tls.sni not in ['*.example.org']", {}, False),
        ("mqtt.user in ['a', 'b']", {"mqtt_user": "b"}, True),
        ("'h2' in tls.alpn", {"tls_alpn": ("imap", "h2")}, True),
        ("'h2' not in tls.alpn", {"tls_alpn": ("imap",)}, True),
        ("'h2' not in tls.alpn", {}, False),
        ("tls.alpn in ['h2', 'h3']", {"tls_alpn": ("imap", "h2")}, True),
    ],
)
def test_what_in_means(text: str, learnt: dict[str, Any], expected: bool) -> None:
    assert holds(text, **learnt) is expected


@pytest.mark.parametrize(
    ("text", "what", "marked"),
    [
        ("source in []", "this list is empty, so nothing is ever in it", "[]"),
        ("source in ['10.0.0.0/8', 'x']", '"x" is no network', "'x'"),
        ("source in [5]", "source is an address, and this is a whole number", "5"),
        ("source in [peer]", "only fixed values stand in a list", "peer"),
        ("source in [@bad]", "a named list stands by itself", "@bad"),
        ("source in @bad", 'there is no list "bad": write [lists] and bad = "FILE"', "@bad"),
        ("source.port in [70000]", "source.port is never that: it is 0 to 65535", "70000"),
        ("source.port in ['9-3']", '"9-3" is empty', "'9-3'"),
        ("source.port in ['x']", '"x" is neither a whole number nor a range', "'x'"),
        ("source.port in range(5, 5)", "this range is empty", "range(5, 5)"),
        ("source.port in range(5)", "range takes the first number", "range(5)"),
        ("source.port in 7000-7099", "behind in stands a list", "7000-7099"),
        ("mqtt.user in 'abc'", "behind in stands a list", "'abc'"),
        ("'a' in mqtt.user", "mqtt.user is a string, and no list", "mqtt.user"),
        ("'a' in ['a']", "compares two fixed values", "'a' in ['a']"),
        ("tls.sni in ['Example.org']", "tls.sni is never that: hosts are compared in small letters", "'Example.org'"),
        ("tls.sni in ['.example.org']", "tls.sni is never that: write '*.example.org'", "'.example.org'"),
        ("tls.alpn not in ['h2']", "tls.alpn has several values: write not tls.alpn in", "tls.alpn"),
        ("tls.ech in [true]", "tls.ech is true or false", "tls.ech"),
    ],
)
def test_what_cannot_stand_behind_in_is_marked(text: str, what: str, marked: str) -> None:
    said, at = mistake(text)
    assert said.startswith(what)
    assert at == marked


def test_a_named_list_is_taken_for_what_the_fact_is(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    lists = ListFiles({name: ListFile(file=str(path)) for name in ("nets", "names", "users", "ports")})
    scope = Scope(TCP.facts, lists=lists)
    facts = make_facts("192.0.2.1", 1234, learnt={"tls.sni": "a.example.org", "mqtt.user": "Ann"})
    for content, text in (
        ("192.0.2.0/24", "source in @nets"),
        ("*.Example.org.", "tls.sni in @names"),
        ("Ann", "mqtt.user in @users"),
        ("ANN", "mqtt.user.lower() in @users"),
        ("1200-1299", "source.port in @ports"),
    ):
        path.write_text(content + "\n")
        assert compile_expression(text, scope).condition(facts) is True
        assert compile_expression(text.replace(" in ", " not in "), scope).condition(facts) is False
    assert lists.problems == []
    assert mistake("source in @net", scope) == ('there is no list "net"; did you mean "nets"?', "@net")
