"""``v2`` reads and writes the binary PROXY header, and lets no broken one through."""

import time
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IProxyCodec, NeedMore, ProxyHeader, SocketAddress, Tlv, TlvType, WireError, crc32c
from twisted_lb.testing import ProxyCodecContract
from twisted_lb_plugins.proxy_header_v2 import ProxyV2

CODEC = ProxyV2()
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = bytes.fromhex("c000020ac6336414dc0401bb")
V6 = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002dc0401bb")
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/lb.sock".ljust(108, b"\0")
SOURCE, DESTINATION = SocketAddress("192.0.2.10", 56324), SocketAddress("198.51.100.20", 443)
SOURCE6, DESTINATION6 = SocketAddress("2001:db8::1", 56324), SocketAddress("2001:db8::2", 443)


def raw(body: bytes = V4, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """Put a header together, right or wrong."""
    return SIGNATURE + pack("!BBH", command, family, len(body) if length is None else length) + body


def tlv(type: int, value: bytes, length: int | None = None) -> bytes:
    return pack("!BH", type, len(value) if length is None else length) + value


def signed(before: bytes = b"", after: bytes = b"", **front: int) -> bytes:
    """Put a header with a right checksum together, TLVs before and after it."""
    data = raw(V4 + before + tlv(3, bytes(4)) + after, **front)
    place = 16 + len(V4) + len(before) + 3
    return data[:place] + crc32c(data).to_bytes(4, "big") + data[place + 4 :]


def header(*tlvs: Tlv) -> ProxyHeader:
    return ProxyHeader(source=SOURCE, destination=DESTINATION, tlvs=tlvs)


SSL = Tlv(TlvType.SSL, bytes.fromhex("0700000000210007544c5376312e3322000b6578616d706c652e636f6d"))

GOLDEN = {
    "TCP4": (
        "0d0a0d0a000d0a515549540a2111000cc000020ac6336414dc0401bb",
        header(),
    ),
    "CRC32C": (
        "0d0a0d0a000d0a515549540a21110013c000020ac6336414dc0401bb03000404fcfa2e",
        header(Tlv(TlvType.CRC32C, bytes.fromhex("04fcfa2e"))),
    ),
    "CRC32C, ALPN, AUTHORITY, SSL, NETNS": (
        "0d0a0d0a000d0a515549540a2111004dc000020ac6336414dc0401bb0300044657d77a010002683202000b6578616d706c652e6f7267"
        "20001d0700000000210007544c5376312e3322000b6578616d706c652e636f6d300004626c7565",
        header(
            Tlv(TlvType.CRC32C, bytes.fromhex("4657d77a")),
            Tlv(TlvType.ALPN, b"h2"),
            Tlv(TlvType.AUTHORITY, b"example.org"),
            SSL,
            Tlv(TlvType.NETNS, b"blue"),
        ),
    ),
    "TCP6": (
        "0d0a0d0a000d0a515549540a2121002420010db800000000000000000000000120010db8000000000000000000000002dc0401bb",
        ProxyHeader(source=SOURCE6, destination=DESTINATION6),
    ),
    "LOCAL": (
        "0d0a0d0a000d0a515549540a20000000",
        ProxyHeader(local=True),
    ),
    "AWS, Azure, GCP": (
        "0d0a0d0a000d0a515549540a21110039c000020ac6336414dc0401bbea001701767063652d3031323334353637383961626364656630"
        "ee00050101450021e00008009b34d70a003c64",
        header(
            Tlv(TlvType.AWS, b"\x01vpce-0123456789abcdef0"),
            Tlv(TlvType.AZURE, bytes.fromhex("0101450021")),
            Tlv(TlvType.GCP, bytes.fromhex("009b34d70a003c64")),
        ),
    ),
}
"""Computed from the specification by another implementation."""

ACCEPTED = {
    "UDP4": (raw(family=0x12), ProxyHeader(source=SOURCE, destination=DESTINATION, datagram=True)),
    "UDP6": (raw(V6, family=0x22), ProxyHeader(source=SOURCE6, destination=DESTINATION6, datagram=True)),
    "Unix": (
        raw(UNIX, family=0x31),
        ProxyHeader(source=SocketAddress("unix:/run/client"), destination=SocketAddress("unix:/run/lb.sock")),
    ),
    "Unix datagrams": (
        raw(UNIX, family=0x32),
        ProxyHeader(
            source=SocketAddress("unix:/run/client"), destination=SocketAddress("unix:/run/lb.sock"), datagram=True
        ),
    ),
    "Unix, unnamed and abstract": (
        raw(bytes(108) + b"\0name".ljust(108, b"\0"), family=0x31),
        ProxyHeader(source=SocketAddress("unix:"), destination=SocketAddress("unix:@name")),
    ),
    "Unix, the longest names": (
        raw(b"/" + b"a" * 107 + b"\0" + b"b" * 107, family=0x31),
        ProxyHeader(source=SocketAddress("unix:/" + "a" * 107), destination=SocketAddress("unix:@" + "b" * 107)),
    ),
    "Unix, rubbish after the NUL, and bytes that are no UTF-8": (
        raw(b"/a\xff\0rubbish".ljust(108, b"x") + b"/b".ljust(108, b"\0"), family=0x31),
        ProxyHeader(source=SocketAddress("unix:/a\\xff"), destination=SocketAddress("unix:/b")),
    ),
    "UNSPEC": (raw(b"", family=0), ProxyHeader()),
    "UNSPEC with a TLV": (raw(tlv(1, b"h2"), family=0), ProxyHeader(tlvs=(Tlv(1, b"h2"),))),
    "LOCAL with a TLV": (raw(tlv(1, b"h2"), 0x20, 0), ProxyHeader(local=True, tlvs=(Tlv(1, b"h2"),))),
    "LOCAL with addresses": (raw(V4, 0x20, 0x11), ProxyHeader(local=True)),
    "LOCAL with addresses and a TLV": (
        raw(V6 + tlv(1, b"h2"), 0x20, 0x21),
        ProxyHeader(local=True, tlvs=(Tlv(1, b"h2"),)),
    ),
    "LOCAL, the addresses of another family": (raw(V4, 0x20, 0x21), ProxyHeader(local=True)),
    "LOCAL, a family that does not exist": (raw(b"\xff" * 20, 0x20, 0xFF), ProxyHeader(local=True)),
    "LOCAL with rubbish": (raw(b"\1\xff", 0x20, 0), ProxyHeader(local=True)),
    "padding": (raw(V4 + tlv(4, b"") + tlv(4, bytes(9))), header(Tlv(4, b""), Tlv(4, bytes(9)))),
    "types that nobody knows": (
        raw(V4 + tlv(0, b"") + tlv(0xE4, b"x") + tlv(0xFF, b"y")),
        header(Tlv(0, b""), Tlv(0xE4, b"x"), Tlv(0xFF, b"y")),
    ),
    "a type twice": (raw(V4 + tlv(2, b"a") + tlv(2, b"b")), header(Tlv(2, b"a"), Tlv(2, b"b"))),
    "the longest AUTHORITY": (raw(V4 + tlv(2, b"a" * 255)), header(Tlv(2, b"a" * 255))),
    "the longest UNIQUE_ID": (raw(V4 + tlv(5, b"a" * 128)), header(Tlv(5, b"a" * 128))),
    "SSL without details": (raw(V4 + tlv(0x20, bytes(5))), header(Tlv(0x20, bytes(5)))),
    "vendors' types with something else": (
        raw(V4 + tlv(0xEA, b"") + tlv(0xEE, b"\2") + tlv(0xE0, b"\0" * 9)),
        header(Tlv(0xEA, b""), Tlv(0xEE, b"\2"), Tlv(0xE0, b"\0" * 9)),
    ),
    "the longest header": (raw(V4 + tlv(4, bytes(65520))), header(Tlv(4, bytes(65520)))),
}

REFUSED = {
    # The first 12 bytes
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "signature", 0),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", "signature", 0),
    "v1": (b"PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n", "signature", 0),
    "an empty line": (b"\r\n\r\nX", "signature", 4),
    "no NUL": (b"\r\n\r\n\r\nQUIT\n", "signature", 4),
    "a signature without its end": (raw()[:11] + b"\r" + raw()[12:], "signature", 11),
    "a small letter": (SIGNATURE.lower() + raw()[12:], "signature", 7),
    "a byte before it": (b"\0" + raw(), "signature", 0),
    "LF made CRLF": (b"\r\r\n", "signature", 1),
    # Version and command
    "version 0": (raw(command=0x01), "version", 12),
    "version 1": (raw(command=0x11), "version", 12),
    "version 3": (raw(command=0x31), "version", 12),
    "version 15": (raw(command=0xF1), "version", 12),
    "version 1, LOCAL": (raw(command=0x10), "version", 12),
    "command 2": (raw(command=0x22), "command", 12),
    "command 15": (raw(command=0x2F), "command", 12),
    "nibbles the wrong way round": (raw(command=0x12), "version", 12),
    # Family and transport
    "family 4": (raw(family=0x41), "family", 13),
    "family 15": (raw(family=0xF1), "family", 13),
    "transport 3": (raw(family=0x13), "family", 13),
    "transport 15": (raw(family=0x1F), "family", 13),
    "IPv6, transport 3": (raw(V6, family=0x23), "family", 13),
    "Unix, transport 3": (raw(UNIX, family=0x33), "family", 13),
    "UNSPEC over a stream": (raw(b"", family=0x01), "family", 13),
    "UNSPEC over datagrams": (raw(b"", family=0x02), "family", 13),
    "IPv4, transport unknown": (raw(family=0x10), "family", 13),
    "IPv6, transport unknown": (raw(V6, family=0x20), "family", 13),
    "Unix, transport unknown": (raw(UNIX, family=0x30), "family", 13),
    # The length
    "IPv4 without addresses": (raw(b""), "length", 14),
    "IPv4, a byte too few": (raw(V4[:-1]), "length", 14),
    "IPv4, a length of 0 before addresses": (raw(length=0), "length", 14),
    "the length's bytes the wrong way round": (raw(V6, family=0x21, length=0x0024 - 1), "length", 14),
    "UDP4, a byte too few": (raw(V4[:-1], family=0x12), "length", 14),
    "IPv6 with the addresses of IPv4": (raw(V4, family=0x21), "length", 14),
    "IPv6, a byte too few": (raw(V6[:-1], family=0x21), "length", 14),
    "UDP6, a byte too few": (raw(V6[:-1], family=0x22), "length", 14),
    "Unix with the addresses of IPv6": (raw(V6, family=0x31), "length", 14),
    "Unix, a byte too few": (raw(UNIX[:-1], family=0x31), "length", 14),
    "Unix datagrams, a byte too few": (raw(UNIX[:-1], family=0x32), "length", 14),
    # TLVs
    "a byte after the addresses": (raw(V4 + b"\0"), "tlv", 28),
    "half a TLV's beginning": (raw(V4 + b"\4\0"), "tlv", 28),
    "a TLV without its value": (raw(V4 + tlv(4, b"", 1)), "tlv", 28),
    "a TLV that is a byte too long": (raw(V4 + tlv(4, bytes(5), 6)), "tlv", 28),
    "a TLV that is a byte too short": (raw(V4 + tlv(4, bytes(5), 4)), "tlv", 32 + 3),
    "a TLV that is two bytes too short": (raw(V4 + tlv(4, bytes(5), 3)), "tlv", 31 + 3),
    "a TLV of 65535 bytes": (raw(V4 + tlv(4, b"", 65535)), "tlv", 28),
    "the second TLV too long": (raw(V4 + tlv(1, b"h2") + tlv(4, b"", 1)), "tlv", 33),
    "the second TLV cut": (raw(V4 + tlv(1, b"h2") + b"\4"), "tlv", 33),
    "IPv6, a TLV too long": (raw(V6 + tlv(4, b"", 1), family=0x21), "tlv", 52),
    "Unix, a TLV too long": (raw(UNIX + tlv(4, b"", 1), family=0x31), "tlv", 232),
    "UNSPEC with rubbish": (raw(b"\1\xff", family=0), "tlv", 16),
    "UNSPEC, a TLV too long": (raw(tlv(4, b"", 1), family=0), "tlv", 16),
    "the addresses of IPv6 announced as IPv4": (raw(V6), "tlv", 28 + 3 + 0x0000),
    # The checksum
    "a wrong checksum": (raw(V4 + tlv(3, bytes.fromhex("04fcfa2f"))), "crc32c", 28),
    "a checksum of zeros": (raw(V4 + tlv(3, bytes(4))), "crc32c", 28),
    "a checksum with its bytes the wrong way round": (raw(V4 + tlv(3, bytes.fromhex("2efafc04"))), "crc32c", 28),
    "a checksum of 3 bytes": (raw(V4 + tlv(3, bytes(3))), "crc32c", 28),
    "a checksum of 5 bytes": (raw(V4 + tlv(3, bytes(5))), "crc32c", 28),
    "an empty checksum": (raw(V4 + tlv(3, b"")), "crc32c", 28),
    "two checksums": (signed(after=tlv(3, bytes(4))), "crc32c", 35),
    "an address changed": (signed().replace(b"\xc0\x00\x02\x0a", b"\xc0\x00\x02\x0b"), "crc32c", 28),
    "a port changed": (signed().replace(b"\x01\xbb", b"\x01\xbc"), "crc32c", 28),
    "the command changed, without addresses": (
        raw(tlv(3, CODEC.encode(ProxyHeader(local=True, tlvs=(Tlv(3, b""),)))[-4:]), family=0),
        "crc32c",
        16,
    ),
    "a TLV before it changed": (signed(tlv(1, b"h2")).replace(b"h2", b"h3"), "crc32c", 33),
    "a TLV after it changed": (signed(after=tlv(1, b"h2")).replace(b"h2", b"h3"), "crc32c", 28),
    "LOCAL with a wrong checksum": (raw(tlv(3, bytes(4)), 0x20, 0), "crc32c", 16),
    # What TLVs hold
    "an AUTHORITY of 256 bytes": (raw(V4 + tlv(2, b"a" * 256)), "authority", 28),
    "a UNIQUE_ID of 129 bytes": (raw(V4 + tlv(5, b"a" * 129)), "unique-id", 28),
    "an empty SSL": (raw(V4 + tlv(0x20, b"")), "ssl", 31),
    "SSL of 4 bytes": (raw(V4 + tlv(0x20, bytes(4))), "ssl", 31),
    "SSL with a byte more": (raw(V4 + tlv(0x20, bytes(6))), "ssl", 36),
    "SSL with half a detail": (raw(V4 + tlv(0x20, bytes(5) + b"\x21\0")), "ssl", 36),
    "SSL with a detail too long": (raw(V4 + tlv(0x20, bytes(5) + tlv(0x21, b"TLSv1.3", 8))), "ssl", 36),
    "SSL with a detail that takes in what follows": (
        raw(V4 + tlv(0x20, bytes(5) + tlv(0x22, b"a", 6)) + tlv(1, b"h2")),
        "ssl",
        36,
    ),
    "SSL, its second detail too long": (
        raw(V4 + tlv(1, b"h2") + tlv(0x20, bytes(5) + tlv(0x21, b"") + tlv(0x22, b"", 1))),
        "ssl",
        44,
    ),
}


