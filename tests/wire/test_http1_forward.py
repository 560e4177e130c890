"""What goes on is one clear message: no field of one connection, one Host, one framing, and our word for the client."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.wire.http1_corpus.cases import asked, request_cases, response_cases
from twisted_lb.wire.http1 import (
    STRICT,
    Edit,
    Forwarder,
    ForwardPlan,
    ForwardSettings,
    Framing,
    Http1Error,
    Http1Settings,
    RequestHead,
    ResponseHead,
    Speaking,
    downstream_framing,
    parse_request,
    parse_response,
)

PLAIN = ForwardSettings()
SPEAKING = Speaking(
    x_forwarded_for="append",
    x_forwarded_proto="set",
    x_forwarded_host="set",
    x_forwarded_port="set",
    forwarded="append",
)
FULL = ForwardSettings(
    speaking=SPEAKING,
    via=b"lb",
    request_edits=[Edit("set", b"X-Set", b"1"), Edit("add", b"X-Add", b"2"), Edit("remove", b"X-Gone")],
    response_edits=[Edit("remove", b"Server"), Edit("set", b"X-Frame-Options", b"DENY")],
)
EVERYTHING = "X-Forwarded-For: 192.0.2.1↵X-Forwarded-Proto: http↵X-Forwarded-Port: 80↵"


def forwarder(settings: ForwardSettings = PLAIN, **more: Any) -> Forwarder:
    return ForwardPlan(settings).connection(b"192.0.2.1", 80, **more)


def request(text: str, settings: Http1Settings = STRICT) -> RequestHead:
    head = parse_request(text.replace("↵", "\r\n").encode("latin-1") + b"\r\n", 0, settings)
    assert isinstance(head, RequestHead)
    return head


def response(text: str, to: RequestHead) -> ResponseHead:
    head = parse_response(text.replace("↵", "\r\n").encode("latin-1") + b"\r\n", to)
    assert isinstance(head, ResponseHead)
    return head


def shown(data: bytes) -> str:
    assert data.endswith(b"\r\n\r\n")
    return data[:-2].decode("latin-1").replace("\r\n", "↵")


@pytest.mark.parametrize(
    ("came", "went"),
    [
        ("GET / HTTP/1.1↵Host: a↵Accept: */*↵", "GET / HTTP/1.1↵Host: a↵Accept: */*↵"),
        ("GET / HTTP/1.1↵Host: a↵Connection: keep-alive↵X: y↵", "GET / HTTP/1.1↵Host: a↵X: y↵"),
        ("GET / HTTP/1.1↵Host: a↵Keep-Alive: 3↵Proxy-Connection: x↵", "GET / HTTP/1.1↵Host: a↵"),
        ("GET / HTTP/1.1↵Host: a↵Connection: close, X, y↵X: 1↵Y: 2↵Z: 3↵", "GET / HTTP/1.1↵Host: a↵Z: 3↵"),
        ("GET / HTTP/1.1↵Host: a↵Connection: Cookie, Authorization↵Cookie: b↵", "GET / HTTP/1.1↵Host: a↵Cookie: b↵"),
        ("GET / HTTP/1.1↵Host: a↵TE: gzip;q=0.5, trailers↵", "GET / HTTP/1.1↵Host: a↵"),
        (
            "GET / HTTP/1.1↵Host: a↵Connection: TE↵TE: gzip, trailers;q=1↵",
            "GET / HTTP/1.1↵Host: a↵Connection: TE↵TE: trailers↵",
        ),
        ("GET / HTTP/1.1↵Host: a↵Connection: TE↵TE: gzip↵", "GET / HTTP/1.1↵Host: a↵"),
        ("GET / HTTP/1.1↵Host: a↵Upgrade: foo↵", "GET / HTTP/1.1↵Host: a↵"),
        (
            "GET / HTTP/1.1↵Host: a↵Connection: upgrade, HTTP2-Settings↵Upgrade: h2c, foo↵HTTP2-Settings: A↵",
            "GET / HTTP/1.1↵Host: a↵Connection: upgrade↵Upgrade: foo↵",
        ),
        ("GET http://A:80/x?y HTTP/1.1↵Host: a↵X: y↵", "GET /x?y HTTP/1.1↵X: y↵Host: A:80↵"),
        ("OPTIONS http://a HTTP/1.1↵Host: a↵", "OPTIONS * HTTP/1.1↵Host: a↵"),
        ("GET / HTTP/1.0↵Host: a↵Connection: keep-alive↵", "GET / HTTP/1.1↵Host: a↵"),
        ("GET / HTTP/1.0↵", "GET / HTTP/1.1↵Host: ↵"),
        ("POST / HTTP/1.1↵Host: a↵Content-Length: 5↵", "POST / HTTP/1.1↵Host: a↵Content-Length: 5↵"),
        ("GET / HTTP/1.1↵Host:\ta\t↵X: y↵", "GET / HTTP/1.1↵X: y↵Host: a↵"),
        ("GET / HTTP/1.1↵Host:a ↵X: y↵", "GET / HTTP/1.1↵X: y↵Host: a↵"),
        ("GET / HTTP/1.1↵Host:a↵X: y↵", "GET / HTTP/1.1↵Host:a↵X: y↵"),
        ("POST / HTTP/1.1↵Host: a↵Content-Length:\t5↵X: y↵", "POST / HTTP/1.1↵Host: a↵X: y↵Content-Length: 5↵"),
        ("POST / HTTP/1.1↵Host: a↵Content-Length:  5 ↵X: y↵", "POST / HTTP/1.1↵Host: a↵X: y↵Content-Length: 5↵"),
        (
            "POST / HTTP/1.1↵Host: a↵Transfer-Encoding:\tchunked↵X: y↵",
            "POST / HTTP/1.1↵X: y↵Host: a↵Transfer-Encoding: chunked↵",
        ),
        ("POST / HTTP/1.1↵Host: a↵Content-Length: 05↵X: y↵", "POST / HTTP/1.1↵Host: a↵X: y↵Content-Length: 5↵"),
        ("POST http://a/ HTTP/1.1↵Content-Length: 0↵Host: a↵", "POST / HTTP/1.1↵Host: a↵Content-Length: 0↵"),
        ("POST / HTTP/1.1↵Host: a↵Transfer-Encoding: chunked↵", "POST / HTTP/1.1↵Host: a↵Transfer-Encoding: chunked↵"),
        ("POST / HTTP/1.1↵Host: a↵Content_Length: 5↵Transfer_Encoding: chunked↵", "POST / HTTP/1.1↵Host: a↵"),
        (
            "POST / HTTP/1.1↵Host: a↵Content-Length: 5↵Content_Length: 7↵",
            "POST / HTTP/1.1↵Host: a↵Content-Length: 5↵",
        ),
        ("GET / HTTP/1.1↵Host: a↵X-Forwarded-For: 1↵Forwarded: for=1↵X_Forwarded_For: 1↵", "GET / HTTP/1.1↵Host: a↵"),
        ("GET / HTTP/1.1↵Host: a↵Via: 1.1 x↵", "GET / HTTP/1.1↵Host: a↵Via: 1.1 x↵"),
        ("GET / HTTP/1.1↵Host: a↵Expect: 100-continue↵", "GET / HTTP/1.1↵Host: a↵"),
        (
            "POST / HTTP/1.1↵Host: a↵Expect: 100-continue↵Content-Length: 1↵",
            "POST / HTTP/1.1↵Host: a↵Expect: 100-continue↵Content-Length: 1↵",
        ),
    ],
)
def test_a_request_goes_upstream_without_what_belongs_to_one_connection(came: str, went: str) -> None:
    assert shown(forwarder().request_upstream(request(came))) == went


def test_a_usual_request_without_such_fields_is_the_slice_that_came() -> None:
    head = request("GET / HTTP/1.1↵Host: a↵Accept: */*↵")
    assert forwarder().request_upstream(head) == head.raw


def test_an_expectation_that_is_met_here_is_not_passed_on() -> None:
    head = request("POST / HTTP/1.1↵Host: a↵Expect: 100-continue↵Content-Length: 1↵")
    assert shown(forwarder().request_upstream(head, expect=False)) == "POST / HTTP/1.1↵Host: a↵Content-Length: 1↵"


def test_a_body_that_changed_is_framed_anew() -> None:
    sender = forwarder()
    head = request("POST / HTTP/1.1↵Content-Length: 5↵Host: a↵")
    assert shown(sender.request_upstream(head, framing=Framing.CHUNKED)).endswith("↵Transfer-Encoding: chunked↵")
    sent = shown(sender.request_upstream(head, framing=Framing.LENGTH, content_length=7))
    assert sent == "POST / HTTP/1.1↵Host: a↵Content-Length: 7↵"
    assert shown(sender.request_upstream(head, framing=Framing.NONE)) == "POST / HTTP/1.1↵Host: a↵"
    chunked = request("POST / HTTP/1.1↵Host: a↵Transfer-Encoding: chunked↵")
    sent = shown(sender.request_upstream(chunked, framing=Framing.LENGTH, content_length=3))
    assert sent == "POST / HTTP/1.1↵Host: a↵Content-Length: 3↵"


def test_edited_headers_go_on_with_one_host_and_the_framing_of_the_message() -> None:
    head = request("POST / HTTP/1.1↵Host: a↵Content-Length: 5↵X: y↵Connection: close↵")
    head.headers.set(b"X", b"z")
    head.headers.add(b"Content-Length", b"9")
    head.headers.add(b"Transfer-Encoding", b"chunked")
    head.headers.set(b"Host", b"b")
    assert shown(forwarder().request_upstream(head)) == "POST / HTTP/1.1↵X: z↵Host: b↵Content-Length: 5↵"


def test_an_edited_host_that_is_none_does_not_count() -> None:
    head = request("GET / HTTP/1.1↵Host: a↵")
    head.headers.set(b"Host", b"b c")
    assert shown(forwarder().request_upstream(head)) == "GET / HTTP/1.1↵Host: a↵"


def test_a_websocket_key_survives_a_head_that_is_written_anew() -> None:
    fields = "Connection: upgrade↵Upgrade: websocket↵Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==↵"
    head = request(f"GET http://a/ HTTP/1.1↵Host: a↵{fields}")
    assert "↵Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==↵" in shown(forwarder().request_upstream(head))


def test_settings_edit_every_request_and_add_our_word() -> None:
    head = request("GET / HTTP/1.1↵Host: a:8080↵X-Set: 0↵x-gone: 0↵X-Add: 0↵")
    assert shown(forwarder(FULL).request_upstream(head)) == (
        f"GET / HTTP/1.1↵Host: a:8080↵X-Add: 0↵{EVERYTHING}"
        'X-Forwarded-Host: a:8080↵Forwarded: for=192.0.2.1;host="a:8080";proto=http↵'
        "Via: 1.1 lb↵X-Set: 1↵X-Add: 2↵"
    )


def test_lists_are_added_to_and_the_rest_of_the_clients_word_is_replaced() -> None:
    head = request(
        "GET / HTTP/1.0↵Host: a↵X-Forwarded-For: 1↵X-Forwarded-For: 2↵Forwarded: for=3↵X_Forwarded_For: 4↵"
        "X-Forwarded-Proto: https↵X-Forwarded-Host: evil↵X-Forwarded-Port: 443↵"
    )
    sent = shown(forwarder(ForwardSettings(speaking=SPEAKING)).request_upstream(head))
    assert sent == (
        "GET / HTTP/1.1↵Host: a↵X-Forwarded-For: 1, 2, 192.0.2.1↵X-Forwarded-Proto: http↵X-Forwarded-Host: a↵"
        "X-Forwarded-Port: 80↵Forwarded: for=3, for=192.0.2.1;host=a;proto=http↵"
    )


def test_connection_cannot_have_our_word_removed() -> None:
    head = request("GET / HTTP/1.1↵Host: a↵Connection: X-Forwarded-For, Forwarded, Via↵")
    sent = shown(forwarder(FULL).request_upstream(head))
    assert "X-Forwarded-For: 192.0.2.1↵" in sent
    assert "Via: 1.1 lb↵" in sent


def test_the_word_of_an_excepted_client_is_passed_on_alone() -> None:
    head = request("GET / HTTP/1.1↵Host: a↵X-Forwarded-For: 1↵X-Forwarded-Proto: https↵")
    sent = shown(forwarder(ForwardSettings(speaking=SPEAKING), excepted=True).request_upstream(head))
    assert sent == "GET / HTTP/1.1↵Host: a↵X-Forwarded-For: 1↵X-Forwarded-Proto: https↵"


def test_an_old_request_without_a_host_is_for_the_address_that_it_came_to_and_nobody_claims_a_host_for_it() -> None:
    old = ForwardPlan(ForwardSettings(speaking=SPEAKING)).connection(b"192.0.2.1", 80, here=b"192.0.2.9:80")
    sent = shown(old.request_upstream(request("GET / HTTP/1.0↵")))
    assert sent.startswith("GET / HTTP/1.1↵Host: 192.0.2.9:80↵")
    assert "X-Forwarded-Host" not in sent
    assert b"Host: a\r\n" in old.request_upstream(request("GET / HTTP/1.0↵Host: a↵"))


def test_a_default_host_and_a_wish_to_close() -> None:
    sender = forwarder(ForwardSettings(default_host=b"b", close_server=True))
    assert shown(sender.request_upstream(request("GET / HTTP/1.0↵"))) == "GET / HTTP/1.1↵Host: b↵Connection: close↵"


@pytest.mark.parametrize("edit", [Edit("set", b"a b", b""), Edit("add", b"a", b"b\r\nc: d")])
def test_an_edit_that_is_no_field_is_refused_at_start_up(edit: Edit) -> None:
    with pytest.raises(ValueError, match="not the"):
        ForwardPlan(ForwardSettings(request_edits=[edit]))


GET, OLD, HEAD = "get", "old", "head"


@pytest.mark.parametrize(
    ("to", "came", "went"),
    [
        (GET, "HTTP/1.1 200 OK↵Content-Length: 0↵X: y↵", "HTTP/1.1 200 OK↵Content-Length: 0↵X: y↵"),
        (GET, "HTTP/1.0 200↵Content-Length: 0↵", "HTTP/1.1 200 ↵Content-Length: 0↵"),
        (GET, "HTTP/1.1 200 OK↵Connection: close, X↵X: 1↵Content-Length: 00↵", "HTTP/1.1 200 OK↵Content-Length: 0↵"),
        (
            GET,
            "HTTP/1.1 200 OK↵Keep-Alive: 3↵Transfer-Encoding: chunked↵",
            "HTTP/1.1 200 OK↵Transfer-Encoding: chunked↵",
        ),
        (
            GET,
            "HTTP/1.1 200 OK↵Content-Length: 3↵Transfer-Encoding: chunked↵",
            "HTTP/1.1 200 OK↵Transfer-Encoding: chunked↵",
        ),
        (
            GET,
            "HTTP/1.1 200 OK↵Transfer-Encoding:\tchunked↵X: y↵",
            "HTTP/1.1 200 OK↵X: y↵Transfer-Encoding: chunked↵",
        ),
        (GET, "HTTP/1.1 200 OK↵Content-Length:\t0↵X: y↵", "HTTP/1.1 200 OK↵X: y↵Content-Length: 0↵"),
        (GET, "HTTP/1.0 200 OK↵", "HTTP/1.1 200 OK↵Transfer-Encoding: chunked↵"),
        (OLD, "HTTP/1.0 200 OK↵", "HTTP/1.1 200 OK↵Connection: close↵"),
        (OLD, "HTTP/1.1 200 OK↵Transfer-Encoding: chunked↵", "HTTP/1.1 200 OK↵Connection: close↵"),
        (OLD, "HTTP/1.1 200 OK↵Content-Length: 0↵", "HTTP/1.1 200 OK↵Content-Length: 0↵Connection: keep-alive↵"),
        (HEAD, "HTTP/1.1 200 OK↵Content-Length: 5↵", "HTTP/1.1 200 OK↵Content-Length: 5↵"),
        (HEAD, "HTTP/1.1 200 OK↵Content-Length: 5↵Transfer-Encoding: chunked↵", "HTTP/1.1 200 OK↵Content-Length: 5↵"),
        (GET, "HTTP/1.1 304 x↵Content-Length: 5↵", "HTTP/1.1 304 x↵Content-Length: 5↵"),
        (GET, "HTTP/1.1 204 x↵Content-Length: 5↵Transfer-Encoding: chunked↵", "HTTP/1.1 204 x↵"),
        (GET, "HTTP/1.1 103 x↵Content-Length: 5↵Link: a↵Connection: close↵", "HTTP/1.1 103 x↵Link: a↵"),
        ("connect", "HTTP/1.1 200 x↵Content-Length: 5↵", "HTTP/1.1 200 x↵"),
        (
            "ws",
            "HTTP/1.1 101 x↵Connection: Upgrade↵Upgrade: websocket↵Content-Length: 0↵"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=↵",
            "HTTP/1.1 101 x↵Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=↵Connection: upgrade↵Upgrade: websocket↵",
        ),
        (
            GET,
            "HTTP/1.1 426 x↵Connection: upgrade↵Upgrade: foo↵Content-Length: 0↵",
            "HTTP/1.1 426 x↵Content-Length: 0↵",
        ),
        (
            GET,
            "HTTP/1.1 200 OK↵Content-Length: 5↵Content_Length: 7↵",
            "HTTP/1.1 200 OK↵Content-Length: 5↵Content_Length: 7↵",
        ),
    ],
)
def test_a_response_goes_downstream_framed_for_its_client(to: str, came: str, went: str) -> None:
    head = asked(to)
    assert shown(forwarder().response_downstream(response(came, head), head)) == went


def test_settings_edit_every_response_and_the_connection_may_close() -> None:
    head = asked(GET)
    came = response("HTTP/1.0 200 OK↵Server: x↵Content-Length: 0↵X-Frame-Options: y↵", head)
    sent = shown(forwarder(FULL).response_downstream(came, head, keep_alive=False))
    assert sent == "HTTP/1.1 200 OK↵Content-Length: 0↵Via: 1.0 lb↵X-Frame-Options: DENY↵Connection: close↵"


def test_an_edited_response_keeps_its_framing_and_a_changed_body_gets_its_own() -> None:
    head = asked(GET)
    came = response("HTTP/1.1 200 OK↵Content-Length: 5↵", head)
    sent = forwarder().response_downstream(came, head, framing=Framing.LENGTH, content_length=7)
    assert shown(sent) == "HTTP/1.1 200 OK↵Content-Length: 7↵"
    came.headers.set(b"Content-Length", b"9")
    came.headers.set(b"X", b"y")
    assert shown(forwarder().response_downstream(came, head)) == "HTTP/1.1 200 OK↵X: y↵Content-Length: 5↵"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([case for case in request_cases() if case.verdict.startswith("ok")]), st.sampled_from([PLAIN, FULL])
)
def test_what_goes_upstream_means_the_same(case: object, how: ForwardSettings) -> None:
    data = next(one.data for one in request_cases() if one is case or one == case)
    head = parse_request(data)
    assert isinstance(head, RequestHead)
    sent = forwarder(structs.replace(how, default_host=b"d")).request_upstream(head)
    again = parse_request(sent)
    assert isinstance(again, RequestHead)
    assert (again.method, again.target, again.version) == (head.method, head.origin, b"1.1")
    assert (again.framing, max(0, again.content_length)) == (head.framing, max(0, head.content_length))
    assert again.host == (head.host or b"d")
    assert again.upgrade == head.upgrade
    assert again.length == len(sent)


def test_what_goes_downstream_means_the_same() -> None:
    for case in response_cases():
        head = asked(case.asked)
        try:
            came = parse_response(case.data, head)
        except Http1Error:
            continue
        if not isinstance(came, ResponseHead):
            continue
        again = parse_response(forwarder().response_downstream(came, head), head)
        assert isinstance(again, ResponseHead)
        assert (again.status, again.framing) == (came.status, downstream_framing(came, head))
        assert again.is_tunnel == came.is_tunnel


def test_a_host_that_is_set_takes_the_client_s_place_and_the_client_s_is_still_told() -> None:
    edits = [Edit("set", b"host", b"internal.example:81"), Edit("set", b"X-A", b"1")]
    speaking = Speaking(x_forwarded_host="set")
    plan = ForwardPlan(ForwardSettings(request_edits=edits, speaking=speaking))
    for line in (b"GET / HTTP/1.1", b"GET http://public.example/ HTTP/1.1", b"GET / HTTP/1.0"):
        head = parse_request(line + b"\r\nHost: public.example\r\n\r\n")
        assert isinstance(head, RequestHead)
        sent = plan.connection(b"192.0.2.1", 80).request_upstream(head)
        lines = sent.split(b"\r\n")
        assert [one for one in lines if one.lower().startswith(b"host:")] == [b"Host: internal.example:81"]
        assert b"X-Forwarded-Host: public.example" in lines
        assert isinstance(parse_request(sent), RequestHead)
