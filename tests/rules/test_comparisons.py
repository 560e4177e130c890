"""Comparisons are typed, false for what is not known, and mistakes where they say nothing."""

from typing import Any

import pytest

from tests.rules.compiled import holds, mistake
from twisted_lb.rules.comparisons import same_address


@pytest.mark.parametrize(
    ("text", "learnt", "expected"),
    [
        ("tls.sni == 'x'", {"tls_sni": "X."}, True),
        ("'x' == tls.sni", {"tls_sni": "x"}, True),
        ("tls.sni == 'x'", {}, False),
        ("tls.sni != 'x'", {}, False),
        ("not tls.sni == 'x'", {}, True),
        ("tls.sni != 'x'", {"tls_sni": "y"}, True),
        ("source == '192.0.2.1'", {}, True),
        ("source == '::ffff:192.0.2.1'", {}, True),
        ("source != '192.0.2.1'", {}, False),
        ("source == '192.0.2.2'", {}, False),
        ("source == peer", {}, True),
        ("source == destination", {}, False),
        ("source.port == 1234", {}, True),
        ("1000 < source.port", {}, True),
        ("1000 > source.port", {}, False),
        ("source.port > destination.port", {}, True),
        ("dns.size < 5", {}, False),
        ("dns.size != 5", {"dns_size": 4}, True),
        ("mqtt.user == mqtt.from", {"mqtt_user": "a", "mqtt_from": "a"}, True),
        ("mqtt.user != mqtt.from", {"mqtt_user": "a"}, False),
        ("tls.alpn == 'h2'", {"tls_alpn": ("imap", "h2")}, True),
        ("not tls.alpn == 'h2'", {}, True),
    ],
)
def test_what_a_comparison_means(text: str, learnt: dict[str, Any], expected: bool) -> None:
    assert holds(text, **learnt) is expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("source.port == 'x'", "source.port is a whole number, and this is a string"),
        ("source.port == true", "source.port is a whole number, and this is true or false"),
        ("mqtt.user == 5", "mqtt.user is a string, and this is a whole number"),
        ("mqtt.user < 'x'", "mqtt.user is a string: only whole numbers have an order"),
        ("source == source.port", "source is an address, and source.port is a whole number"),
        ("source == '10.0.0.0/8'", "this is a network: write in '10.0.0.0/8'"),
        ("source == '10.0.0.1/8'", '"10.0.0.1/8" is no network: 10.0.0.1/8 has host bits set'),
        ("source.port == 70000", "this can never hold: source.port is 0 to 65535"),
        ("source.port != 70000", "this holds always: source.port is 0 to 65535"),
        ("source.port < 70000", "this holds always: source.port is 0 to 65535"),
        ("source.port > 65535", "this can never hold: source.port is 0 to 65535"),
        ("source.port >= 0", "this holds always: source.port is 0 to 65535"),
        ("-1 == dns.opcode", "this can never hold: dns.opcode is 0 to 15"),
        ("1 == 1", "compares two fixed values, and no fact"),
        ("source == source", "compares a fact with itself"),
        ("tls.alpn != 'h2'", "tls.alpn has several values: write not tls.alpn == ... for none of them"),
        ("tls.alpn == tls.alpn", "tls.alpn and tls.alpn are lists: compare with a string"),
        ("tls.sni == 'X'", "tls.sni is never that: hosts are compared in small letters: write 'x'"),
    ],
)
def test_a_comparison_that_says_nothing_is_a_mistake(text: str, what: str) -> None:
    said, at = mistake(text)
    assert said.startswith(what)
    assert at in text


@pytest.mark.parametrize(
    ("one", "other", "same"), [("::1", "0::1", True), ("unix:", "unix:a", False), ("x", "y", False)]
)
def test_addresses_are_the_same_however_they_are_spelt(one: str, other: str, same: bool) -> None:
    assert same_address(one, other) is same
