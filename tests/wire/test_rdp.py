"""Connection requests and confirmations; those with a section are the examples of MS-RDPBCGR."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.rdp import Confirmation, Request, read_confirmation, read_request, refusal

# Section 4.1.1 and 4.1.2.
REQUEST = bytes.fromhex(
    "03 00 00 2c 27 e0 00 00 00 00 00 43 6f 6f 6b 69 65 3a 20 6d 73 74 73 68 61 73 68 3d 65 6c 74 6f 6e 73 0d 0a"
    "01 00 08 00 00 00 00 00"
)
CONFIRM = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 02 00 08 00 00 00 00 00")


def request(body: bytes, head: bytes = b"\xe0\0\0\x12\x34\0") -> bytes:
    length = 5 + len(head) + len(body)
    return b"\x03\0" + length.to_bytes(2, "big") + bytes([length - 5 & 0xFF]) + head + body


def negotiation(protocols: int, flags: int = 0) -> bytes:
    return b"\x01" + bytes([flags]) + b"\x08\0" + protocols.to_bytes(4, "little")


CORRELATION = b"\x06\0\x24\0" + bytes(32)
TLS = request(negotiation(3))
BARE = request(b"")


def read(data: bytes) -> Request:
    made = read_request(data)
    assert isinstance(made, Request)
    return made


def test_the_example_is_read() -> None:
    assert read(REQUEST + b"more") == Request(44, "eltons", None, True, 0, b"\0\0")
    assert read(REQUEST).protocols == ("rdp",)


@pytest.mark.parametrize(
    ("body", "cookie", "token", "protocols"),
    [
        (b"", None, None, ("rdp",)),
        (b"Cookie: mstshash=J\xc3\xbcrgen\r\n", "Jürgen", None, ("rdp",)),
        (b"Cookie: mstshash=\r\n" + negotiation(1), "", None, ("tls",)),
        (
            b"Cookie: msts=3640205228.15629.0000\r\n" + negotiation(0x0B),
            None,
            "Cookie: msts=3640205228.15629.0000",
            ("tls", "hybrid", "hybrid-ex"),
        ),
        (b"tsv://MS Terminal Services Plugin.1.Farm\r\n", None, "tsv://MS Terminal Services Plugin.1.Farm", ("rdp",)),
        (negotiation(4, 3), None, None, ("rdstls",)),
        (negotiation(16 | 8, 8) + CORRELATION, None, None, ("hybrid-ex", "rdsaad")),
    ],
)
def test_requests_are_read(body: bytes, cookie: str | None, token: str | None, protocols: tuple[str, ...]) -> None:
    made = read(request(body))
    assert (made.cookie, made.token, made.protocols) == (cookie, token, protocols)
    assert made.source_ref == b"\x12\x34"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "rdp-tpkt"),
        (b"\x03\x01\0\x0b", "rdp-tpkt"),
        (b"\x03\0\0\x0a\x05\xe0\0\0\0\0\0", "rdp-tpkt"),
        (b"\x03\0\x01\x04\xff\xe0\0\0\0\0\0", "rdp-tpkt"),
        (b"\x03\0\0\x0b\x07\xe0\0\0\0\0\0", "rdp-x224"),
        (request(b"", b"\xd0\0\0\0\0\0"), "rdp-x224"),
        (request(b"", b"\xe0\0\0\0\0\x10"), "rdp-x224"),
        (request(b"", b"\xe0\0\x01\0\0\0"), "rdp-x224"),
        (request(b"Cookie: mstshash=x"), "rdp-cookie"),
        (request(b"Cookie: mstshash=a\nb\r\n"), "rdp-cookie"),
        (request(b"a\x7f\r\n"), "rdp-cookie"),
        (request(b"\x02\0\x08\0\0\0\0\0"), "rdp-cookie"),
        (request(negotiation(1)[:-1]), "rdp-negotiation"),
        (request(negotiation(1, 4)), "rdp-negotiation"),
        (request(b"\x01\0\x09\0\0\0\0\0"), "rdp-negotiation"),
        (request(b"x\r\n\x02\0\x08\0\0\0\0\0"), "rdp-negotiation"),
        (request(negotiation(1) + b"x"), "rdp-negotiation"),
        (request(negotiation(1, 8)), "rdp-negotiation"),
        (request(negotiation(1, 8) + b"\x07" + CORRELATION[1:]), "rdp-negotiation"),
        (request(negotiation(32)), "rdp-protocols"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_request(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "asked", "selected"),
    [
        (CONFIRM, REQUEST, 0),
        (request(b"", b"\xd0\0\0\0\0\0"), BARE, 0),
        (request(b"\x02\x1f\x08\0\x02\0\0\0", b"\xd0\0\0\0\0\0"), TLS, 2),
        (request(b"\x02\0\x08\0\0\0\0\0", b"\xd0\0\0\0\0\0"), TLS, 0),
        (refusal(5), TLS, None),
    ],
)
def test_confirmations_are_read(data: bytes, asked: bytes, selected: int | None) -> None:
    assert read_confirmation(data + b"x", read(asked)) == Confirmation(len(data), selected)
    for end in range(1, len(data)):
        assert isinstance(read_confirmation(data[:end], read(asked)), NeedMore)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-x\r\n", "rdp-server-tpkt"),
        (REQUEST, "rdp-server-x224"),
        (request(b"\x02\0\x08\0\x08\0\0\0", b"\xd0\0\0\0\0\0"), "rdp-server-selected"),
        (request(b"\x02\0\x08\0\x03\0\0\0", b"\xd0\0\0\0\0\0"), "rdp-server-selected"),
        (request(b"\x01\0\x08\0\0\0\0\0", b"\xd0\0\0\0\0\0"), "rdp-server-negotiation"),
        (request(b"\x02\0\x08\0\0\0\0", b"\xd0\0\0\0\0\0"), "rdp-server-negotiation"),
    ],
)
def test_a_confirmation_that_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_confirmation(data, read(TLS))
    assert caught.value.reason == reason


def test_a_refusal_has_the_form_that_clients_read() -> None:
    # Sections 2.2.1.2 and 2.2.1.2.2: SSL_REQUIRED_BY_SERVER.
    assert refusal(1, b"\x12\x34") == bytes.fromhex("03 00 00 13 0e d0 12 34 00 00 00 03 00 08 00 01 00 00 00")


@pytest.mark.parametrize("data", [REQUEST, TLS, BARE])
def test_every_beginning_of_a_request_wants_more_and_no_more_than_there_is(data: bytes) -> None:
    for end in range(1, len(data)):
        need = read_request(data[:end])
        assert isinstance(need, NeedMore)
        assert end < need.at_least <= len(data)


CHANGED = st.tuples(st.sampled_from([REQUEST, TLS, BARE, CONFIRM]), st.integers(0, 43), st.binary(max_size=3))


def _fault(read: Any, data: bytes) -> Any:
    try:
        return read(data)
    except WireError as error:
        return error.reason


@given(st.one_of(st.binary(max_size=40), CHANGED.map(lambda one: one[0][: one[1]] + one[2] + one[0][one[1] + 1 :])))
def test_any_bytes_give_a_packet_need_more_or_a_wire_error_and_cuts_do_not_matter(data: bytes) -> None:
    for reading in (read_request, lambda data: read_confirmation(data, read(TLS))):
        whole = _fault(reading, data)
        early = [_fault(reading, data[:end]) for end in range(1, len(data) + 1)]
        assert next((one for one in early if not isinstance(one, NeedMore)), whole) == whole
