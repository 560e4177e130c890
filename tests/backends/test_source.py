"""Which address a connection comes from: the client's, a fixed one, or an error that says why not."""

import os
import socket

import pytest

from twisted_lb.backends.source import OutgoingError, Source, cannot_bind, check_source, ip_of
from twisted_lb.config.addresses import ClientSource, FixedSource, HeaderSource
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.testing import make_facts

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("192.0.2.1", (V4, "192.0.2.1")),
        ("2001:db8::1", (V6, "2001:db8::1")),
        ("::ffff:192.0.2.1", (V4, "192.0.2.1")),
        ("::FFFF:C000:201", (V4, "192.0.2.1")),
        ("fe80::1%eth0", (V6, "fe80::1%eth0")),
        ("unix:/run/a:b", None),
        ("unix:", None),
        ("unknown:Onion", None),
        ("", None),
    ],
)
def test_a_host_has_a_family_or_is_no_address(host: str, found: object) -> None:
    assert ip_of(host) == found


@pytest.mark.parametrize(
    ("source", "client", "family", "local"),
    [
        (ClientSource(True), "192.0.2.1", V4, ("192.0.2.1", 4321)),
        (ClientSource(False), "192.0.2.1", V4, ("192.0.2.1", 0)),
        (ClientSource(True), "::ffff:192.0.2.1", V4, ("192.0.2.1", 4321)),
        (ClientSource(True), "2001:db8::1", V6, ("2001:db8::1", 4321)),
        (FixedSource("192.0.2.7"), "unix:", V4, ("192.0.2.7", 0)),
        (FixedSource("192.0.2.7", 5, 5), "unix:", V4, ("192.0.2.7", 5)),
        (FixedSource("", 5, 9), "unix:", V4, ("0.0.0.0", 5)),
        (FixedSource("", 5, 9), "unix:", V6, ("::", 5)),
        (None, "unix:", V4, None),
    ],
)
def test_where_a_connection_comes_from(
    source: ClientSource | FixedSource | None, client: str, family: int, local: object
) -> None:
    assert Source(source, False, None).local(make_facts(client, 4321), family) == local


@pytest.mark.parametrize(
    ("source", "client", "family", "reason"),
    [
        (ClientSource(True), "192.0.2.1", V6, "the client's address 192.0.2.1 is IPv4, and the server's IPv6"),
        (ClientSource(False), "2001:db8::1", V4, "the client's address 2001:db8::1 is IPv6, and the server's IPv4"),
        (ClientSource(True), "unix:", V4, "no IP address"),
        (FixedSource("192.0.2.7"), "2001:db8::1", V6, "the source address 192.0.2.7 is IPv4"),
    ],
)
def test_an_address_that_cannot_be_had_is_an_error(
    source: ClientSource | FixedSource, client: str, family: int, reason: str
) -> None:
    with pytest.raises(OutgoingError, match=reason):
        Source(source, False, None).local(make_facts(client, 4321), family)


BELIEVED = {"web": Networks.parse(["10.0.0.0/8", "fd00::/8"])}
FORWARDED_FOR = Source(HeaderSource("X-Forwarded-For"), False, None, BELIEVED)


def asked(*values: str, source: str = "10.0.0.1", frontend: str = "web") -> Facts:
    lines = "".join(f"x-forwarded-FOR: {value}\r\n" for value in values)
    head = f"GET / HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n".encode()
    return make_facts(source, 4321, frontend=frontend, request=head)


@pytest.mark.parametrize(
    ("facts", "family", "host"),
    [
        (asked("192.0.2.1"), V4, "192.0.2.1"),
        (asked("192.0.2.1:80"), V4, "192.0.2.1"),
        (asked("192.0.2.1, 192.0.2.2", source="fd00::1"), V4, "192.0.2.2"),
        (asked("192.0.2.3", "192.0.2.1,192.0.2.2"), V4, "192.0.2.2"),
        (asked("::ffff:192.0.2.2"), V4, "192.0.2.2"),
        (asked("2001:DB8::1"), V6, "2001:db8::1"),
        (asked("[2001:db8::1]:99"), V6, "2001:db8::1"),
    ],
)
def test_the_last_address_in_the_header_is_taken_with_a_port_of_the_kernels_choice(
    facts: Facts, family: int, host: str
) -> None:
    assert FORWARDED_FOR.local(facts, family) == (host, 0)
    assert FORWARDED_FOR.of_request(facts) == (family, host)
    assert FORWARDED_FOR.transparent


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (asked(), "the request has no X-Forwarded-For"),
        (asked("192.0.2.1, unknown"), "the last element of X-Forwarded-For, 'unknown', is no IP address"),
        (asked("192.0.2.1,"), "'', is no IP address"),
        (asked("192.0.2.1", ""), "'', is no IP address"),
        (asked("x" * 1000), "'x{60}', is no IP address"),
        (asked("192.0.2.1", source="192.0.2.8"), "of 192.0.2.8 does not count, .* frontends.web.forwarded.except"),
        (asked("192.0.2.1", source="unix:"), "does not count"),
        (asked("192.0.2.1", frontend="other"), "does not count, .* frontends.other.forwarded.except"),
        (make_facts("10.0.0.1"), 'in mode = "http" only'),
    ],
)
def test_without_an_address_of_somebody_who_is_believed_there_is_an_error(facts: Facts, reason: str) -> None:
    with pytest.raises(OutgoingError, match=reason):
        FORWARDED_FOR.local(facts, V4)
    assert FORWARDED_FOR.of_request(facts) is None, "it must share no connection with anybody"


