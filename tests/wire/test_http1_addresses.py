"""Lists of addresses, as proxies write them."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1_addresses import address_in, last_element


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ([], b""),
        ([b""], b""),
        ([b"192.0.2.1"], b"192.0.2.1"),
        ([b"192.0.2.1, 192.0.2.2"], b"192.0.2.2"),
        ([b"192.0.2.1,\t192.0.2.2 "], b"192.0.2.2"),
        ([b"192.0.2.1, 192.0.2.2", b"192.0.2.3"], b"192.0.2.3"),
        ([b"192.0.2.3", b"192.0.2.1, 192.0.2.2"], b"192.0.2.2"),
        ([b"192.0.2.1,"], b""),
        ([b"192.0.2.1", b""], b""),
    ],
)
def test_the_last_element_of_the_last_field_counts(values: list[bytes], last: bytes) -> None:
    assert last_element(values) == last


@pytest.mark.parametrize(
    ("element", "address"),
    [
        (b"192.0.2.1", "192.0.2.1"),
        (b"192.0.2.1:80", "192.0.2.1"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"[2001:db8:0::1]", "2001:db8::1"),
        (b"[2001:db8::1]:65535", "2001:db8::1"),
        (b"::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_an_address_is_read_however_proxies_spell_it(element: bytes, address: str) -> None:
    assert address_in(element) == (address if not address.startswith("::ffff") else str(ip_address(address)))


@pytest.mark.parametrize(
    "element",
    [
        *(
            b"",
            b"unknown",
            b"_hidden",
            b"localhost",
            b"example.org",
            b"192.0.2.1:",
            b"192.0.2.1:65536",
            b"192.0.2.1:-1",
        ),
        *(b"192.0.2", b"192.0.2.256", b"192.0.2.01", b"0300.0.2.1", b"3221225985", b"192.0.2.1/32", b"192.0.2.1 1"),
        *(
            b"[192.0.2.1]",
            b"[2001:db8::1",
            b"2001:db8::1]",
            b"fe80::1%eth0",
            b"[fe80::1%25eth0]",
            b"2001:db8:::1",
            b"::g",
        ),
        *(b'"192.0.2.1"', b"for=192.0.2.1", b"192.0.2.1\n", b"\xd9\xa1.0.2.1", b"::g", b"1" * 10_000, b":" * 10_000),
    ],
)
def test_anything_else_is_none(element: bytes) -> None:
    assert address_in(element) is None


@given(st.binary(max_size=60) | st.text("0123456789abcdef.:[]", max_size=50).map(str.encode))
def test_whatever_comes_is_an_address_or_none(element: bytes) -> None:
    found = address_in(element)
    assert found is None or str(ip_address(found)) == found


@given(st.ip_addresses(), st.none() | st.integers(0, 65535))
def test_every_address_is_found_again(address: object, port: int | None) -> None:
    text = str(address)
    spelt = text if port is None else f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
    assert address_in(spelt.encode()) == text
