"""Responses that come before their request is whole: what becomes of the rest, and of the two connections."""

from typing import TYPE_CHECKING

import pytest

from tests.http_sessions.conftest import GET, OK, Said, post
from tests.http_sessions.test_bodies import DOUBLING, site
from twisted_lb.backends.http_connection import HttpBackend

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld

POST = post(b"0123456789")
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"
TOO_LARGE = OK.replace(b"200 OK", b"413 Content Too Large")
LAST = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("answer", [OK, LAST, TOO_LARGE])
@pytest.mark.parametrize("cut", [5, 10])
def test_a_client_that_completes_its_request_may_send_another(world: "HttpWorld", answer: bytes, cut: int) -> None:
    # Many programs send head and body apart, and many servers answer to the head: each such request cost a connection.
    upstream, client = world.site(reuse=HttpBackend())
    said = Said(client)
    world.ask(client, upstream, POST[:-cut]).send(answer)
    heard = said()
    assert b"Connection: close" not in heard
    assert heard.endswith(b"\r\n\r\nok")
    client.send(POST[-cut:])
    assert not client.ended()
    world.ask(client, upstream).send(OK)
    assert said() == OK
    assert len(world.statuses()) == 2


@pytest.mark.parametrize("request_", [POST, CHUNKED])
def test_what_follows_the_rest_is_the_next_request_wherever_it_is_cut(world: "HttpWorld", request_: bytes) -> None:
    for cut in range(1, 10):
        upstream, client = world.site()
        said = Said(client)
        world.ask(client, upstream, request_[:-9]).send(OK)
        assert said() == OK
        client.send(request_[-9:][:cut])
        client.send(request_[-9:][cut:] + GET)
        assert len(upstream.peers) == 2
        upstream.peers[1].send(OK)
        assert said() == OK
        client.leave()


def test_the_server_gets_nothing_of_the_rest_and_is_not_asked_again(world: "HttpWorld") -> None:
    # It may take for a request what was meant to be the body of the one before.
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, POST[:-5])
    server.send(OK)
    assert server.ended()
    client.send(POST[-5:])
    world.ask(client, upstream).send(OK)
    assert len(upstream.peers) == 2
    assert server.read().endswith(b"01234")
    assert client.read() == 2 * OK


def test_a_request_that_is_whole_before_its_response_leaves_both_connections_as_they_are(world: "HttpWorld") -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, POST[:-5])
    server.send(OK[:-1])
    client.send(POST[-5:])
    server.send(OK[-1:])
    assert server.read().endswith(b"0123456789")
    world.ask(client, upstream).send(OK)
    assert client.read() == 2 * OK
    assert len(upstream.peers) == 1


def test_filters_do_not_matter_to_what_is_thrown_away(world: "HttpWorld") -> None:
    upstream, client = site(world, DOUBLING)
    said = Said(client)
    world.ask(client, upstream, CHUNKED[:-12]).send(OK)
    assert b"okok" in said()
    client.send(CHUNKED[-12:] + GET)
    upstream.peers[1].send(OK)
    assert b"okok" in said()
    assert world.statuses() == [(200, "--")] * 2


LARGE = post(bytes(100_000))[:-90_000]
ENDLESS = CHUNKED[:-20]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [(LARGE, TOO_LARGE), (LARGE, LAST), (ENDLESS, TOO_LARGE), (post(b"ok", "Expect: 100-continue")[:-2], OK)],
    ids=["much-for-an-error", "much-for-nobody", "no-end-in-sight", "nothing-yet"],
)
def test_who_had_better_stop_is_told_to(world: "HttpWorld", request_: bytes, answer: bytes) -> None:
    # Who waits for a 100 may leave its body out: what comes next could be either.
    upstream, client = world.site()
    world.ask(client, upstream, request_).send(answer)
    assert b"\r\nConnection: close\r\n" in client.read()
    assert client.ended()


def test_who_was_told_to_go_on_and_does_has_begun_its_body(world: "HttpWorld") -> None:
    upstream, client = world.site()
    request = post(b"0123456789", "Expect: 100-continue")
    server = world.ask(client, upstream, request[:-10])
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.send(request[-10:-5])
    server.send(OK)
    client.send(request[-5:])
    assert not client.ended()
    world.ask(client, upstream).send(OK)
    assert client.read().endswith(OK + OK)


def test_the_rest_has_its_time_and_no_more(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, post(bytes(100))[:-90]).send(OK)
    for _ in range(28):
        client.send(b"x")
        world.wait(1)
    assert not client.ended()
    world.wait(5)
    assert client.ended()
    assert client.read() == OK
    assert world.statuses() == [(200, "--")]


def test_a_client_that_may_only_be_idle_for_less_has_less(world: "HttpWorld") -> None:
    upstream, client = world.site(client=3.0, http_keep_alive=60.0)
    world.ask(client, upstream, POST[:-5]).send(OK)
    world.wait(2)
    assert not client.ended()
    world.wait(2)
    assert client.ended()


def test_a_rest_that_breaks_a_rule_is_the_last_that_is_heard(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, CHUNKED[:-20]).send(OK)
    (session,) = world.process.sessions
    client.send(b"zz\r\n" + GET)
    assert client.ended()
    client.send(GET)
    assert len(upstream.peers) == 1
    (refused,) = session.frontend.http.refused  # type: ignore[attr-defined]
    assert refused.reason == "http1-chunk-end"


@pytest.mark.parametrize("how", ["half", "whole"])
def test_who_leaves_with_the_rest_unsaid_leaves_nothing(world: "HttpWorld", how: str) -> None:
    upstream, client = world.site()
    world.ask(client, upstream, POST[:-5]).send(OK)
    if how == "half":
        client.finish()
        assert client.ended()
    else:
        client.leave()
    assert world.statuses() == [(200, "--")]


def test_a_stop_does_not_wait_for_the_rest(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, POST[:-5]).send(OK)
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    assert client.ended()
    assert client.read() == OK


def test_a_response_that_ends_during_a_stop_is_not_waited_behind_either(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, POST[:-5])
    server.send(OK[:-1])
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    assert not client.ended()
    server.send(OK[-1:])
    assert client.ended()
    assert client.read() == OK


def test_a_client_that_sends_all_before_it_reads_is_not_kept_from_it(world: "HttpWorld") -> None:
    upstream, client = world.site()
    size = 8 * 1024 * 1024
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    server = world.ask(client, upstream, head)
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    left = size
    while left:
        sent = client.send(bytes(min(left, 60_000)))
        assert sent, "nobody reads it"
        left -= sent
    world.ask(client, upstream).send(OK)
    assert client.read() == 2 * OK