class TestContract(ProxyCodecContract, SynchronousTestCase):
    """``v2`` keeps what every PROXY codec promises."""

    headers = (
        *(bytes.fromhex(data) for data, _ in GOLDEN.values()),
        *(data for data, _ in ACCEPTED.values() if len(data) < 1000),
    )
    refused = tuple(data for data, _, _ in REFUSED.values() if len(data) < 1000)

    def make_codec(self) -> IProxyCodec:
        return ProxyV2()


def outcome(data: bytes) -> tuple[ProxyHeader, int] | tuple[str, int] | NeedMore:
    try:
        return CODEC.decode(data)
    except WireError as error:
        return error.reason, error.offset


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_headers_mean_what_they_should_and_are_written_alike(name: str) -> None:
    data, expected = bytes.fromhex(GOLDEN[name][0]), GOLDEN[name][1]
    assert outcome(data + b"payload") == (expected, len(data))
    assert CODEC.encode(expected) == data


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_specification_allows_is_accepted(name: str) -> None:
    data, expected = ACCEPTED[name]
    assert outcome(data + b"payload") == (expected, len(data))


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_allow_is_refused_with_its_reason_and_place(name: str) -> None:
    data, reason, offset = REFUSED[name]
    assert outcome(data) == (f"proxy-v2-{reason}", offset)


