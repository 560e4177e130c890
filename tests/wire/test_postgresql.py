"""The first packet of a PostgreSQL client, byte for byte as the documentation has it ("Message Formats")."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.postgresql import StartupPacket, error_response, read_startup_packet

SSL = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS = b"\0\0\0\x08\x04\xd2\x16\x30"
CANCEL = b"\0\0\0\x10\x04\xd2\x16\x2e\x00\x00\x30\x39\xde\xad\xbe\xef"
PSQL = b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0postgres\0application_name\0psql\0client_encoding\0UTF8\0\0"


def startup(*fields: bytes, version: bytes = b"\0\x03\0\0") -> bytes:
    body = version + b"".join(field + b"\0" for field in fields) + b"\0"
    return (len(body) + 4).to_bytes(4, "big") + body


def read(data: bytes) -> StartupPacket:
    packet = read_startup_packet(data)
    assert isinstance(packet, StartupPacket)
    return packet


def test_a_startup_message_is_read() -> None:
    packet = read(PSQL + b"more")
    assert packet == StartupPacket(
        "startup",
        84,
        0,
        {b"user": b"postgres", b"database": b"postgres", b"application_name": b"psql", b"client_encoding": b"UTF8"},
    )
    assert (packet.user, packet.database, packet.replication) == ("postgres", "postgres", False)


@pytest.mark.parametrize(("data", "kind"), [(SSL, "ssl"), (GSS, "gss"), (CANCEL, "cancel")])
def test_requests_are_read(data: bytes, kind: str) -> None:
    assert read(data + b"x")[:2] == (kind, len(data))


def test_keys_of_cancel_requests_may_be_long() -> None:
    for size in (4, 32, 256):
        assert read((12 + size).to_bytes(4, "big") + CANCEL[4:12] + bytes(size)).kind == "cancel"


@pytest.mark.parametrize(
    ("fields", "database", "replication"),
    [
        ((b"user", b"me"), "me", False),
        ((b"user", b"me", b"database", b""), "me", False),
        ((b"user", b"me", b"database", b"db", b"replication", b"false"), "db", False),
        ((b"user", b"me", b"database", b"db", b"replication", b"OFF"), "db", False),
        ((b"user", b"me", b"database", b"db", b"replication", b"database"), "db", True),
        ((b"user", b"me", b"database", b"db", b"replication", b"true"), None, True),
        ((b"user", b"me", b"database", b"db", b"replication", b"1"), None, True),
    ],
)
def test_the_database_is_the_one_that_the_server_takes(
    fields: tuple[bytes, ...], database: str | None, replication: bool
) -> None:
    packet = read(startup(*fields))
    assert (packet.database, packet.replication) == (database, replication)


def test_names_that_are_not_utf8_are_spelt_out() -> None:
    assert read(startup(b"user", b"J\xfcrgen")).user == "J\\xfcrgen"
    assert read(startup(b"user", "Jürgen".encode())).user == "Jürgen"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "postgresql-length"),
        (b"\x16\x03\x01", "postgresql-length"),
        (b"\0\0\0\x07\0\x03\0\0", "postgresql-length"),
        (b"\0\0\x27\x11\0\x03\0\0", "postgresql-length"),
        (b"\0\0\0\x09\0\x02\0\0\0", "postgresql-version"),
        (b"\0\0\0\x09\0\x04\0\0\0", "postgresql-version"),
        (b"\0\0\0\x09\x04\xd2\x16\x2f\0", "postgresql-request"),
        (b"\0\0\0\x08\x04\xd2\x16\x2e", "postgresql-request"),
        (b"\0\0\0\x08\x04\xd2\x16\x31", "postgresql-version"),
        (b"\0\0\0\x08\0\x03\0\0", "postgresql-parameters"),
        (b"\0\0\0\x09\0\x03\0\0x", "postgresql-parameters"),
        (startup(b"user"), "postgresql-parameters"),
        (startup(b"user", b"me", b"", b""), "postgresql-parameters"),
        (startup(b"user", b"me")[:-1] + b"x", "postgresql-parameters"),
        (startup(), "postgresql-user"),
        (startup(b"user", b""), "postgresql-user"),
        (startup(b"database", b"me"), "postgresql-user"),
        (startup(b"user", b"me", b"user", b"you"), "postgresql-repeated"),
        (startup(b"user", b"x" * 64), "postgresql-name-long"),
        (startup(b"user", b"me", b"database", b"x" * 64), "postgresql-name-long"),
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_startup_packet(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [PSQL, SSL, GSS, CANCEL, startup(b"user", b"x" * 63)])
def test_every_beginning_of_a_packet_wants_more_and_no_more_than_there_is(data: bytes) -> None:
    for end in range(1, len(data)):
        need = read_startup_packet(data[:end])
        assert isinstance(need, NeedMore)
        assert end < need.at_least <= len(data)


MUTATED = st.tuples(st.sampled_from([PSQL, SSL, CANCEL]), st.integers(0, 83), st.binary(max_size=4))


def _fault(data: bytes) -> Any:
    try:
        return read_startup_packet(data)
    except WireError as error:
        return error.reason


@given(st.one_of(st.binary(max_size=40), MUTATED.map(lambda one: one[0][: one[1]] + one[2] + one[0][one[1] + 1 :])))
def test_any_bytes_give_a_packet_need_more_or_a_wire_error_and_cuts_do_not_matter(data: bytes) -> None:
    whole = _fault(data)
    early = [_fault(data[:end]) for end in range(1, len(data) + 1)]
    assert next((one for one in early if not isinstance(one, NeedMore)), whole) == whole


def test_an_error_has_the_form_that_clients_read() -> None:
    assert error_response("08P01", "no") == b"E\0\0\0\x1eSFATAL\0VFATAL\0C08P01\0Mno\0\0"
