"""Pieces are put together when there may be enough of them."""

import tracemalloc

from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.pieces import Pieces


def test_all_that_has_come_is_returned_each_time_if_nothing_is_known() -> None:
    pieces = Pieces()
    assert [pieces.add(b"ab"), pieces.add(b"c")] == [b"ab", b"abc"]


def test_nothing_is_returned_until_there_is_as_much_as_is_needed() -> None:
    pieces = Pieces()
    pieces.add(b"ab")
    pieces.wait(NeedMore(5))
    assert [pieces.add(b"c"), pieces.add(b"d"), pieces.add(b"ef")] == [None, None, b"abcdef"]


def test_it_can_begin_anew() -> None:
    pieces = Pieces()
    pieces.add(b"ab")
    pieces.wait(NeedMore(9))
    pieces.clear()
    assert pieces.add(b"x") == b"x"


def test_many_small_pieces_take_no_more_room_than_one_large() -> None:
    pieces = Pieces()
    pieces.wait(NeedMore(60_001))
    tracemalloc.start()
    try:
        for _ in range(20_000):
            pieces.add(bytes((1, 2, 3)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 60_000