def test_the_table_of_refusals_changes_what_would_be_accepted() -> None:
    assert outcome(signed()) == outcome(bytes.fromhex(GOLDEN["CRC32C"][0]))
    for data in (
        signed(tlv(1, b"h2")),
        signed(after=tlv(1, b"h2")),
        raw(),
        raw(V6, family=0x21),
        raw(UNIX, family=0x31),
    ):
        assert isinstance(outcome(data)[0], ProxyHeader)  # type: ignore[index]


def test_the_front_is_refused_at_its_first_wrong_byte() -> None:
    for data, reason, offset in REFUSED.values():
        if offset < 14:
            assert isinstance(outcome(data[:offset]), NeedMore)
            assert outcome(data[: offset + 1]) == (f"proxy-v2-{reason}", offset)


def test_a_length_that_cannot_be_is_refused_before_the_rest_has_come() -> None:
    assert outcome(raw(b"", length=11)) == ("proxy-v2-length", 14)


def test_how_much_is_missing_is_exact_as_soon_as_the_length_is_there() -> None:
    assert outcome(b"") == outcome(raw()[:15]) == NeedMore(16)
    assert outcome(raw()[:16]) == outcome(raw()[:27]) == NeedMore(28)
    assert outcome(raw(b"", length=65535)) == NeedMore(CODEC.max_length)
    assert outcome(raw(b"", command=0x20, length=65535)) == NeedMore(CODEC.max_length)


