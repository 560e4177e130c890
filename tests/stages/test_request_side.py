"""A request's body on its way to the server, without a session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.test_http_exchange import CHUNKED, GET, begun, cut
from twisted_lb.stages.request_side import LITTLE, joined


@given(st.lists(st.integers(0, 200), max_size=6))
def test_a_chunked_request_cut_anywhere_is_the_same(at: list[int]) -> None:
    body = b"3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    exchange, owner, server = begun(CHUNKED)
    rest = b""
    for piece in cut(body + GET, at):
        rest = rest + piece if exchange.request_done else exchange.request_data(piece)
    assert server.sent == CHUNKED + b"3\r\nabc\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert rest == GET, "what follows stays the owner's"
    assert owner.told == []
    assert exchange.bytes_in == len(CHUNKED) + len(body)


def test_a_body_that_is_too_long_stays_the_owner_s() -> None:
    exchange, _, server = begun(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
    assert exchange.request_data(b"ab") == b""
    assert exchange.request_data(b"c" + GET) == GET
    assert exchange.request_done
    assert server.sent.endswith(b"\r\n\r\nabc")


def test_the_client_is_held_back_while_the_server_takes_nothing_and_only_for_its_body() -> None:
    exchange, owner, _ = begun(CHUNKED)
    exchange.server_full()
    assert exchange.took_until(5.0) == 1.0
    exchange.server_drained()
    assert owner.told == ["pause", "resume"]
    exchange.request_data(b"0\r\n\r\n")
    exchange.server_full()
    exchange.server_drained()
    assert owner.told == ["pause", "resume"]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NO = OK.replace(b"200 OK", b"413 No")
LAST = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def of_length(size: int, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (more, size)


@pytest.mark.parametrize(
    ("request_", "response", "worth"),
    [
        (of_length(LITTLE), NO, True),
        (of_length(LITTLE), LAST, True),
        (of_length(LITTLE + 2) + b"x", NO, False),
        (of_length(LITTLE + 2) + b"xy", NO, True),
        (of_length(LITTLE + 1), OK, True),
        (of_length(LITTLE + 1), LAST, False),
        (CHUNKED, OK, True),
        (CHUNKED, NO, False),
        (CHUNKED, LAST, False),
        (of_length(3, b"Expect: 100-continue\r\n"), OK, False),
        (of_length(3, b"Expect: 100-continue\r\n") + b"a", OK, True),
    ],
)
def test_the_rest_of_a_request_is_worth_sending_if_it_is_short_or_wanted(
    request_: bytes, response: bytes, worth: bool
) -> None:
    exchange, _, _ = begun(request_)
    exchange.response_data(response)
    assert not exchange.request_done
    assert exchange.worth_ending is worth


def test_what_is_left_of_a_request_begins_where_it_was_left() -> None:
    exchange, _, _ = begun(of_length(5) + b"ab")
    assert exchange.remainder(None).take(b"cde" + GET) == GET
    exchange, _, _ = begun(CHUNKED + b"5\r\nab")
    assert exchange.remainder(None).take(b"cde\r\n0\r\n\r\n" + GET) == GET


@pytest.mark.parametrize("pieces", [[b"ab"], [memoryview(b"ab")], [b"a", memoryview(b"b")]])
def test_pieces_are_joined_whatever_they_are(pieces: list[bytes | memoryview]) -> None:
    assert joined(pieces) == b"ab"
