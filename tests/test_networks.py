"""A set of networks says what the standard library's networks say, and nothing of what is no address."""

import socket
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb import networks
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


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=30), st.booleans())
def test_neighbours_and_overlaps_are_one(entries: list[tuple[int, int]], v6: bool) -> None:
    # Few addresses, at a seam of the 64 bits that the halves of an IPv6 address have, so that everything meets.
    seam, width = ((0x20010DB8 << 96) + (1 << 64) - 20, 128) if v6 else ((10 << 24) + 236, 32)
    networks = [ip_network((ip_address(seam + at), width - free), strict=False) for at, free in entries]
    ours = Networks.parse(map(str, networks))
    for number in range(seam - 40, seam + 90):
        address = ip_address(number)
        assert ours.contains(str(address)) is any(address in network for network in networks), address


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "8000::/1", "255.255.255.255", "ffff::/16"])
def test_what_ends_where_addresses_end_holds_the_last_one(entry: str) -> None:
    last = "255.255.255.255" if "." in entry else "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    assert Networks.parse([entry]).contains(last)


@pytest.mark.parametrize("entry", ["10.0.0.0/255.0.0.0", "10.0.0.0/08", "::ffff:10.0.0.0/104", "0::10.0.0.0/104"])
def test_unusual_spellings_are_understood_as_the_standard_library_does(entry: str) -> None:
    network = ip_network(entry)
    address = getattr(network[7], "ipv4_mapped", None) or network[7]
    assert Networks.parse([entry]).contains(str(address)) is True


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/ 8", "10.0.0.0/+8", "10.0.0.0/-8", "10.0.0.0/", "10.0.0.0/8/8", "::/129", "10.0.0.0/\u0668", "/", ""],
)
def test_what_the_standard_library_refuses_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="is no network"):
        Networks.parse([entry])


def test_a_file_has_one_entry_a_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# ours\n10.0.0.0/8   # all of it\r\n\n192.0.2.0/24 ; SBL1\n  2001:db8::/32\nunix")
    ours = Networks.read(str(path))
    assert all(ours.contains(host) for host in ("10.1.2.3", "192.0.2.9", "2001:db8::1", "unix:"))
    assert not ours.contains("192.0.3.1")


def test_bad_lines_of_a_file_are_named_by_number_and_not_without_end(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"10.0.0.0/8\n10.0.0.1/8\n\xff\n" + b"x\n" * 100)
    with pytest.raises(ConfigError) as caught:
        Networks.read(str(path))
    first, second, *_, last = caught.value.problems
    assert first.startswith(f'{path}:2: "10.0.0.1/8" is no network: ')
    assert second.startswith(f'{path}:3: "\\xff" is no network')
    assert last == f"{path}: and 82 more lines are no networks"
    assert len(caught.value.problems) == 21


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: cannot be read: No such file"):
        Networks.read(str(tmp_path / "nowhere"))


def _many(v6: bool) -> list[str]:
    """500,000 networks, of every size that is usual."""
    chance = Random(6)
    made = []
    family = socket.AF_INET6 if v6 else socket.AF_INET
    for _ in range(500_000):
        size = chance.choice((32, 40, 48, 56, 64, 128) if v6 else (16, 20, 22, 24, 24, 24, 28, 32))
        width = 128 if v6 else 32
        number = chance.getrandbits(width) >> (width - size) << (width - size)
        made.append(f"{socket.inet_ntop(family, number.to_bytes(width // 8))}/{size}")
    return made


@pytest.mark.parametrize(("v6", "bytes_per_entry"), [(False, 8), (True, 40)])
def test_half_a_million_networks_are_asked_in_less_than_two_microseconds(v6: bool, bytes_per_entry: int) -> None:
    entries = _many(v6)
    ours = Networks.parse(entries)
    assert ours.size_bytes <= bytes_per_entry * len(entries)
    chance = Random(7)
    inside = [Networks.number(entry.partition("/")[0]) for entry in chance.sample(entries, 1000)]
    anywhere = [chance.getrandbits(128 if v6 else 32) + ((1 << 128) if v6 else 0) for _ in range(1000)]
    numbers = [number for number in inside if number is not None] + anywhere
    assert all(map(ours.holds, numbers[:1000]))

    def took_each_s() -> float:
        before = thread_time()
        for number in numbers:
            ours.holds(number)
        return (thread_time() - before) / len(numbers)

    # Once is enough: the machine has other things to do too.
    assert any(took_each_s() < 2e-6 for _ in range(200))


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_many_are_put_into_their_order_in_parts(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [(number * 7919) % 10_007 // most for number in range(2000)]
    monkeypatch.setattr(networks, "SORTED_AT_ONCE", 500)
    assert list(networks._in_order(numbers)) == sorted(numbers)


def test_what_is_within_which_of_others_is_found() -> None:
    others = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "unix", "no network"]
    entries = ["10.0.0.0/8", "10.1.2.0/24", "11.0.0.0/8", "0.0.0.0/0", "::ffff:10.9.0.1", "192.0.2.1/32", "::/0"]
    assert Networks.within(entries, others) == {
        "10.0.0.0/8": "10.0.0.0/8",
        "10.1.2.0/24": "10.0.0.0/8",
        "::ffff:10.9.0.1": "10.0.0.0/8",
        "192.0.2.1/32": "192.0.2.1",
    }
    assert Networks.within(["2001:db8:1::/48", "unix", "10.0.0.1/8", "::1"], others) == {
        "2001:db8:1::/48": "2001:db8::/32",
        "unix": "unix",
    }
    assert Networks.within(["::1", "192.0.2.1", "unix"], ["::/0"]) == {"::1": "::/0"}
    assert Networks.within(["192.0.2.1", "::1"], ["0.0.0.0/0"]) == {"192.0.2.1": "0.0.0.0/0"}
