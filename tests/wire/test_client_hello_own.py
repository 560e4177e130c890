"""What is a connection's own in a ClientHello; and a program that was met before is read as if it was not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.hellos import behind, hello, key_share, name_extension, python_hello, replaced, usual
from twisted_lb.errors import WireError
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire import client_hello
from twisted_lb.wire.client_hello import NAMES_OF_A_SHAPE, ClientHello, read_client_hello
from twisted_lb.wire.client_hello_own import own_bytes
from twisted_lb.wire.hello_shapes import Shapes

TICKET = 35, b"ticket"
RESUMED = 41, behind(2, behind(2, b"identity") + b"aged") + behind(2, behind(1, bytes(32)))
ENCRYPTED = 0xFE0D, b"\0suite" + behind(2, b"enc") + behind(2, b"payload")
SHARES = replaced(51, key_share((0x1D, b"a" * 32), (0x17, b"b" * 65)))
EXAMPLES = {
    "usual": hello(),
    "nameless": hello(usual(None)),
    "session-id": hello(session_id=bytes(32)),
    "two-shares": hello(SHARES, session_id=b"s" * 32),
    "resumed": hello([*usual(), TICKET, ENCRYPTED, RESUMED]),
    "python": python_hello(),
    "bare": hello(b"", version=0x0301),
}


def outcome(data: bytes) -> ClientHello | NeedMore | tuple[str, int]:
    try:
        return read_client_hello(data)
    except WireError as error:
        return error.reason, error.offset


def read_anew(data: bytes, monkeypatch: pytest.MonkeyPatch) -> ClientHello | NeedMore | tuple[str, int]:
    """The outcome for who has met nobody."""
    with monkeypatch.context() as patch:
        patch.setattr(client_hello, "_shapes", Shapes())
        return outcome(data)


def meet(data: bytes) -> None:
    """Make sure that the program is known."""
    for _ in range(2):
        assert isinstance(read_client_hello(data), ClientHello)
    key = data[:9] + data[76:124]
    assert client_hello._shapes.find(key, data) is not None


def test_random_session_id_shares_tickets_and_the_name_are_a_connections_own() -> None:
    data = hello([name_extension(b"name"), *SHARES[1:], TICKET, ENCRYPTED, RESUMED], session_id=b"session")
    own, name = own_bytes(data)
    found = [data[start:end] for start, end in own]
    assert found == [
        bytes(range(32)),
        b"session",
        b"name",
        b"a" * 32,
        b"b" * 65,
        b"ticket",
        b"suite",
        b"enc",
        b"payload",
        behind(2, b"identity") + b"aged",
        behind(1, bytes(32)),
    ]
    assert own == sorted(own)
    assert data[slice(*name)] == b"name"


def test_where_there_is_no_name_there_is_none_of_it() -> None:
    own, name = own_bytes(hello(usual(None)))
    assert name == (0, 0)
    assert name not in own


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_who_was_met_is_judged_as_if_it_was_not_whatever_byte_is_another(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(data)
    assert outcome(data) == read_anew(data, monkeypatch)
    assert outcome(data + b"more") == read_anew(data + b"more", monkeypatch)
    for place in range(len(data)):
        assert outcome(data[:place]) == read_anew(data[:place], monkeypatch)
        for byte in (0, 1, 0xFF, data[place] ^ 1, data[place] ^ 0x20):
            changed = data[:place] + bytes((byte,)) + data[place + 1 :]
            assert outcome(changed) == read_anew(changed, monkeypatch)
            assert outcome(changed) == read_anew(changed, monkeypatch)  # as far as it is remembered, too


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.sampled_from(list(EXAMPLES.values())), st.integers(1, 9))
def test_many_bytes_may_be_others(chance: random.Random, data: bytes, changes: int) -> None:
    meet(data)
    changed = bytearray(data)
    for _ in range(changes):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    with pytest.MonkeyPatch.context() as patch:
        assert outcome(bytes(changed)) == read_anew(bytes(changed), patch)


def test_names_of_a_program_are_told_apart_and_not_all_remembered() -> None:
    names = [b"%04d.example" % number for number in range(NAMES_OF_A_SHAPE + 9)]
    for name in names * 2:
        found = read_client_hello(hello(usual(name)))
        assert isinstance(found, ClientHello)
        assert found.server_name == name.decode()
    data = hello(usual(names[0]))
    alike = client_hello._shapes.find(data[:9] + data[76:124], data)
    assert alike is not None
    assert len(alike.hellos) <= NAMES_OF_A_SHAPE


def test_programs_that_differ_in_what_tells_nothing_apart_are_both_read_right() -> None:
    one, other = (hello([*usual(), (16, behind(2, behind(1, name)))]) for name in (b"h2", b"h3"))
    for data in (one, other, one, one, other, other, one):
        found = read_client_hello(data)
        assert isinstance(found, ClientHello)
        assert found.protocols == ((b"h2",) if data is one else (b"h3",))
