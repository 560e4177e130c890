"""Lines are read one by one, up to the byte that is wrong or lacks."""

import pytest

from twisted_lb.wire.http1 import Http1Error
from twisted_lb.wire.http1_lines import LineReader, OutOfBytesError


def test_fields_come_with_their_offsets() -> None:
    fields, end = LineReader(b"A: b\r\nC:\t d \r\n\r\nrest").fields(0, 10)
    assert fields == [(b"A", b"b", 0), (b"C", b"d", 6)]
    assert end == 16


def test_what_lacks_is_told_from_what_is_wrong() -> None:
    whole = b"A: b\r\n\r\n"
    for end in range(len(whole)):
        with pytest.raises(OutOfBytesError):
            LineReader(whole[:end]).fields(0, 10)
    with pytest.raises(Http1Error, match="http1-line-end at byte 4"):
        LineReader(b"A: b\n").fields(0, 10)


def test_what_is_relaxed_is_noted_and_left_out() -> None:
    relaxed: list[tuple[str, int]] = []
    fields, _ = LineReader(b"A B: c\r\nD: e\0f\r\n\r\n", relaxed).fields(0, 10)  # type: ignore[arg-type]
    assert fields == [(b"D", b"e f", 8)]
    assert relaxed == [("http1-field-name", 1), ("http1-field-value", 12)]