def test_a_checksum_covers_all_that_comes_before_and_after_it() -> None:
    whole = CODEC.encode(header(Tlv(1, b"h2"), Tlv(TlvType.CRC32C, b""), Tlv(0xE4, b"text")))
    assert isinstance(outcome(whole)[0], ProxyHeader)  # type: ignore[index]
    places = set(range(16, len(whole))) - {whole.index(b"\x03\0\4", 28)}  # with another type it would be none
    for place in places:
        for bit in (1, 0x80):
            changed = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
            assert not isinstance(outcome(changed), tuple) or isinstance(outcome(changed)[0], str), place  # type: ignore[index]


def test_a_checksum_is_computed_anew_whatever_its_value_was() -> None:
    changed = header(Tlv(TlvType.CRC32C, bytes.fromhex("04fcfa2e")), Tlv(1, b"h2"))
    assert isinstance(outcome(CODEC.encode(changed))[0], ProxyHeader)  # type: ignore[index]
    assert CODEC.encode(header(Tlv(TlvType.CRC32C, b""))) == bytes.fromhex(GOLDEN["CRC32C"][0])


def test_if_one_address_is_ipv6_the_other_is_mapped_into_it() -> None:
    mapped = SocketAddress("::ffff:192.0.2.10", 56324)
    mixed = CODEC.encode(ProxyHeader(source=SOURCE, destination=DESTINATION6))
    assert outcome(mixed) == (ProxyHeader(source=mapped, destination=DESTINATION6), 52)
    other = CODEC.encode(ProxyHeader(source=DESTINATION6, destination=SOURCE))
    assert outcome(other) == (ProxyHeader(source=DESTINATION6, destination=mapped), 52)


