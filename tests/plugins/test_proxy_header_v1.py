"""``v1`` reads and writes the PROXY line exactly as the specification has it."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_lb.api import IProxyCodec, NeedMore, ProxyHeader, SocketAddress, Tlv, TlvType, WireError
from twisted_lb.testing import ProxyCodecContract
from twisted_lb_plugins.proxy_header_v1 import ProxyV1

CODEC = ProxyV1()
V4 = "PROXY TCP4 192.0.2.10 198.51.100.20 56324 443"
V6 = "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443"
LONGEST_V6 = f"PROXY TCP6 {'ffff:' * 7}ffff {'ffff:' * 7}ffff 65535 65535\r\n"
LONGEST_UNKNOWN = f"PROXY UNKNOWN {'ffff:' * 7}ffff {'ffff:' * 7}ffff 65535 65535\r\n"


def header(source: str, source_port: int, destination: str, port: int) -> ProxyHeader:
    return ProxyHeader(source=SocketAddress(source, source_port), destination=SocketAddress(destination, port))


ACCEPTED = {
    f"{V4}\r\n": header("192.0.2.10", 56324, "198.51.100.20", 443),
    f"{V6}\r\n": header("2001:db8::1", 56324, "2001:db8::2", 443),
    "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": header("0.0.0.0", 0, "0.0.0.0", 0),
    "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n": header("1.1.1.1", 1, "1.1.1.1", 1),
    "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": header(
        "255.255.255.255", 65535, "255.255.255.255", 65535
    ),
    "PROXY TCP6 :: :: 0 0\r\n": header("::", 0, "::", 0),
    "PROXY TCP6 2001:DB8:0:0::000A ::1 1 2\r\n": header("2001:db8::a", 1, "::1", 2),
    "PROXY TCP6 ::ffff:192.0.2.10 ::FFFF:c000:020a 1 2\r\n": header("::ffff:192.0.2.10", 1, "::ffff:192.0.2.10", 2),
    LONGEST_V6: header(":".join(["ffff"] * 8), 65535, ":".join(["ffff"] * 8), 65535),
    "PROXY UNKNOWN\r\n": ProxyHeader(),
    "PROXY UNKNOWN \r\n": ProxyHeader(),
    "PROXY UNKNOWN what ever\r\r \n it says\r\n": ProxyHeader(),
    LONGEST_UNKNOWN: ProxyHeader(),
}

REFUSED = [
    # What is no header of this version
    ("GET / HTTP/1.1\r\n\r\n", "signature", 0),
    ("\x16\x03\x01\x02\x00", "signature", 0),
    ("\r\n\r\n\x00\r\nQUIT\n", "signature", 0),
    ("\r\n", "signature", 0),
    ("proxy TCP4 192.0.2.10 198.51.100.20 56324 443\r\n", "signature", 0),
    (" PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\r\n", "signature", 0),
    ("PROXx", "signature", 4),
    ("PROXY\r\n", "signature", 5),
    ("PROXY\tTCP4 192.0.2.10 198.51.100.20 56324 443\r\n", "signature", 5),
    ("PROXYTCP4", "signature", 5),
    # The family
    ("PROXY \r\n", "spaces", 6),
    ("PROXY  TCP4 192.0.2.10 198.51.100.20 56324 443\r\n", "spaces", 6),
    ("PROXY TCP5 ", "family", 9),
    ("PROXY TCP\r\n", "family", 9),
    ("PROXY TCP 192.0.2.10 198.51.100.20 56324 443\r\n", "family", 9),
    ("PROXY tcp4 192.0.2.10 198.51.100.20 56324 443\r\n", "family", 6),
    ("PROXY UDP4 192.0.2.10 198.51.100.20 56324 443\r\n", "family", 7),
    ("PROXY TCP46 ", "family", 10),
    ("PROXY UNKNOWNS\r\n", "family", 13),
    ("PROXY UNKNOWN\t\r\n", "family", 13),
    ("PROXY UNKNOW\r\n", "family", 12),
    ("PROXY unknown\r\n", "family", 6),
    ("PROXY TCP4\t192.0.2.10 198.51.100.20 56324 443\r\n", "family", 10),
    # The addresses
    ("PROXY TCP4 999.1.1.1 198.51.100.20 56324 443\r\n", "address", 11),
    ("PROXY TCP4 256.0.2.10 ", "address", 11),
    ("PROXY TCP4 192.0.2 ", "address", 11),
    ("PROXY TCP4 192.0.2.10.1 ", "address", 11),
    ("PROXY TCP4 192.0.2.010 ", "address", 11),
    ("PROXY TCP4 192.0.2. ", "address", 11),
    ("PROXY TCP4 .192.0.2.10 ", "address", 11),
    ("PROXY TCP4 3221225994 ", "address", 11),
    ("PROXY TCP4 0xc0.0.2.10", "address", 12),
    ("PROXY TCP4 -1.0.2.10", "address", 11),
    ("PROXY TCP4 192.0.2.10/32", "address", 21),
    ("PROXY TCP4 192.0.2.10,", "address", 21),
    ("PROXY TCP4 192.0.2.10:80", "address", 21),
    ("PROXY TCP4 localhost", "address", 11),
    ("PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n", "address", 15),
    ("PROXY TCP4 ::ffff:192.0.2.10 198.51.100.20 56324 443\r\n", "address", 11),
    ("PROXY TCP4 192.0.2.10\x00", "address", 21),
    ("PROXY TCP4 192.0.2.10\t198.51.100.20", "address", 21),
    ("PROXY TCP4 192.0.2.10 198.51.100.256 56324 443\r\n", "address", 22),
    ("PROXY TCP4 192.0.2.10 2001:db8::2 56324 443\r\n", "address", 26),
    ("PROXY TCP6 192.0.2.10 198.51.100.20 56324 443\r\n", "address", 11),
    ("PROXY TCP6 2001:db8::1 198.51.100.20 56324 443\r\n", "address", 23),
    ("PROXY TCP6 2001:db8::1::2 ", "address", 11),
    ("PROXY TCP6 2001:db8:1 ", "address", 11),
    ("PROXY TCP6 1:2:3:4:5:6:7:8:9 ", "address", 11),
    ("PROXY TCP6 2001:db8::12345 ", "address", 11),
    ("PROXY TCP6 ::ffff:192.0.2.256 ", "address", 11),
    ("PROXY TCP6 [2001:db8::1] ", "address", 11),
    ("PROXY TCP6 fe80::1%eth0 ", "address", 18),
    ("PROXY TCP6 2001:db8::g", "address", 21),
    # The ports
    ("PROXY TCP4 192.0.2.10 198.51.100.20 65536 443\r\n", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 99999 443\r\n", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 00443 443\r\n", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 00 443\r\n", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 123456 443\r\n", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 -1", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 +1", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 1_0", "port", 37),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 0x1f", "port", 37),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 http", "port", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 65536\r\n", "port", 42),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 0443\r\n", "port", 42),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\t\r\n", "port", 45),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 443\x00\r\n", "port", 45),
    # How many fields, and what is between them
    ("PROXY TCP4\r\n", "fields", 10),
    ("PROXY TCP4 192.0.2.10\r\n", "fields", 21),
    ("PROXY TCP4 192.0.2.10 198.51.100.20\r\n", "fields", 35),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324\r\n", "fields", 41),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 443 \r\n", "fields", 45),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 443 80\r\n", "fields", 45),
    ("PROXY TCP4 \r\n", "spaces", 11),
    ("PROXY TCP4  192.0.2.10 198.51.100.20 56324 443\r\n", "spaces", 11),
    ("PROXY TCP4 192.0.2.10  198.51.100.20 56324 443\r\n", "spaces", 22),
    ("PROXY TCP4 192.0.2.10 198.51.100.20  56324 443\r\n", "spaces", 36),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324  443\r\n", "spaces", 42),
    ("PROXY TCP4 192.0.2.10 198.51.100.20 56324 \r\n", "spaces", 42),
    # The end of the line
    (f"{V4}\nGET / HTTP/1.1\r\n", "line-end", 45),
    (f"{V4}\n", "line-end", 45),
    (f"{V4}\rGET / HTTP/1.1\r\n", "line-end", 45),
    (f"{V4}\r\r\n", "line-end", 45),
    (f"{V4}\n\r\n", "line-end", 45),
    ("PROXY TCP4 192.0.2.10\n198.51.100.20", "line-end", 21),
    ("PROXY TCP4\n", "line-end", 10),
    ("PROXY UNKNOWN\n", "line-end", 13),
    ("PROXY UNKNOWN\r\r\n", "line-end", 13),
    (f"PROXY UNKNOWN {'x' * 93}", "length", 107),
    (f"PROXY UNKNOWN {'x' * 92}\r\n", "length", 107),
    (f"PROXY UNKNOWN {'x' * 300}\r\n", "length", 107),
    (f"PROXY TCP6 {'0' * 96}", "length", 107),
]


class TestContract(ProxyCodecContract, SynchronousTestCase):
    """``v1`` keeps what every PROXY codec promises."""

    headers = tuple(line.encode() for line in ACCEPTED)
    refused = tuple(line.encode("latin-1") for line, _, _ in REFUSED)

    def make_codec(self) -> IProxyCodec:
        return ProxyV1()


def outcome(data: bytes) -> tuple[ProxyHeader, int] | tuple[str, int] | NeedMore:
    try:
        return CODEC.decode(data)
    except WireError as error:
        return error.reason, error.offset


@pytest.mark.parametrize("line", ACCEPTED, ids=repr)
def test_what_the_specification_allows_is_accepted(line: str) -> None:
    assert outcome(line.encode() + b"payload") == (ACCEPTED[line], len(line))


@pytest.mark.parametrize(("line", "reason", "offset"), REFUSED, ids=repr)
def test_what_it_does_not_allow_is_refused_with_its_reason_and_place(line: str, reason: str, offset: int) -> None:
    assert outcome(line.encode("latin-1")) == (f"proxy-v1-{reason}", offset)


def test_the_longest_lines_are_as_long_as_the_specification_says() -> None:
    assert (len(LONGEST_V6), len(LONGEST_UNKNOWN)) == (104, 107)


def test_a_refusal_does_not_wait_for_the_end_of_the_line() -> None:
    for line, reason, offset in REFUSED:
        if reason in ("signature", "line-end") or (reason == "address" and offset > 11 and offset not in (22, 23)):
            assert outcome(line[: offset + 2].encode("latin-1")) == (f"proxy-v1-{reason}", offset)


def test_a_line_that_is_not_whole_says_how_much_it_lacks_at_least() -> None:
    assert outcome(b"") == NeedMore(15)
    assert outcome(b"PROXY T") == NeedMore(17)
    assert outcome(b"PROXY TCP4") == NeedMore(32)
    assert outcome(b"PROXY TCP6 2001:db8::1 2001:db8::2 ") == NeedMore(
        len(b"PROXY TCP6 2001:db8::1 2001:db8::2 0 0\r\n")
    )
    assert outcome(V4.encode()) == NeedMore(len(V4) + 2)
    assert outcome(V4.encode() + b"\r") == NeedMore(len(V4) + 2)


@pytest.mark.parametrize(
    "line", [f"{V4}\r\n", f"{V6}\r\n", "PROXY TCP6 ::ffff:192.0.2.10 2001:db8::2 1 2\r\n", "PROXY UNKNOWN\r\n"]
)
def test_what_is_written_as_usual_is_encoded_as_it_was(line: str) -> None:
    decoded, _ = CODEC.decode(line.encode())
    assert CODEC.encode(decoded) == line.encode()


def test_if_one_address_is_ipv6_the_other_is_mapped_into_it() -> None:
    assert CODEC.encode(header("192.0.2.10", 1, "2001:db8::2", 2)) == (
        b"PROXY TCP6 ::ffff:192.0.2.10 2001:db8::2 1 2\r\n"
    )
    assert CODEC.encode(header("2001:db8::2", 1, "192.0.2.10", 2)) == (
        b"PROXY TCP6 2001:db8::2 ::ffff:192.0.2.10 1 2\r\n"
    )


def test_a_zone_is_left_out_since_it_means_nothing_elsewhere() -> None:
    assert CODEC.encode(header("fe80::1%eth0", 1, "fe80::2%eth0", 2)) == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


ADDRESSES = SocketAddress("192.0.2.10", 1), SocketAddress("192.0.2.20", 2)


@pytest.mark.parametrize(
    "other",
    [
        ProxyHeader(),
        ProxyHeader(local=True),
        ProxyHeader(local=True, source=ADDRESSES[0], destination=ADDRESSES[1]),
        ProxyHeader(datagram=True, source=ADDRESSES[0], destination=ADDRESSES[1]),
        ProxyHeader(source=ADDRESSES[0]),
        ProxyHeader(source=ADDRESSES[0], destination=SocketAddress("unix:/run/lb.sock")),
        ProxyHeader(source=SocketAddress("unix:"), destination=SocketAddress("unix:/run/lb.sock")),
        ProxyHeader(source=ADDRESSES[0], destination=SocketAddress("example.org", 80)),
        ProxyHeader(source=ADDRESSES[0], destination=SocketAddress("192.0.2.1\0", 80)),
        ProxyHeader(source=ADDRESSES[0], destination=SocketAddress("192.0.2.1 1 1\r\n", 80)),
    ],
    ids=repr,
)
def test_what_is_no_tcp_connection_between_ip_addresses_becomes_unknown(other: ProxyHeader) -> None:
    assert CODEC.encode(other) == b"PROXY UNKNOWN\r\n"


def test_tlvs_are_left_out() -> None:
    with_tlv = ProxyHeader(source=ADDRESSES[0], destination=ADDRESSES[1], tlvs=(Tlv(TlvType.ALPN, b"h2"),))
    assert CODEC.encode(with_tlv) == b"PROXY TCP4 192.0.2.10 192.0.2.20 1 2\r\n"


@pytest.mark.parametrize("ports", [(-1, 1), (65536, 1), (1, -1), (1, 65536)])
def test_a_port_that_cannot_be_is_not_written(ports: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="proxy-v1-port"):
        CODEC.encode(header("192.0.2.10", ports[0], "192.0.2.20", ports[1]))


PORTS = st.integers(0, 65535)
PAIRS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


@given(PAIRS, PORTS, PORTS, st.binary(max_size=20))
def test_every_connection_comes_back_as_it_was(pair: tuple[object, object], one: int, two: int, rest: bytes) -> None:
    line = CODEC.encode(header(str(pair[0]), one, str(pair[1]), two))
    decoded, used = CODEC.decode(line + rest)
    assert used == len(line) <= CODEC.max_length
    assert CODEC.encode(decoded) == line
    if "." not in str(pair[0]) or line.startswith(b"PROXY TCP4"):
        assert (decoded.source.port, decoded.destination.port) == (one, two)


def pieces(data: bytes) -> Iterator[tuple[int, tuple[ProxyHeader, int] | tuple[str, int] | NeedMore]]:
    for end in range(len(data) + 1):
        yield end, outcome(data[:end])


@given(
    st.one_of(
        st.binary(max_size=130),
        st.text(" \r\n0123456789.:afTCP46UNKOWX", max_size=130).map(lambda text: b"PROXY " + text.encode()),
        st.lists(st.sampled_from(["TCP4", "TCP6", "1.2.3.4", "::1", "80", "", "x"]), max_size=8).map(
            lambda words: "PROXY {}\r\n".format(" ".join(words)).encode()
        ),
    )
)
@example(b"PROXY UNKNOWN " + b"x" * 100)
@example(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1" + b"\r" * 100)
def test_any_bytes_have_one_outcome_however_they_are_cut(data: bytes) -> None:
    first = None
    for end, now in pieces(data):
        if not isinstance(now, NeedMore):
            first = now
            break
        assert end < now.at_least <= CODEC.max_length
    assert (first or outcome(data)) == outcome(data)
