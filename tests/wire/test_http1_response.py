"""Responses' heads: the quick and the careful reading agree, whatever the bytes, the cuts and the request."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.http1_corpus.cases import ASKED, asked, read_response, response_cases
from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1 import STRICT, Http1Error, Http1Settings, ResponseHead, parse_response
from twisted_lb.wire.http1_explain_response import explain_response
from twisted_lb.wire.http1_grammar import partial_response_pattern

RELAXED = Http1Settings(accept_invalid=True)
CASES = response_cases()
PARTS = st.sampled_from(
    [
        *(
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 204\r\n",
            b"HTTP/1.1 101 x\r\n",
            b"HTTP/1.1 304 x\r\n",
            b"HTTP/1.1 ",
            b"999 ",
        ),
        *(
            b"\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b" ",
            b":",
            b"\0",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ),
        *(
            b"Connection: upgrade\r\n",
            b"Upgrade: websocket\r\n",
            b"Upgrade: foo\r\n",
            b"X: y\r\n",
            b"hello",
            b"0\r\n\r\n",
        ),
        *(
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
            b"Connection: close\r\n",
            b"X y: z\r\n",
            b"content_length: 3\r\n",
        ),
    ]
)
MESSAGES = st.one_of(
    st.lists(PARTS, max_size=10).map(b"".join),
    st.lists(PARTS, max_size=6).map(lambda parts: b"HTTP/1.1 200 OK\r\n" + b"".join(parts) + b"\r\n\r\n"),
    st.lists(PARTS, max_size=6).map(lambda parts: b"HTTP/1.1 101 x\r\n" + b"".join(parts) + b"\r\n"),
)
REQUESTS = {name: asked(name) for name in ASKED}


@settings(max_examples=600, deadline=None)
@given(MESSAGES, st.sampled_from(sorted(ASKED)), st.sampled_from([STRICT, RELAXED]))
def test_both_readings_agree_on_anything(data: bytes, name: str, how: Http1Settings) -> None:
    careful: object = None
    try:
        careful = explain_response(data, 0, REQUESTS[name], how)
    except Http1Error as error:
        careful = (error.reason, error.offset, 502)
    try:
        answer: object = parse_response(data, REQUESTS[name], 0, how)
    except Http1Error as error:
        answer = (error.reason, error.offset, error.status)
    if isinstance(careful, tuple) and isinstance(answer, tuple):
        assert answer == careful
    else:
        assert isinstance(answer, NeedMore if careful is None else ResponseHead)


@settings(max_examples=600, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 200), max_size=5), st.sampled_from(sorted(ASKED)))
def test_cuts_cannot_matter(data: bytes, places: list[int], name: str) -> None:
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    whole = read_response([data], REQUESTS[name])
    again = read_response(pieces, REQUESTS[name])
    if whole.head is None or whole.head.framing is not whole.head.framing.UNTIL_CLOSE:
        assert again == whole
    else:
        assert again.body == whole.body


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_the_quick_look_at_a_part_says_nothing_that_the_careful_one_denies(data: bytes) -> None:
    if partial_response_pattern(STRICT.max_fields).match(data):
        assert explain_response(data, 0, REQUESTS["get"], STRICT) is None


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        *(("line-600", "http1-status"), ("line-12", "http1-version"), ("field-nul", "http1-field-value")),
        *(("field-name", "http1-field-name"), ("ws-101-wrong-accept", "http1-websocket-accept")),
    ],
)
def test_what_is_relaxed_passes_and_is_told(name: str, rule: str) -> None:
    case = next(case for case in CASES if case.name == name)
    outcome = read_response([case.data], REQUESTS[case.asked], RELAXED)
    assert outcome.head is not None
    assert [violated for violated, _ in outcome.head.violations] == [rule]


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name.startswith(("cl-", "te-", "chunk-", "field-cl"))],
    ids=lambda case: case.name,
)
def test_framing_is_never_relaxed(case: object) -> None:
    one = next(one for one in CASES if one is case)
    assert read_response([one.data], REQUESTS[one.asked], RELAXED) == read_response([one.data], REQUESTS[one.asked])


def test_heads_are_limited() -> None:
    start = b"HTTP/1.1 200 OK\r\nX: "
    fits = start + b"x" * (16384 - len(start) - 4) + b"\r\n\r\n"
    assert isinstance(parse_response(fits, REQUESTS["get"]), ResponseHead)
    for data in (start + b"x" * 16384, fits[:-4] + b"x\r\n\r\n"):
        with pytest.raises(Http1Error, match="http1-head-long at byte 16384"):
            parse_response(data, REQUESTS["get"])
    with pytest.raises(Http1Error, match="http1-fields"):
        parse_response(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", REQUESTS["get"])
