"""What may stand where in a condition, and what it means."""

from typing import Any

import pytest

from tests.rules.compiled import HTTP, holds, mistake


@pytest.mark.parametrize(
    ("text", "learnt", "expected"),
    [
        ("true", {}, True),
        ("false or true", {}, True),
        ("true and not false and true", {}, True),
        ("tls.ech", {"tls_ech": True}, True),
        ("tls.ech", {"tls_ech": False}, False),
        ("tls.ech", {}, False),
        ("not tls.ech", {}, True),
        ("tls.ech == false", {}, False),
        ("tls.ech == false", {"tls_ech": False}, True),
        ("known(tls.sni)", {}, False),
        ("known(tls.sni)", {"tls_sni": "x"}, True),
        ("known(tls.sni.lower())", {"tls_sni": "x"}, True),
        ("mqtt.user.startswith('a')", {"mqtt_user": "ab"}, True),
        ("mqtt.user.endswith('b')", {"mqtt_user": "ab"}, True),
        ("mqtt.user.endswith('b')", {}, False),
        ("mqtt.user.lower().startswith('a')", {"mqtt_user": "AB"}, True),
        ("mqtt.user.matches('[a-c]+')", {"mqtt_user": "abc"}, True),
        ("mqtt.user.matches('[a-c]+')", {"mqtt_user": "abcd"}, False),
        ("mqtt.user.matches('(?i)[a-c]+')", {"mqtt_user": "ABC"}, True),
        ("tls.sni.endswith('.example.org')", {"tls_sni": "WWW.Example.org."}, True),
        ("tls.alpn.startswith('h')", {"tls_alpn": ("imap", "h2")}, True),
        ("tls.alpn.lower() == 'h2'", {"tls_alpn": ("imap", "H2")}, True),
        ("tls.alpn.matches('h[0-9]')", {}, False),
        ("-1 < dns.size <= 3", {"dns_size": 3}, True),
        ("(dns.size) >= (3)", {"dns_size": 3}, True),
        ("dns.size == 1 or dns.size == 2 or dns.size == 3", {"dns_size": 3}, True),
    ],
)
def test_what_a_condition_means(text: str, learnt: dict[str, Any], expected: bool) -> None:
    assert holds(text, **learnt) is expected


@pytest.mark.parametrize(
    ("text", "what", "marked"),
    [
        ("tls.sni", "tls.sni is a string, and not true or false: compare it, or write known(tls.sni)", "tls.sni"),
        ("5", "this is neither true nor false: compare it with a fact", "5"),
        ("known('x')", "known takes a fact", "'x'"),
        ("known(tls.sni, source)", "known takes one fact", "known(tls.sni, source)"),
        ("foo(tls.sni)", 'there is no "foo(...)" here; there is known(FACT)', "foo"),
        ("mqtt.user.startswith('')", "this is empty, and so says nothing", "''"),
        ("mqtt.user.startswith(5)", ".startswith takes one string", "mqtt.user.startswith(5)"),
        ("source.port.startswith('5')", ".startswith asks for a fact that is a string, and this is a whole number", ""),
        ("source.lower() == 'x'", ".lower() asks for a fact that is a string, and this is an address", "source"),
        (
            "tls.sni.startswith('A')",
            "tls.sni never starts with that: hosts are compared in small letters: write 'a'",
            "",
        ),
        (
            "mqtt.user.lower() == 'A'",
            "mqtt.user.lower() is never that: there are no capital letters behind .lower()",
            "",
        ),
        ("source == @bad", "a named list stands behind in, and nowhere else", "@bad"),
        ("source == ['192.0.2.1']", "a list stands behind in, and nowhere else", "['192.0.2.1']"),
        ("source.port == 1 - 2", "nothing is calculated here; a range is written '7000-7099', in quotes", "1 - 2"),
        ("tls.alpn['h2'] == 'x'", "only http.headers has an index: http.headers['name']", "tls.alpn['h2']"),
        ("5 < dns.size < 6", "this can never hold: there is no number in between", "5 < dns.size < 6"),
        ("6 > dns.size >= 6", "this can never hold: there is no number in between", "6 > dns.size >= 6"),
        ("source.port == 1.5", "numbers are whole; what looks like this is a text: '1.5'", "1.5"),
        ("tls.sni.contains('x')", "there is no .contains(...): write .matches('.*...*')", "contains"),
    ],
)
def test_what_cannot_stand_there_is_marked(text: str, what: str, marked: str) -> None:
    said, at = mistake(text)
    assert said == what
    assert at == (marked or at)


def test_an_unknown_method_is_told_with_those_that_there_are() -> None:
    for text in ("mqtt.user.upper('x')", "mqtt.user.upper() == 'x'"):
        said, at = mistake(text)
        assert said.startswith('there is no ".upper(...)"; there are .startswith(')
        assert at == "upper"


def test_a_bad_regular_expression_is_marked() -> None:
    said, at = mistake("mqtt.user.matches('a(b')")
    assert said.startswith("no regular expression: ")
    assert at == "'a(b'"
    assert mistake(r"mqtt.user.matches('(a)\1')")[0].startswith('"a back reference" cannot be matched')
    assert mistake("mqtt.user.matches('(?=a)b')")[0].startswith('"look-around" cannot be matched in linear time')


def test_a_regular_expression_takes_linear_time() -> None:
    assert not holds("mqtt.user.matches('(a*)*b')", mqtt_user="a" * 20_000)


def test_fields_are_asked_for_by_their_name_in_http_mode() -> None:
    assert mistake("http.headers['a b'] == 'x'", HTTP)[0] == "no field has the name 'a b'"
    assert mistake("http.headers['a'] == 'x'")[0] == 'http.headers is known only in mode = "http"'
