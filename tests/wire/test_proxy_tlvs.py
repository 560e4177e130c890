"""TLVs are split exactly, checked for what their types allow, and told in words."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.wire.proxy_header import Tlv, TlvType
from twisted_lb.wire.proxy_tlvs import Ssl, check_tlv, decode_ssl, fields_of, join_tlvs, split_tlvs, type_name

TLVS = st.lists(st.builds(Tlv, st.integers(0, 255), st.binary(max_size=20)), max_size=5).map(tuple)


@given(TLVS, st.binary(max_size=5), st.binary(max_size=5))
def test_what_is_joined_is_split_again(tlvs: tuple[Tlv, ...], before: bytes, after: bytes) -> None:
    data = join_tlvs(tlvs)
    assert split_tlvs(before + data + after, len(before), len(before + data)) == tlvs


@given(st.binary(max_size=30))
def test_any_bytes_are_split_whole_or_refused(data: bytes) -> None:
    try:
        tlvs = split_tlvs(data, 0, len(data))
    except WireError as error:
        assert (error.reason, error.offset < len(data)) == ("proxy-v2-tlv", True)  # noqa: PT017
        assert join_tlvs(split_tlvs(data, 0, error.offset)) == data[: error.offset]  # noqa: PT017
    else:
        assert join_tlvs(tlvs) == data


@pytest.mark.parametrize("tlv", [Tlv(256, b""), Tlv(-1, b""), Tlv(1, bytes(65536))])
def test_what_is_no_tlv_is_not_joined(tlv: Tlv) -> None:
    with pytest.raises(WireError, match="proxy-v2-tlv at byte 5"):
        join_tlvs([Tlv(1, b"h2"), tlv])


@pytest.mark.parametrize(
    ("tlv", "refusal"),
    [
        (Tlv(2, bytes(256)), ("proxy-v2-authority", 40)),
        (Tlv(3, bytes(3)), ("proxy-v2-crc32c", 40)),
        (Tlv(5, bytes(129)), ("proxy-v2-unique-id", 40)),
        (Tlv(0x20, bytes(4)), ("proxy-v2-ssl", 43)),
        (Tlv(0x20, bytes(5) + b"\x21\0\0\x22\0"), ("proxy-v2-ssl", 51)),
    ],
)
def test_a_tlv_that_its_type_does_not_allow_is_refused(tlv: Tlv, refusal: tuple[str, int]) -> None:
    with pytest.raises(WireError) as caught:
        check_tlv(tlv, 40)
    assert (caught.value.reason, caught.value.offset) == refusal


@pytest.mark.parametrize(
    "tlv",
    [
        Tlv(1, b""),
        Tlv(2, bytes(255)),
        Tlv(3, bytes(4)),
        Tlv(4, b""),
        Tlv(5, bytes(128)),
        Tlv(0x20, bytes(5)),
        Tlv(0xEE, b""),
    ],
)
def test_a_tlv_that_its_type_allows_passes(tlv: Tlv) -> None:
    check_tlv(tlv)


def test_what_ssl_says_is_taken_apart_and_put_together() -> None:
    value = bytes.fromhex("0700000000210007544c5376312e3322000b6578616d706c652e636f6d")
    ssl = Ssl(7, 0, (Tlv(TlvType.SSL_VERSION, b"TLSv1.3"), Tlv(TlvType.SSL_CN, b"example.com")))
    assert decode_ssl(value) == ssl
    assert ssl.encode() == Tlv(0x20, value)


@pytest.mark.parametrize(
    ("client", "verify", "expected"),
    [
        (0, 0, (False, False, False, False)),
        (1, 0, (True, False, False, False)),  # HAProxy says 0 without any certificate too
        (3, 0, (True, True, False, True)),
        (5, 0, (True, False, True, True)),
        (7, 18, (True, True, True, False)),
        (1, 1, (True, False, False, False)),
    ],
)
def test_a_certificate_is_verified_only_if_there_was_one(client: int, verify: int, expected: tuple[bool, ...]) -> None:
    ssl = Ssl(client, verify)
    assert (ssl.used, ssl.cert_connection, ssl.cert_session, ssl.verified) == expected


def test_ssl_that_is_longer_than_a_tlv_is_not_written() -> None:
    with pytest.raises(WireError, match="proxy-v2-ssl"):
        Ssl(1, 0, (Tlv(0x22, bytes(65528)),)).encode()
    assert len(Ssl(1, 0, (Tlv(0x22, bytes(65527)),)).encode().value) == 65535


@pytest.mark.parametrize(
    ("tlv", "fields"),
    [
        (Tlv(0x01, b"h2"), [("alpn", "h2")]),
        (Tlv(0x02, b"example.org"), [("authority", "example.org")]),
        (Tlv(0x02, "bücher.example".encode()), [("authority", "bücher.example")]),
        (Tlv(0x02, b"\xff"), [("authority", "\\xff")]),
        (Tlv(0x03, bytes.fromhex("04fcfa2e")), [("crc32c", 0x04FCFA2E)]),
        (Tlv(0x04, bytes(3)), [("noop", bytes(3))]),
        (Tlv(0x05, b"\1\2"), [("unique_id", b"\1\2")]),
        (Tlv(0x30, b"blue"), [("netns", "blue")]),
        (Tlv(0xEA, b"\x01vpce-0123456789abcdef0"), [("aws.vpce_id", "vpce-0123456789abcdef0")]),
        (Tlv(0xEE, bytes.fromhex("0101450021")), [("azure.link_id", 0x21004501)]),
        (Tlv(0xE0, bytes.fromhex("009b34d70a003c64")), [("gcp.psc_connection_id", 43686719580552292)]),
        (Tlv(0xE4, b"text"), [("0xE4", b"text")]),
        (Tlv(0x00, b""), [("0x00", b"")]),
        # Not as its type's should be
        (Tlv(0x03, b"abc"), [("0x03", b"abc")]),
        (Tlv(0xEA, b"\x02vpce-1"), [("0xEA", b"\x02vpce-1")]),
        (Tlv(0xEA, b"\x01vpce-\xff"), [("0xEA", b"\x01vpce-\xff")]),
        (Tlv(0xEE, b"\x02abcd"), [("0xEE", b"\x02abcd")]),
        (Tlv(0xEE, b"\x01abc"), [("0xEE", b"\x01abc")]),
        (Tlv(0xE0, b"1234567"), [("0xE0", b"1234567")]),
        (Tlv(0x20, b"1234"), [("0x20", b"1234")]),
    ],
)
def test_a_tlv_is_told_in_words(tlv: Tlv, fields: list[tuple[str, object]]) -> None:
    assert list(fields_of([tlv])) == fields


def test_ssl_is_told_with_all_its_details() -> None:
    details = tuple(Tlv(type, b"x") for type in range(0x21, 0x2A))
    names = ["version", "cn", "cipher", "sig_alg", "key_alg", "group", "sig_scheme"]
    assert list(fields_of([Tlv(1, b"h2"), Ssl(5, 18, details).encode(), Tlv(2, b"a")])) == [
        ("alpn", "h2"),
        ("ssl.client", 5),
        ("ssl.verify", 18),
        *((f"ssl.{name}", "x") for name in names),
        ("ssl.client_cert", b"x"),
        ("ssl.0x29", b"x"),
        ("authority", "a"),
    ]


@given(TLVS)
def test_telling_never_fails(tlvs: tuple[Tlv, ...]) -> None:
    assert len(list(fields_of(tlvs))) >= len(tlvs)


def test_types_have_the_specification_s_names() -> None:
    assert (type_name(0x22), type_name(0x01), type_name(0xE4)) == ("SSL_CN", "ALPN", "0xE4")


def test_the_documentation_lists_every_type() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "proxy-header.md"
    rows = re.findall(r"^\| `(0x[0-9A-F]{2})` \| (\w+) \|", page.read_text(), re.MULTILINE)
    assert rows == [(f"0x{type:02X}", type.name) for type in TlvType]
