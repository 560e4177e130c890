"""What a header says can be asked for, and the bytes alone decide whose header it is."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.facts import SocketAddress
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.proxy_header import ProxyHeader, Tlv, TlvType, recognise, shared_front


@dataclass(frozen=True)
class Codec:
    """All that ``recognise`` looks at."""

    signature: bytes


V1, V2 = Codec(b"PROXY "), Codec(b"\r\n\r\n\0\r\nQUIT\n")


def test_a_tlv_is_found_by_its_type_and_the_first_one_counts() -> None:
    header = ProxyHeader(tlvs=(Tlv(2, b"a"), Tlv(0xE4, b"x"), Tlv(2, b"b")))
    assert header.tlv(TlvType.AUTHORITY) == b"a"
    assert header.tlv(0xE4) == b"x"
    assert header.tlv(TlvType.ALPN) is None


@pytest.mark.parametrize(
    ("source", "destination", "pair"),
    [
        ("192.0.2.1", "192.0.2.2", (b"\xc0\0\2\1", b"\xc0\0\2\2")),
        ("::1", "::2", (bytes(15) + b"\1", bytes(15) + b"\2")),
        ("192.0.2.1", "::2", (bytes(10) + b"\xff\xff\xc0\0\2\1", bytes(15) + b"\2")),
        ("::2", "192.0.2.1", (bytes(15) + b"\2", bytes(10) + b"\xff\xff\xc0\0\2\1")),
        ("fe80::1%eth0", "::2", (b"\xfe\x80" + bytes(13) + b"\1", bytes(15) + b"\2")),
        ("unix:", "192.0.2.1", None),
        ("unix:/run/a:b", "unix:/run/a:b", None),
        ("192.0.2.1", "example.org", None),
        ("192.0.2.1\0", "192.0.2.1", None),
        ("192.0.2.01", "192.0.2.1", None),
        ("ü", "::ü", None),
    ],
)
def test_a_pair_of_ip_addresses_is_of_one_family(
    source: str, destination: str, pair: tuple[bytes, bytes] | None
) -> None:
    header = ProxyHeader(source=SocketAddress(source), destination=SocketAddress(destination))
    assert header.ip_pair() == pair


def test_a_header_without_addresses_has_no_pair() -> None:
    assert ProxyHeader().ip_pair() is None
    assert ProxyHeader(source=SocketAddress("192.0.2.1")).ip_pair() is None


@pytest.mark.parametrize(
    ("data", "codec"),
    [(b"PROXY TCP4", V1), (b"PROXY ", V1), (V2.signature, V2), (V2.signature + b"\x21\x11", V2)],
)
def test_the_codec_whose_signature_it_is_gets_it(data: bytes, codec: Codec) -> None:
    assert recognise((V1, V2), data) is codec
    assert recognise((V2, V1), data) is codec
    assert recognise([codec], data) is codec


@pytest.mark.parametrize(
    ("data", "at_least"), [(b"", 6), (b"P", 6), (b"PROXY", 6), (b"\r", 12), (b"\r\n\r\n\0\r\nQUIT", 12)]
)
def test_bytes_that_may_become_a_signature_wait(data: bytes, at_least: int) -> None:
    assert recognise((V1, V2), data) == NeedMore(at_least)


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"GET / HTTP/1.1\r\n", 0), (b"PROXY\tTCP4", 5), (b"\r\n\r\n\r\n", 4), (b"proxy ", 0), (b"PR\n", 2), (b"\x16", 0)],
)
def test_the_first_byte_that_no_signature_has_is_refused(data: bytes, offset: int) -> None:
    for end in range(offset + 1, len(data) + 1):
        with pytest.raises(WireError) as caught:
            recognise((V1, V2), data[:end])
        assert (caught.value.reason, caught.value.offset) == ("proxy-not-a-header", offset)


def test_a_version_that_is_not_among_the_codecs_is_refused() -> None:
    with pytest.raises(WireError, match="proxy-not-a-header"):
        recognise([V2], b"PROXY TCP4")
    with pytest.raises(WireError, match="proxy-not-a-header"):
        recognise([V1], V2.signature)


def test_no_codec_recognises_nothing() -> None:
    with pytest.raises(WireError, match="proxy-not-a-header"):
        recognise([], b"PROXY ")


def test_the_longest_of_several_signatures_counts_whatever_the_order() -> None:
    longer = Codec(b"PROXY 3")
    for codecs in ((V1, longer), (longer, V1)):
        assert recognise(codecs, b"PROXY ") == NeedMore(7)
        assert recognise(codecs, b"PROXY 3") is longer
        assert recognise(codecs, b"PROXY T") is V1


@given(st.lists(st.binary(min_size=1, max_size=4).map(Codec), max_size=4), st.binary(max_size=8))
def test_cuts_cannot_matter(codecs: list[Codec], data: bytes) -> None:
    def outcome(part: bytes) -> object:
        try:
            return recognise(codecs, part)
        except WireError as error:
            return error.reason, error.offset

    outcomes = [outcome(data[:end]) for end in range(len(data) + 1)]
    first = next((one for one in outcomes if not isinstance(one, NeedMore)), outcomes[-1])
    assert first == outcomes[-1]
    for end, one in enumerate(outcomes):
        assert not isinstance(one, NeedMore) or one.at_least > end


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [(b"PROXY ", b"PROXX", 4), (b"PROXY", b"PROXY TCP4", 5), (b"", b"x", 0), (b"a", b"b", 0)],
)
def test_the_front_that_two_share_is_counted(one: bytes, other: bytes, length: int) -> None:
    assert shared_front(one, other) == shared_front(other, one) == length
