"""What rules can ask about a request."""

from typing import Any

import pytest

from tests.rules.compiled import HTTP, holds, mistake
from twisted_lb.facts import Facts
from twisted_lb.rules.http_facts import HTTP_FACTS, header_use
from twisted_lb.testing import make_facts

REQUEST = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: WWW.Example.org:80\r\nX-Real-IP: 192.0.2.9\r\nVia: a\r\nvia: \xff\r\n\r\n"


def asked() -> Facts:
    return make_facts(request=REQUEST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http.method", "GET"),
        ("http.host", "WWW.Example.org".lower()),
        ("http.path", "/a%20b"),
        ("http.query", "q=1"),
        ("http.target", "/a%20b?q=1"),
        ("http.version", "1.1"),
        ("http.headers", ("Host: WWW.Example.org:80", "X-Real-IP: 192.0.2.9", "Via: a", "via: \\xff")),
    ],
)
def test_each_fact_is_what_the_request_says(name: str, value: Any) -> None:
    get = HTTP_FACTS[name].get
    assert get is not None
    assert get(asked()) == value
    assert get(make_facts()) is None


def test_every_fact_of_requests_is_tested_above() -> None:
    assert len(HTTP_FACTS) == 7


def test_the_host_is_the_one_that_the_server_will_be_asked_for() -> None:
    facts = asked()
    facts.http.headers.set(b"Host", b"other.example")
    assert holds("http.host == 'other.example'", facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http.headers['x-real-ip'] == '192.0.2.9'", True),
        ("http.headers['VIA'] == 'a'", True),
        ("http.headers['via'] in ['b', 'c']", False),
        ("known(http.headers['x-none'])", False),
        ("not http.headers['x-none'] == 'x'", True),
        ("http.path == '/a b'", True),
        ("http.query.startswith('q=')", True),
        ("http.method in ['GET', 'HEAD']", True),
        ("http.version == '1.0'", False),
    ],
)
def test_rules_ask_for_them(text: str, expected: bool) -> None:
    assert holds(text, asked()) is expected


def test_a_field_with_several_lines_has_all_their_values() -> None:
    assert header_use("Via").get(asked()) == ("a", "\\xff")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("http.method == 'get'", "methods are written in capitals: 'GET'"),
        ("http.method == 'a b'", "no method is spelt like that"),
        ("http.version == '2'", "it is '1.0' or '1.1', and nothing else"),
        ("http.path == 'x'", "a path begins with a slash"),
        ("http.path.startswith('/a//b')", "it can be read in several ways"),
        ("http.path == '/%61'", "paths are compared decoded: write '/a'"),
        ("http.target == '/ä'", "no target has such a character in it"),
        ("http.host == 'Example.org'", "hosts are compared in small letters: write 'example.org'"),
    ],
)
def test_what_no_request_says_is_a_mistake(text: str, what: str) -> None:
    assert what in mistake(text, HTTP)[0]


def test_a_name_alone_is_no_field_of_any_request() -> None:
    """Seen: ``deny = "'x-debug' in http.headers"`` was valid, and never held."""
    what = "http.headers is never that: each of them is 'name: value'; write known(http.headers['via'])"
    for text in ("'via' in http.headers", "http.headers == 'via'", "http.headers in ['via']"):
        assert mistake(text, HTTP)[0].startswith(what)
    assert holds("'Via: a' in http.headers", asked())
    assert holds("http.headers.startswith('Via')", asked())


def test_a_method_of_ones_own_may_be_in_small_letters() -> None:
    assert not holds("http.method == 'purge'", asked())
    assert not holds("http.path == '*'", asked())
