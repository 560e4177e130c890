"""Chunked bodies: bounded, linear, the same in whatever pieces, and passed on in plain form without copies."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_lb.wire.http1 import LAST_CHUNK, ChunkedBody, Http1Error, Http1Settings, encode_chunk


def read(*pieces: bytes | memoryview, decode: bool = False) -> tuple[bytes, int, bool] | tuple[str, int]:
    body, out, taken = ChunkedBody(decode=decode), b"", 0
    try:
        for piece in pieces:
            passed, count = body.feed(piece)
            out += b"".join(passed)
            taken += count
    except Http1Error as error:
        return error.reason, error.offset
    return out, taken, body.done


PARTS = st.sampled_from(
    [
        b"5",
        b"0",
        b"a",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello",
        b";",
        b"a=b",
        b'"',
        b" ",
        b"0\r\n\r\n",
        b"X: y\r\n",
        b"5\r\nhello\r\n",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(PARTS, max_size=12).map(b"".join), st.lists(st.integers(0, 60), max_size=5), st.booleans())
def test_cuts_cannot_matter(data: bytes, places: list[int], decode: bool) -> None:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert read(*pieces, decode=decode) == read(data, decode=decode)
    assert read(*(data[at : at + 1] for at in range(len(data))), decode=decode) == read(data, decode=decode)
    assert read(memoryview(data), decode=decode) == read(data, decode=decode)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6))
def test_what_is_encoded_is_read_again_and_passed_on_unchanged(chunks: list[bytes]) -> None:
    data = b"".join(b"".join(encode_chunk(chunk)) for chunk in chunks) + LAST_CHUNK
    assert read(data, decode=True) == (b"".join(chunks), len(data), True)
    assert read(data) == (data, len(data), True)


def test_no_data_make_no_chunk_for_that_would_end_the_body() -> None:
    assert encode_chunk(b"") == ()


def test_the_data_of_a_large_chunk_are_the_very_object_that_came() -> None:
    body = ChunkedBody()
    body.feed(b"100000\r\n")
    data = bytes(65536)
    for _ in range(16):
        (passed,), taken = body.feed(data)
        assert passed is data
        assert taken == 65536
    assert body.feed(b"\r\n0\r\n\r\nrest") == ([b"\r\n", b"0\r\n\r\n"], 7)
    assert body.done


def test_chunks_in_plain_form_are_passed_on_as_one_slice() -> None:
    data = b"5\r\nhello\r\n6\r\n world\r\n" * 100
    (passed,), _ = ChunkedBody().feed(data)
    assert isinstance(passed, memoryview)
    assert passed.obj is data
    assert passed == data


def test_extensions_and_leading_zeros_are_left_out() -> None:
    data = b'05;a="b"\r\nhello\r\n5\r\nworld\r\n0;c\r\n\r\n'
    assert read(data)[0] == b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"


def test_trailers_are_told_and_can_be_dropped() -> None:
    data = b"0\r\nX-Sum:1 \r\nVary: *\r\n\r\n"
    for drop, sent in ((False, data), (True, LAST_CHUNK)):
        body = ChunkedBody(drop_trailers=drop)
        assert b"".join(body.feed(data)[0]) == sent
        assert body.trailers == b"X-Sum:1 \r\nVary: *\r\n"


def test_a_body_that_ends_early_is_refused_as_what_it_is_part_of() -> None:
    for response, status in ((False, 400), (True, 502)):
        body = ChunkedBody(response=response)
        body.feed(b"5\r\nhel")
        with pytest.raises(Http1Error, match="http1-body-truncated at byte 6") as caught:
            body.finish()
        assert caught.value.status == status
    body.feed(b"lo\r\n0\r\n\r\n")
    body.finish()


@pytest.mark.parametrize(
    ("data", "rule", "offset"),
    [
        (b"5;" + b"a" * 2000, "http1-chunk-line-long", 1024),
        (b"0" * 2000 + b"5\r\n", "http1-chunk-line-long", 1024),
        (b"0\r\nX: " + b"a" * 9000, "http1-trailer-long", 3 + 8192),
        (
            b"0\r\n"
            + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
            * 99,
            "http1-trailer-long",
            3 + 8192,
        ),
        (b"0\r\n" + b"X: y\r\n" * 101, "http1-fields", 3 + 600),
        (b"1;%b\r\na\r\n" % (b"a" * 1000) * 20, "http1-chunk-overhead", 16 * 1007),
    ],
)
def test_everything_is_bounded_wherever_it_is_cut(data: bytes, rule: str, offset: int) -> None:
    whole = read(data)
    assert whole == (rule, offset)
    assert read(*(data[at : at + 1] for at in range(len(data)))) == whole
    assert read(*(data[at : at + 700] for at in range(0, len(data), 700))) == whole


def test_a_line_of_just_the_limit_passes() -> None:
    line = b"1;" + b"a" * 1020 + b"\r\n"
    assert len(line) == Http1Settings().max_chunk_line_bytes
    assert read(line + b"a\r\n0\r\n\r\n")[0] == b"1\r\na\r\n0\r\n\r\n"


def test_many_small_chunks_are_no_overhead() -> None:
    data = b"1\r\na\r\n" * 50_000 + LAST_CHUNK
    assert read(data, decode=True) == (b"a" * 50_000, len(data), True)


def test_the_time_is_linear_in_the_length() -> None:
    def seconds(data: bytes, step: int) -> float:
        best = 1e9
        for _ in range(3):
            body, start = ChunkedBody(), time.thread_time()
            for at in range(0, len(data), step):
                body.feed(data[at : at + step])
            best = min(best, time.thread_time() - start)
        return best

    for chunk in (b"1\r\na\r\n", b"1;a=b\r\na\r\n"):
        for step in (1 << 20, 64):
            assert seconds(chunk * 16_000, step) < 5 * 16 * seconds(chunk * 1000, step) + 0.002
