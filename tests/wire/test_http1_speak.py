"""What is said to servers about clients, quoted as RFC 7239 asks."""

import pytest

from twisted_lb.wire.http1_speak import Speaker, Speaking, forwarded_element

ALL = Speaking(
    x_forwarded_for="append", x_forwarded_proto="set", x_forwarded_host="set", x_forwarded_port="set", forwarded="set"
)


@pytest.mark.parametrize(
    ("client", "host", "element"),
    [
        (b"192.0.2.1", b"a", b"for=192.0.2.1;host=a;proto=http"),
        (b"2001:db8::1", b"a:80", b'for="[2001:db8::1]";host="a:80";proto=http'),
        (b"unknown", b"[::1]", b'for=unknown;host="[::1]";proto=http'),
        (b"192.0.2.1", b"", b"for=192.0.2.1;proto=http"),
    ],
)
def test_an_element_quotes_what_is_no_token(client: bytes, host: bytes, element: bytes) -> None:
    assert forwarded_element(client, host, b"http") == element


def test_all_fields_are_said_over_tls() -> None:
    said = Speaker(ALL, b"2001:db8::1", 443, secure=True).lines(b"a", {})
    assert said == (
        b"X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n"
        b'X-Forwarded-Host: a\r\nForwarded: for="[2001:db8::1]";host=a;proto=https\r\n'
    )


def test_nothing_is_said_of_a_host_that_was_not_named() -> None:
    assert b"X-Forwarded-Host" not in Speaker(ALL, b"192.0.2.1", 80).lines(b"", {})
    assert b"X-Forwarded-Host" not in Speaker(ALL, b"192.0.2.1", 80).lines(b"", {b"x-forwarded-for": (b"1",)})


def test_nothing_is_said_by_default_and_of_an_excepted_client() -> None:
    assert Speaker(Speaking(), b"192.0.2.1", 80).lines(b"a", {}) == b""
    assert Speaker(ALL, b"192.0.2.1", 80, excepted=True).lines(b"a", {}) == b""
