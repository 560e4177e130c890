"""What reaches whom: requests and responses, whole or in pieces, one after the other, early and late."""

from typing import TYPE_CHECKING

import pytest

from tests.http_sessions.conftest import GET, OK, Said, post
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.stages import http_exchange

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld

CLOSES = b"Connection: close\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def test_a_request_and_its_response_pass_and_the_client_may_ask_again(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    assert server.read() == GET
    server.send(OK)
    assert client.read() == OK
    assert world.statuses() == [(200, "--")]
    again = world.ask(client, upstream)
    assert again is not server, "this backend keeps no connections"
    assert server.ended()
    again.send(OK)
    assert client.read() == OK + OK
    assert [record.requests for record in world.records] == [1, 2]


def test_a_request_that_comes_byte_by_byte_is_the_same(world: "HttpWorld") -> None:
    upstream, client = world.site()
    for byte in post(b"body"):
        client.send(bytes([byte]))
    server = upstream.peers[0]
    assert server.read() == post(b"body")
    for byte in OK:
        server.send(bytes([byte]))
    assert client.read() == OK
    assert world.statuses() == [(200, "--")]


def test_nothing_reaches_a_server_before_the_head_is_whole(world: "HttpWorld") -> None:
    upstream, client = world.site()
    client.send(GET[:-1])
    assert not upstream.peers
    client.send(GET[-1:])
    assert upstream.peers[0].read() == GET


@pytest.mark.parametrize("reuse", [False, True])
def test_requests_that_come_together_are_answered_in_order(world: "HttpWorld", reuse: bool) -> None:
    upstream, client = world.site(reuse=HttpBackend() if reuse else None)
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5)]
    client.send(b"".join(requests))
    heard = Said(upstream.peers[0])
    for number, request in enumerate(requests):
        server = upstream.peers[0 if reuse else number]
        assert (heard() if reuse else server.read()) == request, "the next is sent when the one before is answered"
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    assert client.read() == b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(5))
    assert len(upstream.peers) == (1 if reuse else 5)


def test_a_request_behind_one_with_a_body_is_read(world: "HttpWorld") -> None:
    upstream, client = world.site()
    for _ in range(3):
        world.ask(client, upstream, post(b"body")).send(OK)
    client.send(post(b"body") + GET)
    upstream.peers[-1].send(OK)
    assert upstream.peers[-1].read() == GET
    upstream.peers[-1].send(OK)
    assert client.read() == OK * 5


@pytest.mark.parametrize("requests", [1, 3])
def test_who_says_that_this_was_all_still_gets_every_response(world: "HttpWorld", requests: int) -> None:
    upstream, client = world.site()
    client.send(GET * requests)
    client.finish()
    for number in range(requests):
        assert not client.ended()
        upstream.peers[number].send(OK)
    read = client.read()
    assert read.count(b"200 OK") == requests
    assert client.ended()
    assert world.statuses() == [(200, "--")] * requests


def test_the_last_response_to_who_has_said_all_says_that_it_is_the_last(world: "HttpWorld") -> None:
    upstream, client = world.site()
    client.send(GET)
    client.finish()
    world.turn()
    upstream.peers[0].send(OK)
    if world.kind == "streams":  # Twisted's transports may tell later
        assert CLOSES in client.read()


def test_pipelined_requests_beyond_the_limit_wait_in_the_kernel(world: "HttpWorld") -> None:
    upstream, client = world.site()
    many = GET * 40_000
    client.send(GET)
    sent = 0
    while sent < len(many) and (taken := client.send(many[sent : sent + 65536])):
        sent += taken
        if world.kind == "transports" and sent > 1_000_000:
            break
    (session,) = world.process.sessions
    assert session.bytes_in < 1000  # type: ignore[attr-defined]
    assert len(session._peeked) <= 64 * 1024 + 16 * 64 * 1024  # type: ignore[attr-defined]
    for _ in range(50):
        upstream.peers[-1].send(OK)
    assert client.read() == OK * 50


# Bodies


def test_bodies_pass_in_the_framing_they_have(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, CHUNKED + b"3\r\nabc\r\n")
    client.send(b"2;x=y\r\nde\r\n0\r\nTrailer-Field: v\r\n\r\n")
    assert server.read() == CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer-Field: v\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\nX-Sum: 1\r\n\r\n"
    server.send(response)
    assert client.read() == response
    assert world.statuses() == [(200, "--")]


