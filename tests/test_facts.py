"""Addresses as people read them, whichever family and library they come from."""

from socket import AF_INET, AF_INET6, AF_UNIX
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.networks import Networks
from twisted_lb.token_bucket import TokenBucket


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("192.0.2.1", 80), "192.0.2.1:80"),
        (("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        ("/run/x.sock", "unix:/run/x.sock"),
        (b"/run/x.sock", "unix:@/run/x.sock"),
        (b"\0name", "unix:@name"),
        (b"\0na\xffme", "unix:@na\\xffme"),
        ("/run/\udcff", "unix:/run/\\xff"),
        ("", "unix:"),
        (None, "unix:"),
    ],
)
def test_what_the_socket_module_gives_is_understood(sockaddr: Any, text: str) -> None:
    assert str(SocketAddress.from_sockaddr(sockaddr)) == text


@pytest.mark.parametrize(
    ("family", "sockaddr"),
    [(AF_INET, ("192.0.2.1", 80)), (AF_INET6, ("2001:db8::1", 80, 0, 0)), (AF_UNIX, "/run/x.sock")],
)
def test_what_converts_the_addresses_of_one_family_makes_the_same_of_them(family: int, sockaddr: Any) -> None:
    made = SocketAddress.converter(family)(sockaddr)
    assert type(made) is SocketAddress
    assert made == SocketAddress.from_sockaddr(sockaddr)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "192.0.2.1", 80), "192.0.2.1:80"),
        (IPv6Address("TCP", "2001:db8::1", 80), "[2001:db8::1]:80"),
        (UNIXAddress(b"/run/x.sock"), "unix:/run/x.sock"),
        (UNIXAddress(b"\0name"), "unix:@name"),
        (UNIXAddress(None), "unix:"),
        (HostnameAddress(b"10.0.0.1", 80), "unknown:HostnameAddress"),
        (None, "unknown:NoneType"),
        ("unix:an onion", "unknown:str"),
    ],
)
def test_what_twisted_gives_is_understood(address: Any, text: str) -> None:
    assert str(SocketAddress.from_address(address)) == text


class Claimed:
    """An address of another library that looks like ours."""

    host, port, name = "10.0.0.1", 80, b"/run/x.sock"

    def __str__(self) -> str:
        return "unix:"


@pytest.mark.parametrize("address", [HostnameAddress(b"10.0.0.1", 80), None, "unix:", b"10.0.0.1", Claimed()])
def test_an_address_of_unknown_kind_is_in_no_network(address: Any) -> None:
    host = SocketAddress.from_address(address).host
    assert Networks.number(host) is None
    assert not Networks.parse(["unix", "0.0.0.0/0", "::/0"]).contains(host)


def test_what_is_learnt_is_kept_per_connection() -> None:
    a, b = (Facts(SocketAddress("192.0.2.1"), SocketAddress("192.0.2.2"), "web", "*:80") for _ in "ab")
    a.learnt["tls.sni"] = "example.org"
    assert (a.learnt, b.learnt) == ({"tls.sni": "example.org"}, {})


def test_a_priority_is_a_class_of_the_queue() -> None:
    facts = Facts(SocketAddress("192.0.2.1", 1), SocketAddress("192.0.2.2", 80), "web", "*:80")
    assert facts.priority == 0
    for given, taken in ((-5, -5), (2047, 2047), (2048, 2047), (-(10**9), -2047)):
        facts.priority = given
        assert facts.priority == taken
    for wrong in ("high", 1.5, None):
        with pytest.raises(TypeError):
            facts.priority = wrong  # type: ignore[assignment]
    assert facts.priority == -2047


def test_a_policy_may_shape_a_connection_as_often_as_it_likes() -> None:
    facts = Facts(SocketAddress("192.0.2.1"), SocketAddress("192.0.2.2"), "web", "*:80")
    assert facts.shaping is None
    slow, shared = TokenBucket(1, 1), TokenBucket(1, 1)
    facts.shape(in_=slow)
    facts.shape(in_=slow, out=shared)
    facts.shape(out=slow)
    shaping: Any = facts.shaping
    assert (shaping.in_, shaping.out) == ((slow,), (shared, slow))


def test_what_is_kept_by_its_facts_goes_with_a_connection() -> None:
    facts = Facts(SocketAddress("192.0.2.1"), SocketAddress("192.0.2.2"), "web", "*:80")
    kept = WeakKeyDictionary({facts: "x"})
    assert kept[facts] == "x"
    del facts
    assert not kept
