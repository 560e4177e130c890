"""Plain heads are read as the others are, and pass as these would be put together, whatever the bytes."""

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.http1_corpus.cases import Case, request_cases, response_cases
from twisted_lb.wire.http1 import (
    Edit,
    ForwardPlan,
    ForwardSettings,
    Http1Error,
    Http1Settings,
    RequestHead,
    ResponseHead,
    Speaking,
    parse_request,
    parse_response,
)
from twisted_lb.wire.http1_grammar import request_pattern, response_pattern
from twisted_lb.wire.http1_plain import PLAIN_REQUEST, PLAIN_RESPONSE
from twisted_lb.wire.http1_request import _read as read_request
from twisted_lb.wire.http1_response import _read as read_response
from twisted_lb.wire.http1_settings import STRICT

SPEAKING = Speaking(x_forwarded_for="append", x_forwarded_host="set", x_forwarded_proto="remove", forwarded="append")
PLANS = [
    ForwardPlan(settings).connection(b"192.0.2.1", 80)
    for settings in (
        ForwardSettings(),
        ForwardSettings(speaking=SPEAKING, via=b"us"),
        ForwardSettings(close_server=True, request_edits=[Edit("add", b"A", b"b")]),
        ForwardSettings(request_edits=[Edit("remove", b"x")], response_edits=[Edit("set", b"X", b"y")]),
    )
]
NAMES = st.sampled_from(
    [
        *("Host", "Content-Length", "Connection", "Keep-Alive", "TE", "Te2", "Upgrade", "Upgrade-Insecure-Requests"),
        *("Transfer-Encoding", "Expect", "Via", "Forwarded", "X-Forwarded-For", "x_forwarded_for", "X-Forwarded"),
        *("Authorization", "Proxy-Authorization", "Content_Length", "Content-Type", "Accept", "A", "Hos", "Hosts"),
        *("Proxy-Connection", "HTTP2-Settings", "Sec-WebSocket-Key", "Sec-WebSocket-Accept", "Cookie"),
    ]
)
VALUES = st.sampled_from(
    [
        *("", "1", "0", "01", "keep-alive", "Keep-Alive", "close", "a", "a.example:80", "a:99999", ".", "a..", "[::1]"),
        *("chunked", "Basic x", "NTLM", "negotiate abc", "x, y", "\t", " a ", "\xe9", "100-continue", "9" * 16),
    ]
)
LINES = st.lists(
    st.tuples(NAMES, st.booleans(), st.sampled_from([":", ": ", ":  ", " :"]), VALUES).map(
        lambda line: f"{line[0].swapcase() if line[1] else line[0]}{line[2]}{line[3]}\r\n".encode("latin-1")
    ),
    max_size=6,
).map(b"".join)


def check_request(data: bytes) -> None:
    try:
        head = parse_request(data)
    except Http1Error:
        return
    if not isinstance(head, RequestHead) or not head.plain:
        return
    match = request_pattern(0).match(data)
    assert match is not None
    other = read_request(head.raw, match, 0, head.length, STRICT)
    assert other is not None, "what passes as plain is refused otherwise"
    assert meaning(head) == meaning(other)
    for plan in PLANS:
        for expect in (True, False):
            assert plan.request_upstream(head, expect=expect) == plan.request_upstream(other, expect=expect)


def check_response(data: bytes, request: RequestHead) -> None:
    try:
        head = parse_response(data, request)
    except Http1Error:
        return
    if not isinstance(head, ResponseHead) or not head.plain:
        return
    match = response_pattern().match(data)
    assert match is not None
    other = read_response(head.raw, match, 0, head.length, request)
    assert other is not None, "what passes as plain is refused otherwise"
    assert meaning(head) == meaning(other)
    for plan in PLANS:
        for keep_alive in (True, False):
            ours = plan.response_downstream(head, request, keep_alive=keep_alive)
            assert ours == plan.response_downstream(other, request, keep_alive=keep_alive)


