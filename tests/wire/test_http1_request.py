"""Requests' heads: the quick and the careful reading agree, whatever the bytes and cuts, in linear time."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.http1_corpus.cases import read_request, request_cases
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1 import STRICT, Http1Error, Http1Settings, RequestHead, parse_request
from twisted_lb.wire.http1_explain import explain_request
from twisted_lb.wire.http1_grammar import partial_request_pattern, request_pattern

RELAXED = Http1Settings(accept_invalid=True)
CASES = request_cases()

ALPHABET = st.sampled_from(
    [
        *(
            b"GET",
            b"POST",
            b"CONNECT",
            b"PRI",
            b" ",
            b"/",
            b"*",
            b"#",
            b"http://a",
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"HTTP/2.0",
        ),
        *(
            b"\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"\r",
            b"\n",
            b"\t",
            b":",
            b": ",
            b",",
            b";",
            b"\0",
            b"\xff",
            b"_",
            b"-",
            b"0",
            b"5",
        ),
        *(
            b"Host",
            b"Host: a\r\n",
            b"Host: b\r\n",
            b"Content-Length",
            b"Content-Length: 5\r\n",
            b"Content_Length: 5\r\n",
        ),
        *(b"Transfer-Encoding", b"Transfer-Encoding: chunked\r\n", b"chunked", b"gzip", b"Connection: close\r\n"),
        *(b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"Upgrade: a\r\n", b"Connection: host\r\n"),
        *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Expect: 100-continue\r\n", b"X: y\r\n", b"0\r\n\r\n"),
    ]
)
MESSAGES = st.one_of(
    st.lists(ALPHABET, max_size=12).map(b"".join),
    st.lists(ALPHABET, max_size=8).map(lambda parts: b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(parts) + b"\r\n\r\n"),
    st.lists(ALPHABET, max_size=8).map(lambda parts: b"GET / HTTP/1.0\r\n" + b"".join(parts) + b"\r\n"),
    st.binary(max_size=40),
)


def agreement(data: bytes, how: Http1Settings) -> None:
    """Let both readings judge one head."""
    match = request_pattern(how.max_empty_lines).match(data)
    careful = refused = None
    try:
        careful = explain_request(data, 0, how)
    except Http1Error as error:
        refused = error
    if refused is not None:
        with pytest.raises(Http1Error) as caught:
            parse_request(data, 0, how)
        assert (caught.value.reason, caught.value.offset) == (refused.reason, refused.offset)
        assert 0 <= refused.offset <= len(data)
        return
    answer = parse_request(data, 0, how)  # a disagreement would raise here
    if careful is None:
        assert isinstance(answer, NeedMore)
        return
    assert isinstance(answer, RequestHead)
    assert answer.length == careful.length
    if match is not None and not careful.violations and how.odd_names != "delete":
        assert answer.raw == data[match.start(1) : match.end()]


@pytest.mark.parametrize("how", [STRICT, RELAXED], ids=["strict", "relaxed"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_readings_agree_on_the_corpus(case: object, how: Http1Settings) -> None:
    data = next(one.data for one in CASES if one is case)
    for end in range(len(data) + 1):
        agreement(data[:end], how)


@settings(max_examples=600, deadline=None)
@given(
    MESSAGES, st.sampled_from([STRICT, RELAXED, Http1Settings(odd_names="reject"), Http1Settings(odd_names="delete")])
)
def test_both_readings_agree_on_anything(data: bytes, how: Http1Settings) -> None:
    agreement(data, how)


@settings(max_examples=600, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 200), max_size=5), st.sampled_from([STRICT, RELAXED]))
def test_cuts_cannot_matter_and_nothing_but_an_http_error_escapes(
    data: bytes, places: list[int], how: Http1Settings
) -> None:
    whole = read_request([data], how)
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert read_request(pieces, how) == whole


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_the_quick_look_at_a_part_says_nothing_that_the_careful_one_denies(data: bytes) -> None:
    if partial_request_pattern(STRICT.max_fields, STRICT.max_empty_lines).match(data):
        assert explain_request(data, 0, STRICT) is None


def test_a_head_is_read_from_the_middle_of_what_came() -> None:
    one, two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\nPOST /2 HTTP/1.1\r\nHost: b\r\nVia: x\r\n\r\nbody"
    head = parse_request(one + two, len(one))
    assert isinstance(head, RequestHead)
    assert (head.target, head.host, head.length, head.raw) == (b"/2", b"b", len(two) - 4, two[2:-4])
    (mark,) = head.marks
    assert head.raw[mark.start : mark.end] == b"Via: x\r\n"
    with pytest.raises(Http1Error) as caught:
        parse_request(one + b"GET / HTTP/1.1\r\n\r\n", len(one))
    assert caught.value.offset == 16


# Limits


def field_lines(count: int) -> bytes:
    return b"".join(b"X%d: y\r\n" % number for number in range(count))


def test_fields_are_counted() -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\n"
    assert isinstance(parse_request(start + field_lines(99) + b"\r\n"), RequestHead)
    for data in (start + field_lines(100) + b"\r\n", start + field_lines(100)):
        with pytest.raises(Http1Error, match="http1-fields") as caught:
            parse_request(data)
        assert (caught.value.status, caught.value.offset) == (431, len(start + field_lines(99)))
    assert isinstance(parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, Http1Settings(max_fields=1)), RequestHead)


def test_a_head_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    fill = 16384 - len(start) - 4
    assert isinstance(parse_request(b"\r\n" + start + b"x" * fill + b"\r\n\r\n"), RequestHead)
    longer = start + b"x" * (fill + 1) + b"\r\n\r\n"
    for end in (len(longer), 16384):
        with pytest.raises(Http1Error, match="http1-head-long") as caught:
            parse_request(longer[:end])
        assert (caught.value.status, caught.value.offset) == (431, 16384)
    assert isinstance(parse_request(longer[:16383]), NeedMore)


def test_a_request_line_without_end_is_refused_with_414() -> None:
    for data in (b"GET /" + b"x" * 16379, b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
        with pytest.raises(Http1Error, match="http1-target-long") as caught:
            parse_request(data)
        assert (caught.value.status, caught.value.offset) == (414, 16384)


def test_more_empty_lines_can_be_allowed() -> None:
    data = b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    head = parse_request(data, 0, Http1Settings(max_empty_lines=3))
    assert isinstance(head, RequestHead)
    assert head.length == len(data)
    with pytest.raises(Http1Error, match="http1-empty-lines"):
        parse_request(data[4:], 0, Http1Settings(max_empty_lines=0))


# What can be relaxed


@pytest.mark.parametrize(
    ("data", "rule", "raw"),
    [
        (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", "http1-target-bytes", b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", "http1-target-bytes", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "http1-version", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n", "http1-field-name", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nxyz\r\n\r\n", "http1-field-name", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n", "http1-field-name", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            b"GET / HTTP/1.1\r\nX : y\r\nHost: a\r\n\r\n",
            "http1-space-before-colon",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
            "http1-field-value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y z\r\n\r\n",
        ),
        (
            b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "http1-target-userinfo",
            b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "http1-host-mismatch",
            b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ),
    ],
)
def test_what_is_relaxed_passes_cleaned_and_is_told(data: bytes, rule: str, raw: bytes) -> None:
    with pytest.raises(Http1Error, match=rule):
        parse_request(data)
    head = parse_request(data, 0, RELAXED)
    assert isinstance(head, RequestHead)
    assert (head.raw, head.length, [name for name, _ in head.violations]) == (raw, len(data), [rule])
    assert head.host == b"a"


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"Content-Length : 5",
            b"Transfer-Encoding\t: chunked",
            b"Content\0-Length: 5",
            b"Host : b",
            b"Content Length: 5",
        ),
        *(
            b"Content-Length: 5\0",
            b"Content-Length: 5, 5",
            b"Transfer-Encoding: chunked\0",
            b"Content_Length : 5",
            b" X: y",
        ),
        *(
            b"X: a\rb",
            b"X: a\nb",
            b"X(: a\nb",
            b"Host: a",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: \0chunked",
        ),
        *(b"Connection: Content-Length", b"\xffTransfer-Encoding: chunked", b"Connection : close"),
    ],
)
def test_framing_and_host_are_never_relaxed(line: bytes) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % line
    assert read_request([data]).refused is not None
    outcome = read_request([data], RELAXED)
    assert outcome.refused is not None or (outcome.head is not None and b"Content-Length: 5" in outcome.head.raw)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_what_relaxing_lets_through_would_pass_strictly_but_for_its_target(data: bytes) -> None:
    outcome = read_request([data], RELAXED)
    if (
        outcome.head is not None
        and b"#" not in outcome.head.raw
        and not any(
            rule in ("http1-host-mismatch", "http1-target-userinfo", "http1-websocket-key", "http1-target-bytes")
            for rule, _ in outcome.head.violations
        )
    ):
        assert isinstance(parse_request(outcome.head.raw), RequestHead)


def test_a_body_with_any_method_is_its_own_relaxation() -> None:
    data = b"GET / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"
    assert read_request([data]).refused == ("http1-body-in-http10", 413, 16)
    assert read_request([data], RELAXED).refused == ("http1-body-in-http10", 413, 16)
    assert read_request([data], Http1Settings(body_with_any_method=True)).body == b"hi"


def test_odd_names_can_be_refused_or_left_out() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: z\r\nA: b\r\n\r\n"
    assert read_request([data]).refused is None
    assert read_request([data], Http1Settings(odd_names="reject")).refused == ("http1-field-name-odd", 403, 25)
    head = read_request([data], Http1Settings(odd_names="delete")).head
    assert head is not None
    assert list(head.headers.items()) == [(b"Host", b"a"), (b"A", b"b")]


# Time


def seconds(work: Callable[[], object]) -> float:
    best = 1e9
    for _ in range(5):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


LIMITLESS = Http1Settings(max_head_bytes=1 << 30, max_fields=1 << 20)


def try_to_read(data: bytes, how: Http1Settings) -> None:
    with suppress(Http1Error):
        parse_request(data, 0, how)


@pytest.mark.parametrize(
    "grow",
    [
        lambda size: b"A" * size,
        lambda size: b"GET /" + b"a" * size,
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX:" + b" " * size + b"\0",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X" * size + b" : y\r\n\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX" + b" " * size + b"y\r\n\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (size // 6) + b"\0",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"Via: y\r\n" * (size // 8) + b"\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"content-lengt: y\r\n" * (size // 18) + b"\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + b"a," * (size // 2) + b"\r\n\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + b"a," * (size // 2) + b"\r\n\r\n",
        lambda size: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"0" * size + b"5\r\n\r\n",
        lambda size: b"GET http://" + b"a" * size + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: \0\r\n" * (size // 6) + b"\r\n",
    ],
)
@pytest.mark.parametrize(
    "how", [LIMITLESS, Http1Settings(max_head_bytes=1 << 30, max_fields=1 << 20, accept_invalid=True)]
)
def test_the_time_is_linear_in_the_length(grow: Callable[[int], bytes], how: Http1Settings) -> None:
    small, large = grow(1 << 13), grow(1 << 17)
    once = seconds(lambda: try_to_read(small, how))
    longer = seconds(lambda: try_to_read(large, how))
    assert longer < 5 * 16 * once + 0.002, "16 times the length takes 256 times as long where it is quadratic"