def test_a_body_until_the_end_of_the_connection_is_sent_in_chunks(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    server.send(b"de")
    server.finish()
    assert body_of(client.read()) == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert not client.ended(), "the client may ask again"
    assert world.statuses() == [(200, "--")]


@pytest.mark.parametrize("framing", ["until close", "chunked"])
def test_http_10_gets_a_body_of_unknown_length_until_the_end_of_the_connection(
    world: "HttpWorld", framing: str
) -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
    if framing == "chunked":
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    else:
        server.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        server.finish()
    assert client.read() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    assert client.ended()


@pytest.mark.parametrize(
    ("fields", "stays"), [(b"", False), (b"Connection: keep-alive\r\n", True), (b"Connection: close\r\n", False)]
)
def test_http_10_keeps_its_connection_only_if_it_asks_to(world: "HttpWorld", fields: bytes, stays: bool) -> None:
    upstream, client = world.site()
    world.ask(client, upstream, b"GET / HTTP/1.0\r\nHost: x\r\n" + fields + b"\r\n").send(OK)
    said = b"keep-alive" if stays else b"close"
    assert client.read() == OK.replace(b"\r\n\r\n", b"\r\nConnection: %b\r\n\r\n" % said)
    assert client.ended() is not stays


def test_a_client_that_says_close_is_closed_behind_its_response(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, GET[:-2] + CLOSES + b"\r\n").send(OK)
    assert client.read() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert client.ended()
    assert not world.process.sessions


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("wrong", [b"", b"wrong"])
def test_a_response_without_a_body_has_none(world: "HttpWorld", method: bytes, head: bytes, wrong: bytes) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, GET.replace(b"GET", method))
    server.send(head + wrong)
    assert client.read() == head
    world.ask(client, upstream)
    assert len(upstream.peers) == (2 if wrong else 1), "a server that says too much is not asked again"


# 1xx


def test_a_client_that_waits_for_100_gets_the_server_s(world: "HttpWorld") -> None:
    upstream, client = world.site()
    head = post(b"", "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 4")
    server = world.ask(client, upstream, head)
    assert server.read() == head
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert server.read() == head + b"body"
    server.send(OK)
    assert client.read() == b"HTTP/1.1 100 Continue\r\n\r\n" + OK
    assert world.statuses() == [(200, "--")]


def test_a_client_that_does_not_wait_for_100_is_not_held_up(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, post(b"body", "Expect: 100-continue"))
    assert body_of(server.read()) == b"body"
    server.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert client.read() == b"HTTP/1.1 100 Continue\r\n\r\n" + OK


def test_several_interim_responses_pass_and_in_http_10_none(world: "HttpWorld") -> None:
    upstream, client = world.site()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = world.ask(client, upstream)
    server.send(b"HTTP/1.1 102 Processing\r\n\r\n" + hints + hints[:10])
    server.send(hints[10:] + OK)
    assert client.read() == b"HTTP/1.1 102 Processing\r\n\r\n" + hints + hints + OK
    old = world.client(world.frontend(world.backends[0]))
    world.ask(old, upstream, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").send(hints + OK)
    assert old.read().startswith(b"HTTP/1.1 200 OK")


def test_endless_interim_responses_are_refused(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream).send(b"HTTP/1.1 102 Processing\r\n\r\n" * 17)
    assert b"HTTP/1.1 502 " in client.read()
    assert world.statuses() == [(502, "PH")]


# Early responses; see ``test_early`` too


def test_a_refusal_before_the_request_is_nearly_whole_is_the_last_and_its_server_is_not_asked_again(
    world: "HttpWorld",
) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, post(b"x" * 100_000)[:-99_950])
    server.send(OK.replace(b"200 OK", b"413 Content Too Large"))
    assert client.read().startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    assert CLOSES in client.read()
    assert client.ended()
    client.send(b"x" * 50 + GET)  # taken, and thrown away
    assert server.ended()
    world.wait(0.5)
    assert world.process.sessions, "closed at once, what still comes would undo the answer"
    client.finish()
    assert not world.process.sessions
    assert world.statuses() == [(413, "--")]
    assert len(upstream.peers) == 1


def test_a_client_that_stays_behind_the_last_response_is_waited_for_in_vain_only_so_long(world: "HttpWorld") -> None:
    upstream, client = world.site(client=5.0)
    world.ask(client, upstream, post(b"x" * 100)[:-50]).send(OK)
    client.read()
    world.wait(10)
    assert not world.process.sessions


def test_the_body_is_still_sent_while_the_response_comes(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, post(b"x" * 4)[:-2])
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    client.send(b"yz")
    server.send(b"cd")
    assert body_of(server.read()) == b"xxyz"
    assert body_of(client.read()) == b"abcd"
    assert world.statuses() == [(200, "--")]


# Answers of ours


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ],
)
def test_a_head_that_breaks_a_rule_is_answered_and_nothing_of_it_reaches_a_server(
    world: "HttpWorld", request_: bytes, status: int
) -> None:
    upstream, client = world.site()
    client.send(request_ + GET)
    assert client.read().startswith(b"HTTP/1.1 %d " % status)
    assert client.ended()
    assert not upstream.peers
    client.finish()
    assert world.statuses() == [(status, "PR")]
    assert world.records[0].method == "<BADREQ>"


