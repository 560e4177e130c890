"""Keys of tables: addresses, their networks, and texts, all of them short."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.declared import OWN_FACTS, Fact, FactType
from twisted_lb.endings import Stage
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts, SocketAddress
from twisted_lb.tables.keys import LONGEST, parse_key, spell_key, text_key

DECLARED = {
    **OWN_FACTS,
    "tls.sni": Fact(FactType.STRING, "the name"),
    "list": Fact(FactType.STRINGS, "several"),
    "flag": Fact(FactType.BOOLEAN, "yes or no"),
}


def find(name: str) -> tuple[Fact, Any]:
    if name not in DECLARED:
        raise ConfigError(f'there is no fact "{name}"')
    return DECLARED[name], DECLARED[name].get or (lambda facts: facts.learnt.get(name))


def facts_of(host: str = "192.0.2.7", port: int = 4711) -> Facts:
    return Facts(SocketAddress(host, port), SocketAddress("192.0.2.1", 80), "web", "*:80")


def key_of(text: str, host: str) -> str | None:
    key = parse_key(text, find).of(facts_of(host))
    return None if key is None else spell_key(key)


@pytest.mark.parametrize(
    ("text", "host", "key"),
    [
        ("source", "192.0.2.7", "192.0.2.7"),
        ("source", "2001:db8::7", "2001:db8::7"),
        ("source", "::ffff:192.0.2.7", "192.0.2.7"),
        ("source", "fe80::1%eth0", "fe80::1"),
        ("source/24", "192.0.2.7", "192.0.2.0"),
        ("source/24", "::ffff:192.0.2.7", "192.0.2.0"),
        ("source/24", "2001:db8:1:2:3::7", "2001:db8:1:2::"),
        ("source/24/48", "2001:db8:1:2:3::7", "2001:db8:1::"),
        ("source/32/128", "2001:db8::7", "2001:db8::7"),
        ("source/1/1", "192.0.2.7", "128.0.0.0"),
        ("source", "unix:/run/x.sock", None),
        ("source/24", "unix:", None),
        ("source", "unknown:Onion", None),
        ("source", "no address", None),
        ("source", "192.0.2.7\0", None),
    ],
)
def test_an_address_is_keyed_by_its_network(text: str, host: str, key: str | None) -> None:
    assert key_of(text, host) == key


def test_texts_numbers_and_truth_values_are_keys_as_they_are_spelt() -> None:
    facts = facts_of()
    facts.learnt.update({"tls.sni": "a.example", "flag": False, "list": ("a", "b")})
    assert parse_key("list", find).of(facts) == b"a, b"
    assert parse_key("tls.sni", find).of(facts) == b"a.example"
    assert parse_key("source.port", find).of(facts) == b"4711"
    assert parse_key("flag", find).of(facts) == b"False"


def test_what_is_not_known_has_no_key() -> None:
    assert parse_key("tls.sni", find).of(facts_of()) is None


def test_a_key_is_known_from_the_stage_of_its_fact_on() -> None:
    assert parse_key("source/24", find).stage is Stage.ADMISSION
    assert parse_key("tls.sni", find).stage is Stage.POLICY
    assert parse_key("tls.sni", find).fact == "tls.sni"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sauce", 'there is no fact "sauce"'),
        ("tls.sni/24", 'only an address has a network, and "tls.sni" is a string'),
        ("source/", "expected FACT, FACT/LENGTH"),
        ("source/24/64/8", "expected FACT, FACT/LENGTH"),
        ("source/x", "expected FACT, FACT/LENGTH"),
        ("source/0", "1 to 32 bits long in IPv4"),
        ("source/33", "1 to 32 bits long in IPv4"),
        ("source/24/129", "1 to 128 in IPv6"),
    ],
)
def test_what_is_wrong_with_a_key_is_said(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("/", "/")):
        parse_key(text, find)


@given(st.text(), st.text())
def test_different_texts_have_different_keys_and_none_is_long(one: str, other: str) -> None:
    keys = [text_key(text) for text in (one, other, one * 100, other * 100)]
    assert all(len(key) <= LONGEST for key in keys)
    assert (keys[0] == keys[1]) == (one == other)
    assert (keys[2] == keys[3]) == (one * 100 == other * 100)


@given(st.ip_addresses(v=6), st.integers(1, 128), st.integers(0, 2**128 - 1))
def test_all_addresses_of_a_network_have_one_key(address: Any, length: int, noise: int) -> None:
    if address.ipv4_mapped:
        return
    host_bits = 128 - length
    neighbour = int(address) >> host_bits << host_bits | noise & ((1 << host_bits) - 1)
    other = type(address)(neighbour)
    key = parse_key(f"source/24/{length}", find)
    if not other.ipv4_mapped:
        assert key.of(facts_of(str(address))) == key.of(facts_of(str(other)))


def test_keys_are_spelt_for_people() -> None:
    assert spell_key(b"a.example") == "a.example"
    assert spell_key(b"abcd") == "abcd"
    assert spell_key(text_key("x" * 1000)) == text_key("x" * 1000).hex()
    assert spell_key(b"a\nb") == b"a\nb".hex()
