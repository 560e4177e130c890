"""Names of hosts are told from addresses and from nonsense."""

import time

import pytest

from twisted_lb.wire.host_name import is_host_name

LABEL = b"a" * 63


@pytest.mark.parametrize(
    "name",
    [
        b"localhost",
        b"www.example.org",
        b"WWW.EXAMPLE.ORG",
        b"xn--mnchen-3ya.example",
        b"3com.example",
        b"1.2.3.example",
        b"a_b.example",
        b"_dmarc.example",
        b"a--b.example",
        b"x",
        b"0xg.example",
        b"example.0a",
        LABEL + b".example",
        b".".join([LABEL, LABEL, LABEL, b"a" * 61]),
    ],
)
def test_a_host_name(name: bytes) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b"www.example.org.",
        b".example",
        b"a..b",
        b"192.0.2.1",
        b"1.2",
        b"2130706433",
        b"0x7f.1",
        b"www.0x7F",
        b"www.0x",
        b"::1",
        b"-a.example",
        b"a-.example",
        b"a b",
        b"a\n",
        b"a\x00",
        b"\xc3\xbc.example",
        b"a" + LABEL,
        b".".join([LABEL, LABEL, LABEL, b"a" * 62]),
    ],
)
def test_no_host_name(name: bytes) -> None:
    assert not is_host_name(name)


def test_nonsense_takes_no_time() -> None:
    start = time.thread_time()
    for name in (b"a." * 126, b"a-" * 126 + b"-", b"_" * 253, b"-" * 60_000, (b"a" * 62 + b"-.") * 4):
        is_host_name(name)
    assert time.thread_time() - start < 0.2