def meaning(head: RequestHead | ResponseHead) -> dict[str, object]:
    """All that matters of a head, however it was read."""
    fields = {name: value for name, value in msgspec.structs.asdict(head).items() if name not in ("plain", "_headers")}
    return fields | {"_folded": head.folded, "headers": list(head.headers.items())}


@pytest.mark.parametrize("case", request_cases(), ids=lambda case: case.name)
def test_requests_of_the_corpus_are_read_alike(case: Case) -> None:
    check_request(case.data)


@pytest.mark.parametrize("case", response_cases(), ids=lambda case: case.name)
def test_responses_of_the_corpus_are_read_alike(case: Case) -> None:
    for method in (b"GET", b"HEAD", b"POST"):
        check_response(case.data, parsed(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method))


@given(st.sampled_from([b"GET /", b"POST /a?b", b"CONNECT a:1", b"PRI *", b"get /", b"OPTIONS *", b"GET //x"]), LINES)
@example(b"GET /", b"host: a\r\nconnection: keep-alive\r\n")
def test_requests_are_read_alike(first: bytes, lines: bytes) -> None:
    for version in (b"1.1", b"1.0"):
        check_request(b"%b HTTP/%b\r\n%b\r\n" % (first, version, lines))
        check_request(b"%b HTTP/%b\r\nHost: a\r\n%b\r\n" % (first, version, lines))


@given(st.sampled_from([b"200 OK", b"204 No", b"304 N", b"404 ", b"500", b"101 S", b"599 x"]), LINES)
def test_responses_are_read_alike(first: bytes, lines: bytes) -> None:
    for request in REQUESTS:
        check_response(b"HTTP/1.1 %b\r\n%b\r\n" % (first, lines), request)
        check_response(b"HTTP/1.1 %b\r\nContent-Length: 3\r\n%b\r\nabc" % (first, lines), request)


def parsed(data: bytes) -> RequestHead:
    head = parse_request(data)
    assert isinstance(head, RequestHead)
    return head


REQUESTS = [
    parsed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    parsed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
    parsed(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    parsed(b"GET / HTTP/1.0\r\n\r\n"),
]


def test_the_usual_messages_are_plain() -> None:
    browsers = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nTE2: x\r\n\r\n"
    assert parsed(browsers).plain
    assert parsed(browsers.replace(b"TE2: x", b"Authorization: Basic eDp5")).plain
    response = parse_response(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\nServer: y\r\n\r\n", REQUESTS[0])
    assert isinstance(response, ResponseHead)
    assert response.plain


@pytest.mark.parametrize("scheme", [b"NTLM abc", b"negotiate abc", b"\tNegotiate x"])
def test_what_logs_a_connection_in_is_not_plain(scheme: bytes) -> None:
    assert not parsed(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization:%b\r\n\r\n" % scheme).plain


def test_limits_hold_for_plain_heads_too() -> None:
    few = Http1Settings(max_fields=3)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"A%d: b\r\n" % number for number in range(3)) + b"\r\n"
    assert parsed(request).plain
    with pytest.raises(Http1Error, match="http1-fields"):
        parse_request(request, settings=few)
    with pytest.raises(Http1Error, match="http1-head-long"):
        parse_request(request, settings=Http1Settings(max_head_bytes=len(request) - 1))
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(3)) + b"\r\n"
    with pytest.raises(Http1Error, match="http1-fields"):
        parse_response(response, REQUESTS[0], settings=few)


@pytest.mark.parametrize("pattern", [PLAIN_REQUEST, PLAIN_RESPONSE])
def test_the_patterns_never_try_anything_twice(pattern: re.Pattern[bytes]) -> None:
    """Every repetition is possessive: none of these grows faster than what it is given."""
    text = pattern.pattern
    inside = False
    for place, byte in enumerate(text):
        escaped = place > 0 and text[place - 1] == 0x5C
        if byte == 0x5B and not escaped:
            inside = True
        elif byte == 0x5D and not escaped:
            inside = False
        elif byte in b"*+" and not inside and not escaped and text[place - 1] not in b"*+?}":
            assert text[place + 1] == 0x2B, text[max(0, place - 20) : place + 2]