def test_a_body_that_breaks_a_rule_is_answered_and_its_server_is_left(world: "HttpWorld") -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, CHUNKED + b"3\r\nabc\r\nnonsense\r\n")
    assert client.read().startswith(b"HTTP/1.1 400 ")
    assert server.ended()
    assert b"nonsense" not in server.read()
    client.finish()
    assert world.statuses() == [(400, "PH")]


def test_a_backend_without_a_server_answers_503_and_the_client_may_ask_again(world: "HttpWorld") -> None:
    upstream = world.upstream(weight=0)
    client = world.client(world.frontend(world.backend(upstream)))
    client.send(GET)
    client.send(GET)
    assert client.read().count(b"HTTP/1.1 503 ") == 2
    assert world.statuses() == [(503, "SC")] * 2


def test_thousands_of_requests_that_are_answered_here_take_no_deep_stack(world: "HttpWorld") -> None:
    client = world.client(world.frontend(world.backend(world.upstream(weight=0))))
    tiny = b"GET / HTTP/1.1\r\nHost:x\r\n\r\n"
    many = tiny * 3000
    sent = 0
    while sent < len(many):
        sent += client.send(many[sent : sent + 30_000])
        client.read()
    assert client.read().count(b"HTTP/1.1 503 ") == 3000


# Back-pressure


@pytest.mark.parametrize("slow", ["client", "server"])
def test_a_side_that_takes_nothing_costs_a_bounded_buffer_and_gets_all_in_the_end(
    world: "HttpWorld", slow: str
) -> None:
    upstream, client = world.site()
    size = 3_000_000
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    server = world.ask(client, upstream, head if slow == "server" else GET)
    fast, slack = (client, server) if slow == "server" else (server, client)
    if slow == "client":
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    sent = 0

    def push() -> None:
        nonlocal sent
        while sent < size and (world.kind == "streams" or len(fast.near.unsent) == 0):  # type: ignore[union-attr]
            taken = fast.send(data[sent : sent + 65536])
            if not taken:
                return
            sent += taken

    push()
    assert sent < size, "the sender is held back"
    (session,) = world.process.sessions
    exchange = session.exchange  # type: ignore[attr-defined]
    through = exchange.bytes_out if slow == "client" else exchange.bytes_in
    assert through < 1_200_000, "what the kernel takes, and one buffer of ours"
    while sent < size:
        slack.read()
        push()
    if slow == "server":
        slack.read()
        server.send(OK)
        client.read()
    assert body_of(slack.read()) == data
    assert world.statuses() == [(200, "--")]
    # The connection is none the worse for it.
    world.ask(client, upstream).send(OK)
    assert client.read().endswith(OK)


def test_a_connection_whose_response_ended_while_the_client_took_nothing_serves_the_next(world: "HttpWorld") -> None:
    upstream, client = world.site(reuse=HttpBackend())
    size = 1_500_000
    server = world.ask(client, upstream)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    sent = 0
    while sent < len(data):
        taken = server.send(data[sent : sent + 65536])
        sent += taken
        if not taken:
            client.read()
    other = world.client(world.frontend(world.backends[0]))
    client.read()
    world.ask(other, upstream).send(OK)
    assert other.read() == OK
    assert len(body_of(client.read())) == size


def test_a_slow_reader_behind_the_last_response_gets_all_of_it(world: "HttpWorld") -> None:
    upstream, client = world.site(client=5.0)
    size = 1_000_000
    server = world.ask(client, upstream, GET[:-2] + CLOSES + b"\r\n")
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    sent = 0
    while sent < len(data):
        taken = server.send(data[sent : sent + 65536])
        sent += taken
        if not taken:
            client.read()
    client.finish()
    world.wait(1)
    assert len(body_of(client.read())) == size
    assert client.ended()


# Defects


def test_a_defect_in_one_exchange_hurts_no_other(world: "HttpWorld", monkeypatch: pytest.MonkeyPatch) -> None:
    upstream, client = world.site()
    other = world.client(world.frontend(world.backends[0]))
    bad, good = world.ask(client, upstream), world.ask(other, upstream)
    parse = vars(http_exchange)["parse_response"]

    def defective(data: bytes, *rest: object) -> object:
        if b"defect" in data:
            raise RuntimeError("a defect")
        return parse(data, *rest)

    monkeypatch.setattr(http_exchange, "parse_response", defective)
    bad.send(OK.replace(b"OK", b"defect"))
    good.send(OK)
    assert other.read() == OK
    assert client.read().startswith(b"HTTP/1.1 500 ")
    client.finish()
    assert sorted(world.statuses()) == [(200, "--"), (500, "IH")]
