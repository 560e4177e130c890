"""A set of networks says what the standard library's networks say, and nothing of what is no address."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks


@pytest.mark.parametrize(
    ("entries", "host", "expected"),
    [
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["fd00::/8", "::1"], "fdff::1", True),
        (["fd00::/8", "::1"], "::1", True),
        (["fd00::/8", "::1"], "::2", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["0.0.0.0/0"], "::1", False),
        (["::/0"], "10.0.0.1", False),
        (["::/0"], "::", True),
        (["0.0.0.1"], "::1", False),
        (["unix"], "unix:/run/x", True),
        (["unix"], "unix:", True),
        (["unix"], "255.255.255.255", False),
        (["0.0.0.0/0", "::/0"], "unix:@x", False),
        ([], "10.0.0.1", False),
    ],
)
def test_an_address_is_in_the_set_or_not(entries: list[str], host: str, expected: bool) -> None:
    assert Networks.parse(entries).contains(host) is expected


@pytest.mark.parametrize("host", ["", "localhost", "10.0.0", "10.0.0.256", "::g", "a.onion", "10.0.0.1\0", "1" * 999])
def test_what_is_no_address_is_neither_in_the_set_nor_outside(host: str) -> None:
    assert Networks.parse(["0.0.0.0/0", "::/0", "unix"]).contains(host) is None


def test_every_bad_entry_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Networks.parse(["10.0.0.1/8", "::1", "unix", "x", "10.0.0.0/33"])
    first, second, third = caught.value.problems
    assert first.startswith('"10.0.0.1/8" is no network: ')
    assert "host bits" in first
    assert second.startswith('"x" is no network')
    assert third.startswith('"10.0.0.0/33" is no network')


def plain(network: Any) -> Any:
    """The IPv4 network where a network is one mapped into IPv6."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ip_network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 128)), min_size=1, max_size=8), ADDRESSES, st.integers(0, 16))
def test_it_agrees_with_the_standard_library(entries: list[tuple[Any, int]], other: Any, near: int) -> None:
    networks = [ip_network((address, min(size, address.max_prefixlen)), strict=False) for address, size in entries]
    ours = Networks.parse(str(network) for network in networks)
    for candidate in (other, ip_address(int(networks[0].network_address) ^ ((1 << near) >> 1))):
        alone = getattr(candidate, "ipv4_mapped", None) or candidate
        assert ours.contains(str(candidate)) is any(alone in plain(network) for network in networks)


def test_one_number_may_be_asked_of_several_sets() -> None:
    number = Networks.number("2001:db8::1")
    assert number is not None
    assert Networks.parse(["2001:db8::/32"]).holds(number)
    assert not Networks.parse(["2001:db9::/32"]).holds(number)