def test_a_zone_is_left_out_since_it_means_nothing_elsewhere() -> None:
    zoned = ProxyHeader(source=SocketAddress("fe80::1%eth0", 1), destination=SocketAddress("fe80::2%eth0", 2))
    bare = ProxyHeader(source=SocketAddress("fe80::1", 1), destination=SocketAddress("fe80::2", 2))
    assert CODEC.encode(zoned) == CODEC.encode(bare)


@pytest.mark.parametrize(
    "other",
    [
        ProxyHeader(),
        ProxyHeader(local=True, source=SOURCE, destination=DESTINATION),
        ProxyHeader(source=SOURCE),
        ProxyHeader(source=SOURCE, destination=SocketAddress("unix:/run/lb.sock")),
        ProxyHeader(source=SOURCE, destination=SocketAddress("example.org", 80)),
    ],
    ids=repr,
)
def test_what_is_between_no_two_addresses_of_a_kind_becomes_local_and_keeps_its_tlvs(other: ProxyHeader) -> None:
    assert CODEC.encode(other) == raw(b"", 0x20, 0)
    more = ProxyHeader(source=other.source, destination=other.destination, local=other.local, tlvs=(Tlv(1, b"h2"),))
    assert CODEC.encode(more) == raw(tlv(1, b"h2"), 0x20, 0)


