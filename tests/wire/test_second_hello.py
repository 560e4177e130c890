"""A second ClientHello asks for the name of the first, however it is cut, and wherever it stands."""

import contextlib
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.interop.certificates import certificate
from tests.wire.hellos import (
    Extension,
    algorithms,
    groups,
    hello,
    in_records,
    key_share,
    message,
    name_extension,
    record,
    usual,
    versions,
)
from twisted_lb.errors import WireError
from twisted_lb.wire.client_hello import ClientHello, read_client_hello
from twisted_lb.wire.second_hello import TlsSecondHello

NAME = "www.example.org"
FIRST, SECOND, OTHER = hello(), hello(), hello(usual(b"other.example"))
CHANGE_CIPHER_SPEC, EARLY, ALERT = record(b"\x01", 20), record(bytes(99), 23), record(b"\x01\x70", 21)
KEY_EXCHANGE = record(b"\x10\0\0\x01x")


def first_of(said: bytes) -> ClientHello:
    found = read_client_hello(said)
    assert isinstance(found, ClientHello)
    return found


def outcome(pieces: Sequence[bytes]) -> str | bool:
    first = first_of(b"".join(pieces))
    follower, to_come = TlsSecondHello(first), first.size
    try:
        for piece in pieces:
            if follower.feed(piece[to_come:]):
                return True
            to_come = max(to_come - len(piece), 0)
        return False
    except WireError as error:
        return error.reason


CASES = {
    "nothing more": (FIRST, False),
    "first in records": (in_records(message(usual()), 1, 3, 4, 50), False),
    "change of ciphers": (FIRST + CHANGE_CIPHER_SPEC, False),
    "encrypted": (FIRST + CHANGE_CIPHER_SPEC + EARLY + OTHER, True),
    "older version": (FIRST + KEY_EXCHANGE + OTHER, True),
    "same name": (FIRST + CHANGE_CIPHER_SPEC + SECOND, True),
    "same name in other letters": (FIRST + hello(usual(b"WWW.Example.ORG")), True),
    "other name": (FIRST + OTHER, "tls-second-hello"),
    "other name behind more": (FIRST + CHANGE_CIPHER_SPEC + ALERT + OTHER, "tls-second-hello"),
    "other name in records": (FIRST + in_records(message(usual(b"other.example")), 1, 2, 90), "tls-second-hello"),
    "no name": (FIRST + hello(usual(None)), "tls-second-hello"),
    "broken": (FIRST + hello([*usual(), usual()[0]]), "tls-second-hello"),
    "empty record": (FIRST + record(b"") + OTHER, "tls-second-hello"),
    "other name, first in records": (in_records(message(usual()), 1, 3) + OTHER, "tls-second-hello"),
}


@pytest.mark.parametrize(("said", "expected"), CASES.values(), ids=CASES)
def test_a_second_hello_is_judged_however_it_is_cut(said: bytes, expected: str | bool) -> None:
    assert outcome([said]) == expected
    assert outcome([said[at : at + 1] for at in range(len(said))]) == expected
    for cut in range(1, len(said)):
        assert outcome([said[:cut], said[cut:]]) == expected


def test_early_data_may_stand_between_the_two_where_it_is_offered() -> None:
    said = hello([*usual(), (42, b"")]) + CHANGE_CIPHER_SPEC + EARLY * 3
    assert outcome([said]) is False
    assert outcome([said + SECOND]) is True
    assert outcome([said + OTHER]) == "tls-second-hello"


def test_who_asked_for_no_name_may_not_ask_for_one_later() -> None:
    nameless = hello(usual(None))
    assert outcome([nameless + nameless]) is True
    assert outcome([nameless + SECOND]) == "tls-second-hello"


@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_bytes_are_judged_alike_however_they_are_cut(rest: bytes, cut: int) -> None:
    said = FIRST + rest
    assert outcome([said]) == outcome([said[:cut], said[cut:]])
    assert outcome([said]) == outcome([said[at : at + 1] for at in range(len(said))])


def test_openssl_takes_the_name_of_the_second(tmp_path: Path) -> None:
    """Why this is looked at; should OpenSSL refuse it one day, others may still not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("server", tmp_path / "server.pem"))
    asked: list[str | None] = []
    context.sni_callback = lambda connection, name, context: asked.append(name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)

    def hello_with(name: bytes, share: Extension) -> bytes:
        return hello([name_extension(name), groups(0x1D), algorithms(0x0403, 0x0804, 0x0401), versions(0x0304), share])

    for said in (
        hello_with(b"allowed.example", key_share()),
        hello_with(b"other.example", key_share((0x1D, b"\x09" + bytes(31)))),
    ):
        incoming.write(said)
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
    assert asked == ["allowed.example", "other.example"]


def test_a_real_client_that_is_asked_again_passes(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("server", tmp_path / "server.pem"))
    context.set_ecdh_curve("secp384r1")  # of which clients send no key unasked
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    sent = ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, sent, server_hostname=NAME)
    follower: TlsSecondHello | None = None
    answers: list[bool] = []
    for _ in range(3):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        said = sent.read()
        if follower is None:
            follower = TlsSecondHello(first_of(said))
            answers.append(follower.feed(b""))
        elif not answers[-1]:
            answers.append(follower.feed(said))
        to_server.write(said)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
    assert answers == [False, True]
    assert client.version() == "TLSv1.3"
