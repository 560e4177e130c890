"""Lines are the same however the stream is cut, and none grows without bound."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_lb.errors import WireError
from twisted_lb.wire.lines import LineSplitter

TEXT = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b"a", b"bc", b"de fgh"]), max_size=20).map(b"".join)


def told(pieces: list[bytes], max_bytes: int = 16, *, lenient: bool = False) -> list[object]:
    """Every line that comes of the pieces, and in the end the error or what is left over."""
    lines = LineSplitter("test", max_bytes, lenient=lenient)
    heard: list[object] = []
    try:
        for piece in pieces:
            at = 0
            while at < len(piece):
                line, at = lines.take(piece, at)
                if line is not None:
                    heard.append(line)
        return [*heard, ("begun", lines.begun)]
    except WireError as error:
        return [*heard, (error.reason, error.offset)]


def test_lines_come_without_their_ends_and_what_follows_stays() -> None:
    lines = LineSplitter("test", 16)
    assert lines.take(b"one\r\ntwo\r\nth") == (b"one", 5)
    assert lines.take(b"one\r\ntwo\r\nth", 5) == (b"two", 10)
    assert lines.take(b"one\r\ntwo\r\nth", 10) == (None, 12)
    assert lines.begun == b"th"
    assert lines.take(b"ree\r\n") == (b"three", 5)
    assert lines.begun == b""


def test_a_line_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert told([b"a" * 14 + b"\r\n"]) == [b"a" * 14, ("begun", b"")]
    assert told([b"a" * 15 + b"\r\n"]) == [("test-line-long", 16)]


def test_a_line_without_end_is_refused_as_soon_as_it_cannot_fit() -> None:
    lines = LineSplitter("test", 16)
    assert lines.take(b"a" * 15) == (None, 15)
    with pytest.raises(WireError, match="test-line-long"):
        lines.take(b"a")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"one\n", ("test-line-end", 3)),
        (b"o\rne\r\n", ("test-line-end", 1)),
        (b"one\r\r\n", ("test-line-end", 3)),
        (b"on\0\r\n", ("test-line-nul", 2)),
    ],
)
def test_what_programs_read_in_different_ways_is_refused(line: bytes, error: tuple[str, int]) -> None:
    assert told([line]) == [error]


def test_a_lenient_one_takes_a_line_feed_alone_and_nothing_else() -> None:
    assert told([b"one\ntwo\r\n"], lenient=True) == [b"one", b"two", ("begun", b"")]
    assert told([b"o\rne\n"], lenient=True) == [("test-line-end", 1)]
    assert told([b"on\0\n"], lenient=True) == [("test-line-nul", 2)]


@given(TEXT, st.integers(0, 60), st.booleans())
@example(b"one\r\ntwo\r\n", 4, False)
def test_every_cut_leads_to_the_same_lines(text: bytes, cut: int, lenient: bool) -> None:
    whole = told([text], lenient=lenient)
    assert told([text[:cut], text[cut:]], lenient=lenient) == whole
    assert told([text[at : at + 1] for at in range(len(text))], lenient=lenient) == whole