@pytest.mark.parametrize(
    ("impossible", "reason"),
    [
        (ProxyHeader(source=SocketAddress("192.0.2.1", 65536), destination=DESTINATION), "port"),
        (ProxyHeader(source=SOURCE, destination=SocketAddress("192.0.2.1", -1)), "port"),
        (ProxyHeader(source=SocketAddress("unix:"), destination=SocketAddress("unix:/" + "a" * 108)), "address"),
        (ProxyHeader(source=SocketAddress("unix:@" + "a" * 108), destination=SocketAddress("unix:")), "address"),
        (header(Tlv(256, b"")), "tlv"),
        (header(Tlv(-1, b"")), "tlv"),
        (header(Tlv(0xE4, bytes(65536))), "tlv"),
        (header(Tlv(0xE4, bytes(65521))), "length"),
        (header(Tlv(4, bytes(40000)), Tlv(4, bytes(40000))), "length"),
        (header(Tlv(2, b"a" * 256)), "authority"),
        (header(Tlv(5, b"a" * 129)), "unique-id"),
        (header(Tlv(0x20, b"")), "ssl"),
        (header(Tlv(3, b""), Tlv(3, b"")), "crc32c"),
    ],
)
def test_what_cannot_be_expressed_is_not_written(impossible: ProxyHeader, reason: str) -> None:
    with pytest.raises(WireError, match=f"proxy-v2-{reason}"):
        CODEC.encode(impossible)


PORTS = st.integers(0, 65535)
V4S = st.builds(SocketAddress, st.ip_addresses(v=4).map(str), PORTS)
V6S = st.builds(SocketAddress, st.ip_addresses(v=6).map(str), PORTS)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=27).filter(lambda name: name != "@")
UNIXES = st.builds(SocketAddress, NAMES.map(lambda name: f"unix:{name}"), st.just(0))
PAIRS = st.one_of(*(st.tuples(kind, kind) for kind in (V4S, V6S, UNIXES)))
TLVS = st.lists(
    st.one_of(
        st.builds(Tlv, st.integers(0xE0, 0xFF), st.binary(max_size=300)),
        st.builds(Tlv, st.sampled_from([1, 2, 4, 5, 0x30]), st.binary(max_size=128)),
        st.just(SSL),
    ),
    max_size=5,
).map(tuple)


@given(PAIRS, st.booleans(), TLVS, st.booleans(), st.binary(max_size=50))
def test_every_header_comes_back_as_it_was(
    pair: tuple[SocketAddress, SocketAddress], datagram: bool, tlvs: tuple[Tlv, ...], checksum: bool, rest: bytes
) -> None:
    all_tlvs = (*tlvs, Tlv(TlvType.CRC32C, b"")) if checksum else tlvs
    data = CODEC.encode(ProxyHeader(source=pair[0], destination=pair[1], datagram=datagram, tlvs=all_tlvs))
    back, used = CODEC.decode(data + rest)
    assert used == len(data)
    assert CODEC.encode(back) == data
    assert back.tlvs[: len(tlvs)] == tlvs
    assert (back.datagram, back.source.port, back.destination.port) == (datagram, pair[0].port, pair[1].port)


@given(st.binary(max_size=60), st.sampled_from([0x20, 0x21]), st.sampled_from([0, 0x11, 0x12, 0x21, 0x31]))
def test_any_body_gives_a_header_or_a_refusal_and_nothing_else(body: bytes, command: int, family: int) -> None:
    for data in (raw(body, command, family), raw(V4 + body), raw(V4 + tlv(0x20, body))):
        answer = outcome(data + b"rest")
        if isinstance(answer, tuple) and isinstance(answer[0], ProxyHeader):
            assert answer[1] == len(data)
        else:
            assert isinstance(answer, tuple)
            assert answer[0].startswith("proxy-v2-")
            assert 14 <= answer[1] <= len(data)


@given(st.binary(max_size=40))
def test_any_bytes_have_one_outcome_however_they_are_cut(data: bytes) -> None:
    for whole in (data, SIGNATURE + data, SIGNATURE + b"\x21\x11\0" + data):
        outcomes = (outcome(whole[:end]) for end in range(len(whole) + 1))
        first = next((one for one in outcomes if not isinstance(one, NeedMore)), None)
        assert (first or outcome(whole)) == outcome(whole)


def test_a_header_is_decoded_in_microseconds() -> None:
    plain, count = raw(), 2000
    best = min(_timed(plain, count) for _ in range(20))
    assert best / count < 20e-6  # it takes about two; slow machines are not what this is about


def _timed(data: bytes, count: int) -> float:
    start = time.thread_time()
    for _ in range(count):
        CODEC.decode(data)
    return time.thread_time() - start
