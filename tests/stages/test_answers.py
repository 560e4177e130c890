"""Answers of ours: whole and well framed, whatever the request; and what a policy cannot have sent."""

from typing import Any

import pytest

from twisted_lb.stages.answers import REASONS, Answers, fault_in, prefers_json, response, with_last_words
from twisted_lb.testing import make_facts, make_request
from twisted_lb.verdicts import Answer, Deny, Redirect, Tarpit
from twisted_lb.wire.http1 import Edit, RequestHead, ResponseHead, parse_response


def read(data: bytes, request: RequestHead | None = None) -> tuple[ResponseHead, bytes]:
    """Take a response apart; its body is what its framing says."""
    head = parse_response(data, request or make_request())
    assert isinstance(head, ResponseHead)
    return head, data[head.length :]


GET, HEAD, OLD = make_request(), make_request("HEAD"), make_request(version="1.0")


@pytest.mark.parametrize("status", [400, 403, 408, 413, 421, 429, 431, 499, 500, 502, 503, 504, 505])
@pytest.mark.parametrize("request_", [None, GET, OLD])
def test_an_error_is_a_whole_response(status: int, request_: RequestHead | None) -> None:
    head, body = read(Answers().error(status, request_, True), request_)
    assert head.status == status
    assert head.content_length == len(body) > 0
    assert head.headers.get(b"Cache-Control") == b"no-cache"
    assert b" GMT" in (head.headers.get(b"Date") or b"")


def test_head_has_no_body_but_its_length() -> None:
    head, body = read(Answers().error(503, HEAD, True), HEAD)
    assert body == b""
    assert head.content_length > 0


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_has_no_length(status: int) -> None:
    head, body = read(response(status, [], b"no", GET, True))
    assert (head.content_length, body) == (-1, b"")


@pytest.mark.parametrize(
    ("request_", "keep_alive", "said"),
    [
        (GET, True, None),
        (GET, False, b"close"),
        (OLD, True, b"keep-alive"),
        (OLD, False, b"close"),
        (None, False, b"close"),
    ],
)
def test_it_says_whether_the_connection_stays(request_: Any, keep_alive: bool, said: bytes | None) -> None:
    assert read(Answers().error(400, request_, keep_alive))[0].headers.get(b"Connection") == said


def test_a_page_of_the_operator_s_takes_the_place_of_ours() -> None:
    answers = Answers({503: (b"soon", b"text/plain")}, json=True)
    head, body = read(answers.error(503, GET, True))
    assert (head.headers.get(b"Content-Type"), body) == (b"text/plain", b"soon")
    assert read(answers.error(502, GET, True))[1] != b"soon"


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("text/html, application/json", False),
        ("application/json, text/html", True),
        ("application/json;q=0.9, text/html", False),
        ("text/html;q=0.5, application/json;q=0.6", True),
        ("*/*", False),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        ("", False),
    ],
)
def test_who_prefers_json(accept: str, json: bool) -> None:
    assert prefers_json([accept.encode()]) is json
    head, _ = read(Answers(json=True).error(503, make_request(fields=[("Accept", accept)]), True))
    assert (head.headers.get(b"Content-Type") == b"application/json") is json


def test_every_answer_has_the_frontend_s_fields() -> None:
    answers = Answers(edits=[Edit("set", b"cache-control", b"x"), Edit("remove", b"X-A"), Edit("add", b"X-B", b"2")])
    said = [
        answers.error(503, GET, True),
        answers.monitor(True, GET, True),
        answers.verdict(Answer(fields=[("Cache-Control", "y"), ("X-A", "1"), ("X-B", "1")]), GET, True),
        answers.verdict(Redirect("/x", fields=[("x-a", "1")]), GET, True),
        answers.verdict(Tarpit("slow", fields=[("X-A", "1")]), GET, True),
    ]
    for one in said:
        head, _ = read(one)
        assert head.headers.get_all(b"Cache-Control") == [b"x"]
        assert head.headers.get(b"X-A") is None
        assert head.headers.get_all(b"X-B")[-1] == b"2"


def test_verdicts_become_responses() -> None:
    answers = Answers()
    head, body = read(answers.verdict(Answer(201, b"made", [("X-A", b"\xc3\xa9")]), GET, True))
    assert (head.status, body, head.headers.get(b"X-A")) == (201, b"made", b"\xc3\xa9")
    head, body = read(answers.verdict(Redirect("/\u00e9", 307), GET, True))
    assert (head.status, head.headers.get(b"Location"), body) == (307, "/\u00e9".encode(), b"")
    head, body = read(answers.verdict(Deny("a secret reason", 429, [("Retry-After", "7")]), GET, True))
    assert (head.status, head.headers.get(b"Retry-After")) == (429, b"7")
    assert b"secret" not in body


def test_the_monitor_says_yes_or_no() -> None:
    assert read(Answers().monitor(True, GET, True))[0].status == 200
    assert read(Answers().monitor(False, GET, True))[0].status == 503


@pytest.mark.parametrize(
    "verdict", [Deny("no"), Deny("no", 599), Answer(), Answer(599, fields=()), Redirect("/x"), Tarpit("no")]
)
def test_what_can_be_sent_has_no_fault(verdict: Any) -> None:
    assert fault_in(verdict) == ""


@pytest.mark.parametrize(
    "fields", [[("Connection", "x")], [("content-length", "1")], [("Date", "x")], [("A", "\n")], [("A",)], ["ab:"], 3]
)
def test_what_cannot_be_sent_has_one(fields: Any) -> None:
    assert fault_in(Deny("no", 403, fields))
    assert fault_in(Answer(200, b"", fields))


def test_every_status_that_we_answer_with_has_a_phrase() -> None:
    assert all(
        REASONS[status] for status in (400, 403, 408, 413, 414, 421, 422, 429, 431, 500, 501, 502, 503, 504, 505)
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 421, 429, 503])
def test_the_page_of_an_error_says_more_than_its_name(status: int) -> None:
    _, body = read(Answers().error(status, GET, True), GET)
    assert body.rstrip().endswith(b".\n</body></html>")


@pytest.mark.parametrize(
    ("verdict", "farewell", "said"),
    [
        (Deny("no"), b"bye", b"bye"),
        (Deny("no", how="close"), b"bye", b"bye"),
        (Deny("no", farewell=b"own"), b"bye", b"own"),
        (Deny("no", how="reset"), b"bye", b""),
        (Deny("no", how="drop"), b"bye", b""),
        (Deny("no"), b"", b""),
        (Deny("no"), "no bytes", b""),
        (Deny("no"), bytes(5000), b""),
    ],
)
def test_a_refusal_without_words_has_those_of_the_protocol(verdict: Deny, farewell: Any, said: bytes) -> None:
    facts = make_facts()
    facts.farewell = farewell
    assert with_last_words(verdict, facts).farewell == said
