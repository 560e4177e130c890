"""What the command line says becomes facts."""

from typing import Any

import pytest

from twisted_lb.api import ConfigError, Fact, FactType, SocketAddress, WireError
from twisted_lb.config.model import Bind, Frontend
from twisted_lb.explain.case import Case, facts_of, read_address, read_facts, request_of
from twisted_lb.wire.http1_settings import Http1Settings


def frontend(bind: str) -> Frontend:
    return Frontend(bind=[Bind(address=bind)], backend="app")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", SocketAddress("192.0.2.1", 5)),
        ("192.0.2.1:80", SocketAddress("192.0.2.1", 80)),
        ("2001:db8::1", SocketAddress("2001:db8::1", 5)),
        ("[2001:db8::1]", SocketAddress("2001:db8::1", 5)),
        ("[2001:db8::1]:80", SocketAddress("2001:db8::1", 80)),
        ("unix:", SocketAddress("unix:")),
        ("unix", SocketAddress("unix:")),
    ],
)
def test_an_address_may_have_a_port(text: str, address: SocketAddress) -> None:
    assert read_address(text, 5) == address


@pytest.mark.parametrize("text", ["", "x", "192.0.2.1:x", "192.0.2.1:70000", "192.0.2.256"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ConfigError):
        read_address(text, 5)


@pytest.mark.parametrize(
    ("bind", "destination"),
    [
        ("192.0.2.9:443", SocketAddress("192.0.2.9", 443)),
        ("*:7000-7009", SocketAddress("127.0.0.1", 7000)),
        ("unix:/run/x", SocketAddress("unix:/run/x")),
        ("fd:3", SocketAddress("127.0.0.1")),
    ],
)
def test_without_a_destination_it_is_the_first_bind(bind: str, destination: SocketAddress) -> None:
    facts = facts_of(Case("198.51.100.1:7"), "web", frontend(bind))
    assert facts.destination == destination
    assert (facts.source, facts.bind, facts.frontend) == (SocketAddress("198.51.100.1", 7), bind, "web")
    assert facts_of(Case("::1", "192.0.2.7:1"), "web", frontend(bind)).destination == SocketAddress("192.0.2.7", 1)


KNOWN = {
    "a.text": Fact(FactType.STRING, ""),
    "a.number": Fact(FactType.INTEGER, ""),
    "a.flag": Fact(FactType.BOOLEAN, ""),
    "a.list": Fact(FactType.STRINGS, ""),
}


def test_facts_have_their_types() -> None:
    said = {"a.text": "5", "a.number": "5", "a.flag": "true", "a.list": "h2, http/1.1"}
    assert read_facts(said, KNOWN) == {"a.text": "5", "a.number": 5, "a.flag": True, "a.list": ("h2", "http/1.1")}


def test_every_fact_that_is_unknown_or_of_another_type_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        read_facts({"a.txt": "x", "a.number": "x", "a.flag": "yes"}, KNOWN)
    assert list(caught.value.problems) == [
        'nobody in this frontend learns a fact "a.txt"; did you mean "a.text"?',
        "a.number is a whole number, and not x",
        "a.flag is true or false, and not yes",
    ]


def test_a_request_is_described_or_given_in_bytes() -> None:
    described = request_of(
        Case("::1", method="PUT", host="a.example", path="/x?y", headers=[("X-A", "1")]), Http1Settings()
    )
    assert (described.method, described.host, described.target) == (b"PUT", b"a.example", b"/x?y")
    assert described.headers.get(b"x-a") == b"1"
    given = request_of(Case("::1", data=b"GET /z HTTP/1.1\r\nHost: b\r\n\r\nbody"), Http1Settings())
    assert (given.target, given.host) == (b"/z", b"b")


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ({"data": b"GET / HT"}, ConfigError),
        ({"headers": [("a b", "c")]}, ConfigError),
        ({"data": b"\x16\x03\x01"}, WireError),
        ({"path": "/ /"}, WireError),
    ],
)
def test_a_request_that_makes_no_sense_is_told(case: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        request_of(Case("::1", **case), Http1Settings())
