"""A client or a server that goes away in every stage: the code, the status, and what becomes of the other side."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from tests.http_sessions.conftest import GET, OK, post
from twisted_lb.api import ALLOW, Stage
from twisted_lb.backends.http_connection import HttpBackend

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"


class Undecided:
    """A policy that answers if the test does."""

    stage = Stage.POLICY

    def __init__(self) -> None:
        self.cancelled = 0
        self.answer: Deferred[Any] = Deferred(self._cancel)

    def decide(self, facts: Any) -> "Deferred[Any]":
        return self.answer

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1


# The client


def test_who_says_nothing_at_all_has_a_record_and_no_answer(world: "HttpWorld") -> None:
    _, client = world.site()
    client.finish()
    assert client.read() == b""
    assert world.statuses() == [(0, "CR")]


def test_who_leaves_between_two_requests_has_no_record_more(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream).send(OK)
    client.finish()
    assert client.ended()
    assert world.statuses() == [(200, "--")]


def test_who_leaves_behind_an_empty_line_has_not_begun_a_request(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream).send(OK)
    client.send(b"\r\n")
    client.finish()
    assert client.read() == OK
    assert world.statuses() == [(200, "--")]


def test_who_ends_in_the_middle_of_a_head_is_told(world: "HttpWorld") -> None:
    upstream, client = world.site()
    client.send(GET[:-2])
    client.finish()
    assert client.read().startswith(b"HTTP/1.1 400 ")
    assert client.ended()
    assert world.statuses() == [(400, "CR")]
    assert not upstream.peers


def test_who_is_gone_in_the_middle_of_a_head_is_not(world: "HttpWorld") -> None:
    _, client = world.site()
    client.send(GET[:-2])
    if world.kind == "transports":
        client.leave()
        assert world.statuses() == [(0, "CR")]


WHOLE = (post(b"body"), b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")


@pytest.mark.parametrize("request_", WHOLE, ids=["length", "chunks"])
def test_who_has_said_all_while_a_policy_thinks_gets_the_answer(world: "HttpWorld", request_: bytes) -> None:
    """Seen: 400, for a whole request whose end of stream came before its server was connected."""
    policy = Undecided()
    upstream, client = world.site(policies=[policy])
    client.send(request_)
    client.finish()
    policy.answer.callback(ALLOW)
    world.turn()
    (server,) = upstream.peers
    assert server.read() == request_
    server.send(OK)
    assert client.read().startswith(b"HTTP/1.1 200 ")
    assert client.ended()
    assert world.statuses() == [(200, "--")]


def test_who_leaves_while_a_policy_thinks(world: "HttpWorld") -> None:
    policy = Undecided()
    upstream, client = world.site(policies=[policy])
    client.send(post(b"body")[:-1])
    client.finish()
    client.read()
    if world.kind == "streams":  # over other transports an end of stream is not seen while nobody reads
        assert world.statuses() == [(400, "CR")]
        assert policy.cancelled == 1
    assert not upstream.peers


def test_who_leaves_while_it_waits_for_a_slot(world: "HttpWorld") -> None:
    upstream = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(upstream))
    first, second = world.client(frontend), world.client(frontend)
    server = world.ask(first, upstream)
    second.send(GET)
    second.leave()
    if world.kind == "transports":
        assert world.statuses() == [(0, "CQ")]
        return
    # Who closes looks like who has said all, until the answer comes back.
    server.send(OK)
    assert first.read() == OK
    upstream.peers[-1].send(OK)
    world.turn()
    assert len(upstream.peers) == 2
    assert not [record for record in world.records if record.ending == "SH"]


@pytest.mark.parametrize("part", ["whole", "half"])
def test_who_leaves_while_the_server_thinks(world: "HttpWorld", part: str) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    request = post(b"body") if part == "whole" else post(b"body")[:-1]
    server = world.ask(client, upstream, request)
    client.leave()
    if part == "half" and world.kind == "streams":
        assert world.statuses() == [(400, "CH")]
    elif world.kind == "transports":
        assert world.statuses() == [(0, "CH")]
    else:
        server.send(OK)
        world.turn()
        assert len(world.records) == 1
        return
    assert server.ended(), "who answers nobody is not asked again"


def test_who_leaves_while_the_response_comes(world: "HttpWorld") -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream)
    server.send(HALF)
    client.leave()
    world.turn()
    assert server.ended()
    assert world.statuses() == [(200, "CD")]
    assert not world.process.sessions


# The server


def test_a_server_that_closes_without_a_word_is_502(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, post(b"body")).finish()
    assert client.read().startswith(b"HTTP/1.1 502 ")
    assert world.statuses() == [(502, "SH")]
    assert not client.ended(), "the client may ask again"


def test_a_server_that_closes_within_a_head_is_502_and_nothing_of_it_is_passed_on(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(OK[:30])
    server.finish()
    assert client.read().startswith(b"HTTP/1.1 502 ")
    assert b"200" not in client.read()
    assert world.statuses() == [(502, "SH")]


@pytest.mark.parametrize("response", [HALF, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab"])
@pytest.mark.parametrize("how", ["finish", "leave"])
def test_a_server_that_breaks_off_cuts_the_client_off_too(world: "HttpWorld", response: bytes, how: str) -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(response)
    getattr(server, how)()
    assert client.read() == response, "what there is, and nothing behind it"
    assert client.ended()
    assert world.statuses() == [(200, "SD")]


def test_garbage_in_place_of_a_response_is_502(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(b"\x16\x03\x01 garbage\r\n\r\n")
    assert client.read().startswith(b"HTTP/1.1 502 ")
    assert b"garbage" not in client.read()
    assert server.ended()
    assert world.statuses() == [(502, "PH")]


def test_garbage_within_a_response_cuts_the_client_off(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\ngarbage")
    assert b"garbage" not in client.read()
    assert not client.read().endswith(b"0\r\n\r\n")
    assert client.ended()
    assert world.statuses() == [(200, "PD")]


def test_a_server_that_speaks_before_it_is_asked_is_not_asked(world: "HttpWorld") -> None:
    upstream, client = world.site(reuse=HttpBackend())
    first = world.ask(client, upstream)
    first.send(OK)
    first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
    second = world.ask(client, upstream)
    assert second is not first
    second.send(OK)
    assert client.read() == OK + OK


@pytest.mark.parametrize("together", [True, False])
def test_a_server_that_answers_twice_is_believed_once(world: "HttpWorld", together: bool) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    first = world.ask(client, upstream)
    wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    if together:
        first.send(OK + wrong)
    else:
        first.send(OK)
        first.send(wrong)
    assert client.read() == OK
    assert world.ask(client, upstream) is not first


def test_a_client_of_http_10_is_told_of_a_body_cut_short_by_a_reset(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab")
    server.finish()
    assert client.ended()
    assert world.statuses() == [(200, "SD")]


def test_a_server_that_cannot_be_connected_to_is_503(world: "HttpWorld") -> None:
    upstream = world.upstream(behaviour="refuse")
    client = world.client(world.frontend(world.backend(upstream, retries=0)))
    client.send(GET)
    assert client.read().startswith(b"HTTP/1.1 503 ")
    client.send(GET)
    assert client.read().count(b"HTTP/1.1 503 ") == 2
    assert world.statuses() == [(503, "SC")] * 2


# The operator


@pytest.mark.parametrize("when", ["head", "between", "response", "relay"])
def test_who_is_killed_is_gone_at_once(world: "HttpWorld", when: str) -> None:
    upstream, client = world.site()
    if when == "head":
        client.send(GET[:5])
    elif when == "between":
        world.ask(client, upstream).send(OK)
    else:
        server = world.ask(client, upstream)
        server.send(HALF if when == "relay" else b"")
    (session,) = world.process.sessions
    session.kill("the process stops")
    assert client.ended()
    codes = {"head": [(0, "KR")], "between": [(200, "--")], "response": [(0, "KH")], "relay": [(200, "KD")]}
    assert world.statuses() == codes[when]
    assert not world.process.sessions


def test_a_pipelined_request_that_was_cut_short_is_refused_at_once(world: "HttpWorld") -> None:
    upstream, client = world.site()
    client.send(GET + post(b"body")[:-1])
    client.finish()
    world.turn()
    upstream.peers[0].send(OK)
    world.turn()
    assert world.statuses() == [(200, "--"), (400, "CR")]
    assert len(upstream.peers) == 1
