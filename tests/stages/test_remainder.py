"""The rest of a request that nobody waits for, without a session; with one it is in ``tests/http_sessions``."""

import pytest

from twisted_lb.stages.lingering import MOST_S
from twisted_lb.stages.remainder import Remainder
from twisted_lb.wire.http1 import ChunkedBody, Http1Error, LengthBody

NEXT = b"GET / HTTP/1.1\r\n"
CHUNKS = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_what_follows_a_rest_of_known_length_is_found_wherever_it_is_cut(size: int) -> None:
    rest = Remainder(LengthBody(7), 0.0, None)
    data = b"0123456" + NEXT
    follows = None
    while follows is None:
        piece, data = data[:size], data[size:]
        follows = rest.take(piece)
    assert follows + data == NEXT


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_what_follows_chunks_is_found_wherever_they_are_cut(size: int) -> None:
    rest = Remainder(ChunkedBody(), 0.0, None)
    data = CHUNKS + NEXT
    follows = None
    while follows is None:
        piece, data = data[:size], data[size:]
        follows = rest.take(piece)
    assert follows + data == NEXT
    assert rest.taken == len(CHUNKS)


def test_chunks_that_break_a_rule_have_no_end() -> None:
    rest = Remainder(ChunkedBody(), 0.0, None)
    assert rest.take(b"3\r\nab") is None
    with pytest.raises(Http1Error, match="http1-chunk-end"):
        rest.take(b"cGET / HTTP/1.1\r\n")


@pytest.mark.parametrize(("patience_s", "in_all_s"), [(None, MOST_S), (1e9, MOST_S), (3.0, 3.0)])
def test_the_time_is_one_for_all_of_it(patience_s: float | None, in_all_s: float) -> None:
    rest = Remainder(LengthBody(1000), 5.0, patience_s)
    rest.take(b"x")
    assert rest.again_in(6.0) == pytest.approx(in_all_s - 1)
    assert rest.again_in(5.0 + in_all_s) is None
