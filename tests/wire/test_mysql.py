"""Greetings and their answers, byte for byte as MySQL's documentation has them ("Connection Phase Packets")."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.mysql import (
    Capability,
    ErrorPacket,
    Greeting,
    Response,
    error_packet,
    read_greeting,
    read_response,
)

OLD_GREETING = bytes.fromhex(
    "36 00 00 00 0a 35 2e 35 2e 32 2d 6d 32 00 0b 00 00 00 64 76 48 40 49 2d 43 4a 00 ff f7 08 02 00 00 00 00 00"
    "00 00 00 00 00 00 00 00 00 2a 34 64 7c 63 5a 77 6b 34 5e 5d 3a 00"
)
GREETING = (
    bytes.fromhex(
        "50 00 00 00 0a 35 2e 36 2e 34 2d 6d 37 2d 6c 6f 67 00 56 0a 00 00 52 42 33 76 7a 26 47 72 00 ff ff 08 02 00"
        "0f c0 15 00 00 00 00 00 00 00 00 00 00 2b 79 44 26 2f 5a 5a 33 30 35 5a 47 00"
    )
    + b"mysql_native_password\0"
)
RESPONSE = (
    bytes.fromhex(
        "54 00 00 01 8d a6 0f 00 00 00 00 01 08 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
        "70 61 6d 00 14 ab 09 ee f6 bc b1 32 3e 61 14 38 65 c0 99 1d 95 7d 75 d4 47 74 65 73 74 00"
    )
    + b"mysql_native_password\0"
)
SSL_REQUEST = bytes.fromhex("20 00 00 01 05 ae 03 00 00 00 00 01 08" + "00" * 23)
TOO_MANY = b"\x17\x00\x00\x00\xff\x10\x04Too many connections"
OFFERED = 0xC00FFFFF
BASE = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION


def response(capabilities: int, rest: bytes, sequence: int = 1) -> bytes:
    payload = capabilities.to_bytes(4, "little") + b"\0\0\0\x01\x21" + bytes(23) + rest
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


@pytest.mark.parametrize(
    ("data", "greeting"),
    [
        (OLD_GREETING, Greeting(58, "5.5.2-m2", 0xF7FF)),
        (GREETING, Greeting(84, "5.6.4-m7-log", OFFERED)),
        (TOO_MANY, ErrorPacket(27, 1040)),
    ],
)
def test_a_greeting_is_read(data: bytes, greeting: Greeting | ErrorPacket) -> None:
    assert read_greeting(data) == read_greeting(data + b"more") == greeting


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "mysql-greeting-length"),
        (b"\0\0\0\0", "mysql-greeting-length"),
        (b"\x01\x04\0\0\x0a", "mysql-greeting-length"),
        (b"\x50\0\0\x01\x0a", "mysql-greeting-sequence"),
        (b"\x50\0\0\0\x09", "mysql-greeting-version"),
        (b"\x05\0\0\0\x0a5.5\0", "mysql-greeting"),
        (b"\x04\0\0\0\x0a5.5", "mysql-greeting"),
        (GREETING.replace(b"Gr\0", b"Grx"), "mysql-greeting"),
    ],
)
def test_what_is_no_greeting_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_greeting(data)
    assert caught.value.reason == reason


def test_an_answer_is_read() -> None:
    assert read_response(RESPONSE + b"more", OFFERED) == Response(88, 2, ssl=False, user="pam", database="test")


def test_a_request_for_tls_is_read() -> None:
    assert read_response(SSL_REQUEST + b"\x16\x03\x01", OFFERED) == Response(36, 2, ssl=True)


@pytest.mark.parametrize(
    ("more", "rest"),
    [
        (0, b"me\0\x03abc"),
        (Capability.PLUGIN_AUTH_LENENC_CLIENT_DATA, b"me\0\xfc\x2c\x01" + bytes(300)),
        (Capability.CONNECT_ATTRS, b"me\0\0\x0b\x02_a\x01x\x01b\x03abc"),
        (Capability.ZSTD_COMPRESSION, b"me\0\0\x03"),
        (0, b"me\0\0\0\0\0"),
    ],
)
def test_what_else_there_may_be_is_read_over(more: int, rest: bytes) -> None:
    read = read_response(response(BASE | more, rest), 0xFFFFFFFF)
    assert isinstance(read, Response)
    assert (read.user, read.database) == ("me", "")


def test_what_the_server_does_not_offer_is_not_done() -> None:
    wanted = BASE | Capability.PLUGIN_AUTH | Capability.CONNECT_WITH_DB
    assert read_response(response(wanted, b"me\0\0"), BASE) == Response(40, 2, ssl=False, user="me", database="")
    with pytest.raises(WireError, match="mysql-trailing"):
        read_response(response(wanted, b"me\0\0db\0plugin\0"), BASE)


def test_the_oldest_form_of_a_password_is_a_string() -> None:
    read = read_response(response(Capability.PROTOCOL_41, b"me\0secret\0"), OFFERED)
    assert isinstance(read, Response)
    assert read.user == "me"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x01", "mysql-length"),
        (b"\x01\0\x01\x01", "mysql-length"),
        (b"GET / HTTP/1.1", "mysql-length"),
        (response(BASE, b"me\0\0", sequence=0), "mysql-sequence"),
        (response(0x8000, b"me\0\0"), "mysql-protocol"),
        (b"\x04\0\0\x01\0\x02\0\0", "mysql-response"),
        (response(BASE, b"me"), "mysql-response"),
        (response(BASE, b"me\0"), "mysql-response"),
        (response(BASE, b"me\0\x05abc"), "mysql-response"),
        (response(BASE | Capability.CONNECT_WITH_DB, b"me\0\0db"), "mysql-response"),
        (response(BASE | Capability.PLUGIN_AUTH_LENENC_CLIENT_DATA, b"me\0\xfb"), "mysql-response"),
        (response(BASE | Capability.PLUGIN_AUTH_LENENC_CLIENT_DATA, b"me\0\xff"), "mysql-response"),
        (response(BASE | Capability.CONNECT_ATTRS, b"me\0\0\x03\x02_a"), "mysql-response"),
        (response(BASE, b"x" * 513 + b"\0\0"), "mysql-user-long"),
        (response(BASE, b"me\0\0x"), "mysql-trailing"),
        (response(BASE | Capability.SSL, b"me\0\0"), "mysql-ssl-request"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_response(data, 0xFFFFFFFF)
    assert caught.value.reason == reason


def test_tls_is_not_asked_for_where_it_is_not_offered() -> None:
    with pytest.raises(WireError, match="mysql-ssl-request"):
        read_response(SSL_REQUEST, OFFERED & ~Capability.SSL)


@pytest.mark.parametrize("data", [GREETING, OLD_GREETING, TOO_MANY])
def test_every_beginning_of_a_greeting_wants_more(data: bytes) -> None:
    for end in range(1, len(data)):
        need = read_greeting(data[:end])
        assert isinstance(need, NeedMore)
        assert end < need.at_least <= len(data)


@pytest.mark.parametrize("data", [RESPONSE, SSL_REQUEST])
def test_every_beginning_of_an_answer_wants_more(data: bytes) -> None:
    for end in range(1, len(data)):
        need = read_response(data[:end], OFFERED)
        assert isinstance(need, NeedMore)
        assert end < need.at_least <= len(data)


def _change(one: tuple[bytes, int, bytes]) -> bytes:
    data, at, by = one
    return data[:at] + by + data[at + len(by) :]


CHANGED = st.tuples(st.sampled_from([GREETING, RESPONSE, SSL_REQUEST]), st.integers(0, 83), st.binary(max_size=4))


def _fault(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except WireError as error:
        return error.reason


@given(st.one_of(st.binary(max_size=60), CHANGED.map(_change)), st.integers(0, 0xFFFFFFFF))
def test_any_bytes_give_a_packet_need_more_or_a_wire_error_and_cuts_do_not_matter(data: bytes, offered: int) -> None:
    for read in (read_greeting, lambda data: read_response(data, offered)):
        whole = _fault(read, data)
        early = [_fault(read, data[:end]) for end in range(1, len(data) + 1)]
        assert next((one for one in early if not isinstance(one, NeedMore)), whole) == whole


def test_an_error_has_the_form_that_clients_read() -> None:
    # "Protocol::ERR_Packet", its example, but for the number.
    assert error_packet(1, 1096, "HY000", "No tables used") == (b"\x17\x00\x00\x01\xff\x48\x04\x23HY000No tables used")
    assert error_packet(0, 1040, "", "Too many connections") == TOO_MANY
