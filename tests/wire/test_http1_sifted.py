"""The lines that decide something; what heads make of them is tested with requests and responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.wire.http1_request import REQUEST_FIELDS
from twisted_lb.wire.http1_response import RESPONSE_FIELDS
from twisted_lb.wire.http1_sifted import Mark, Sifted, sift


def sifted(*lines: bytes, modern: bool = True) -> Sifted | None:
    """What these lines say behind a first line."""
    raw = b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b""))
    return sift(raw, raw.lower(), raw.index(b"\n"), REQUEST_FIELDS, modern)


def test_what_simply_passes_leaves_no_mark() -> None:
    said = sifted(b"Host: x:81", b"Content-Length: 12", b"Accept: */*")
    assert said is not None
    assert (said.host, said.content_length, said.marks) == ((b"x", 81, b"x:81"), 12, [])


@pytest.mark.parametrize("line", [b"Content-Length: 012", b"Content-Length:\t12", b"Content-Length: 12 "])
def test_a_length_in_another_spelling_counts_and_is_written_anew(line: bytes) -> None:
    said = sifted(b"Host: x", line)
    assert said is not None
    assert said.content_length == 12
    assert said.marks == [Mark(b"content-length", 25, 25 + len(line) + 2)]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Host: x", b"Host: x"),
        (b"Host: x y",),
        (b"Content-Length: 1", b"Content-Length: 1"),
        (b"Content-Length: +1",),
        (b"Content-Length: 1234567890123456789",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Expect: something",),
        (b"Expect: 100-continue", b"Expect: 100-continue"),
    ],
)
def test_what_is_said_twice_or_unclearly_is_left_to_the_careful_reading(lines: tuple[bytes, ...]) -> None:
    assert sifted(*lines) is None


def test_http_10_knows_no_chunks_and_expects_nothing() -> None:
    assert sifted(b"Transfer-Encoding: chunked", modern=False) is None
    assert sifted(b"Expect: whatever", modern=False) is not None


def test_several_lines_of_one_list_are_one_list() -> None:
    said = sifted(b"Connection: Upgrade", b"Connection: X-Own", b"Upgrade: A", b"Upgrade: B/1")
    assert said is not None
    assert said.options == {b"upgrade", b"x-own"}
    assert said.upgrade == b"A, B/1", "as it was sent"
    assert [mark.name for mark in said.marks] == [b"connection", b"connection", b"upgrade", b"upgrade"]


def test_another_spelling_of_a_name_is_noted_and_says_nothing() -> None:
    said = sifted(b"Host: x", b"Content_Length: 3", b"Transfer_Encoding: chunked")
    assert said is not None
    assert (said.content_length, said.chunked) == (-1, False)
    assert [(mark.name, mark.alias) for mark in said.marks] == [(b"content-length", True), (b"transfer-encoding", True)]


@given(st.lists(st.sampled_from([b"Host: x", b"Upgrade: a", b"X: y", b"TE: trailers", b"Connection: a"]), max_size=6))
def test_marks_are_whole_lines_in_their_order(lines: list[bytes]) -> None:
    raw = b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))
    said = sift(raw, raw.lower(), raw.index(b"\n"), RESPONSE_FIELDS, True)
    assert said is not None
    wanted = [line for line in lines if line not in (b"Host: x", b"X: y")]
    assert [raw[mark.start : mark.end] for mark in said.marks] == [line + b"\r\n" for line in wanted]