def test_the_header_is_read_as_policies_have_left_it() -> None:
    facts = asked("192.0.2.1")
    facts.http.headers.set(b"X-Forwarded-For", b"192.0.2.7")
    assert FORWARDED_FOR.local(facts, V4) == ("192.0.2.7", 0)


def test_an_address_of_the_other_family_is_an_error() -> None:
    with pytest.raises(OutgoingError, match="in X-Forwarded-For 2001:db8::1 is IPv6, and the server's IPv4"):
        FORWARDED_FOR.local(asked("2001:db8::1"), V4)


@pytest.mark.parametrize(
    ("host", "family"),
    [("0.0.0.0", V4), ("255.255.255.255", V4), ("224.0.0.1", V4), ("::ffff:0.0.0.0", V4), ("::", V6), ("ff02::1", V6)],
)
def test_an_address_in_whose_place_the_kernel_would_take_ours_is_an_error(host: str, family: int) -> None:
    with pytest.raises(OutgoingError, match="is nobody's"):
        FORWARDED_FOR.local(asked(host), family)
    claimed = make_facts("10.0.0.1")
    claimed.source = SocketAddress(host, 80)
    with pytest.raises(OutgoingError, match="is nobody's"):
        Source(ClientSource(False), False, None).local(claimed, family)


def test_an_address_is_claimed_if_no_packet_came_from_it() -> None:
    client, claimed = Source(ClientSource(False), False, None), make_facts("10.0.0.1")
    assert not client.is_claimed(claimed)
    claimed.source = SocketAddress("192.0.2.1", 80)
    assert client.is_claimed(claimed)
    assert FORWARDED_FOR.is_claimed(asked("10.0.0.1"))
    assert not Source(FixedSource("192.0.2.7"), True, None).is_claimed(claimed)


def test_a_check_has_the_fixed_address_without_its_port_and_never_the_clients() -> None:
    made = Source(FixedSource("192.0.2.7", 5, 9), True, "lo").without_client()
    assert made is not None
    assert (made.address, made.transparent, made.interface) == (FixedSource("192.0.2.7"), True, "lo")
    assert Source(ClientSource(True), False, None).without_client() is None
    assert FORWARDED_FOR.without_client() is None
    tied = Source(ClientSource(True), False, "lo").without_client()
    assert tied is not None
    assert (tied.address, tied.transparent, tied.interface) == (None, False, "lo")


@pytest.mark.parametrize(
    ("number", "reason"), [(99, "none of this machine's"), (98, "in use"), (13, "CAP_NET_BIND_SERVICE"), (22, "Inval")]
)
def test_a_bind_that_fails_has_a_reason_of_its_own(number: int, reason: str) -> None:
    assert reason in cannot_bind(("::1", 80), OSError(number, os.strerror(number))).reason


@pytest.mark.linux
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (Source(FixedSource("192.0.2.77"), False, None), "192.0.2.77 is no address of this machine: .*transparent"),
        (Source(None, False, "no-such-one"), 'no interface "no-such-one" on this machine'),
        (Source(FixedSource("::1"), False, None), "::1 is IPv6, and the server's address is IPv4: .*source = false"),
    ],
)
def test_what_this_machine_lacks_is_an_error_at_the_start(source: Source, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check_source(source, (V4,), socket.SocketType, "this machine")


@pytest.mark.linux
def test_what_this_machine_has_is_none() -> None:
    check_source(Source(FixedSource("127.0.0.1"), False, "lo"), (V4,), socket.SocketType, "this machine")
    check_source(Source(FixedSource("", 5000, 5009), False, None), (V4, V6), socket.SocketType, "this machine")


def refusing(*_: int) -> socket.SocketType:
    class Refusing(socket.SocketType):
        def setsockopt(self, *_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

    return Refusing(V4, socket.SOCK_STREAM)


def test_spoofing_without_the_capability_is_an_error_at_the_start_that_names_it() -> None:
    with pytest.raises(ConfigError, match="CAP_NET_ADMIN or CAP_NET_RAW: start as root"):
        check_source(Source(ClientSource(True), False, None), (V4,), refusing, "this machine")


@pytest.mark.linux
@pytest.mark.root
def test_a_foreign_address_is_fine_when_it_is_said_to_be_one() -> None:
    check_source(Source(FixedSource("192.0.2.77"), True, None), (V4,), socket.SocketType, "this machine")
