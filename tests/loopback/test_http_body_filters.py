"""Body filters over real sockets: what arrives, how it is framed, and what becomes of who misbehaves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import Site, get, post
from tests.whole import run
from twisted_lb.wire.http1 import ChunkedBody

pytestmark = pytest.mark.linux
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def start(site: Site, *filters: Any, raw: bool = False, **more: Any) -> Any:
    """A load balancer with these filters, and a server that says nothing by itself; ``raw``: it only listens."""
    server = site.upstream(lambda request: None, preface=1 << 30 if raw else 0)
    settings = site.config(server, of_frontend={"body_filters": list(filters), **more.pop("of_frontend", {})}, **more)
    site.running.start({**settings, "plugins": ["tests.loopback.lb_bodies"]})
    return server


def served(site: Site, server: Any, client: Any) -> Any:
    """Wait for the connection to the server."""
    site.until(lambda: server.served or client.ended, "a connection to the server")
    return server.served[-1]


def heard(site: Site, one: Any, end: bytes) -> bytes:
    """What a side has heard, once it ends with ``end``."""
    site.until(lambda: one.heard.endswith(end) or one.ended, f"{end!r}")
    assert one.heard.endswith(end), one.heard
    return bytes(one.heard)


def respond(site: Site, server: Any, said: bytes, request: bytes = get()) -> tuple[Any, Any]:
    """Let a client ask, and the server say something."""
    client = site.client().send(request)
    site.until(lambda: server.asked, "the request")
    server.served[0].say(said)
    return client, server.served[0]


def parts(message: bytes) -> tuple[bytes, bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    return head, body


def unchunked(body: bytes) -> bytes:
    reader = ChunkedBody(decode=True, response=True)
    pieces, used = reader.feed(body)
    assert reader.done
    assert used == len(body)
    return b"".join(pieces)


# Responses


def test_a_response_that_comes_whole_gets_the_length_that_it_has_then(site: Site) -> None:
    server = start(site, "mark")
    client, _ = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    head, body = parts(client.answer())
    assert body == b"!okend!"
    assert b"Content-Length: 7" in head
    assert b"X-Filtered: !" in head
    client.send(get())
    site.until(lambda: len(server.asked) == 2, "another request over the same connections")
    assert len(server.served) == 1


def test_one_that_comes_in_pieces_is_sent_in_chunks(site: Site) -> None:
    server = start(site, "mark")
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    site.until(lambda: b"!ab" in client.heard, "the first piece, before the rest is there")
    one.say(b"cd")
    head, body = parts(heard(site, client, b"\r\n0\r\n\r\n"))
    assert b"ransfer-Encoding: chunked" in head
    assert b"ontent-Length" not in head
    assert unchunked(body) == b"!ab!cdend!"


def test_clients_of_http_1_0_get_it_until_the_connection_closes(site: Site) -> None:
    server = start(site, "mark")
    client, one = respond(
        site,
        server,
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab",
        get("/", "Connection: keep-alive", version="1.0"),
    )
    site.until(lambda: b"!ab" in client.heard, "the first piece")
    one.say(b"cd")
    site.until(lambda: client.ended, "the end")
    head, body = parts(client.heard)
    assert body == b"!ab!cdend!"
    assert b"Connection: close" in head
    assert b"ontent-Length" not in head
    assert b"hunked" not in head


def test_chunks_of_a_server_are_filtered_without_their_framing(site: Site) -> None:
    server = start(site, "mark")
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\n" + CHUNKED.encode() + b"\r\n\r\n1\r\na\r\n2\r\nbc\r\n")
    site.until(lambda: b"!abc" in client.heard, "what was in the chunks")
    one.say(b"1;x=y\r\nd\r\n0\r\nX-Trailer: 1\r\n\r\n")
    _, body = parts(heard(site, client, b"\r\n0\r\n\r\n"))
    assert unchunked(body) == b"!abc!dend!"
    site.until(lambda: site.server().idle is not None and len(site.server().idle), "the connection in the pool")


def test_a_body_until_close_ends_with_the_connection(site: Site) -> None:
    server = start(site, "mark")
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\n\r\nab")
    site.until(lambda: b"!ab" in client.heard, "the first piece")
    one.close()
    _, body = parts(heard(site, client, b"\r\n0\r\n\r\n"))
    assert unchunked(body) == b"!abend!"


def test_a_body_that_was_cut_is_never_ended(site: Site) -> None:
    server = start(site, "mark")
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    site.until(lambda: b"!ab" in client.heard, "the first piece")
    one.close()
    site.until(lambda: client.ended, "the end")
    assert b"end!" not in client.heard
    assert not client.heard.endswith(b"0\r\n\r\n")


def test_who_keeps_the_length_keeps_the_framing(site: Site) -> None:
    server = start(site, "upper")
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    site.until(lambda: client.heard.endswith(b"AB"), "the first piece")
    one.say(b"cd")
    head, body = parts(client.answer())
    assert (b"Content-Length: 4" in head, body) == (True, b"ABCD")


def test_several_filters_work_in_their_order(site: Site) -> None:
    server = start(site, {"use": "mark", "text": "a"}, "upper", {"use": "mark", "text": "b"})
    client, _ = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert parts(client.answer())[1] == b"bAOKENDAendb"


def test_a_filter_that_declines_leaves_a_message_as_it_is(site: Site) -> None:
    server = start(site, "mark")
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Skip: 1\r\n\r\nok"
    client, _ = respond(site, server, said)
    assert client.answer() == said


@pytest.mark.parametrize(
    ("method", "status", "keeps"), [("HEAD", 200, False), ("GET", 304, False), ("HEAD", 200, True)]
)
def test_a_response_without_a_body_names_no_length_that_a_filter_would_change(
    site: Site, method: str, status: int, keeps: bool
) -> None:
    server = start(site, "upper" if keeps else "mark")
    said = f"HTTP/1.1 {status} OK\r\nContent-Length: 2\r\n\r\n".encode()
    client, _ = respond(site, server, said, get(method=method))
    head = heard(site, client, b"\r\n\r\n")
    assert (b"ontent-Length: 2" in head) == keeps
    assert b"X-Filtered" in head
    client.send(get("/again"))
    site.until(lambda: len(server.asked) == 2, "another request")


# Requests


def test_a_request_is_sent_in_chunks_if_its_length_may_change(site: Site) -> None:
    server = start(site, {"use": "mark", "on": "request"}, raw=True)
    client = site.client().send(post(b"abcd")[:-2])
    one = served(site, server, client)
    site.until(lambda: b"!ab" in one.heard, "the first piece")
    client.send(b"cd")
    head, body = parts(heard(site, one, b"\r\n0\r\n\r\n"))
    assert b"ransfer-Encoding: chunked" in head
    assert b"ontent-Length" not in head
    assert b"X-Filtered: !" in head
    assert unchunked(body) == b"!ab!cdend!"
    one.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.status() == 200


def test_a_request_in_chunks_is_filtered_without_its_framing(site: Site) -> None:
    server = start(site, {"use": "mark", "on": "request"}, raw=True)
    client = site.client().send(get("/", CHUNKED, method="PUT") + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n" + get("/next"))
    one = served(site, server, client)
    _, body = parts(heard(site, one, b"\r\n0\r\n\r\n"))
    assert unchunked(body) == b"!abcend!"
    one.heard = b""
    one.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.status() == 200
    assert heard(site, one, b"\r\n\r\n").startswith(b"GET /next "), "the next request, which came along"


def test_a_request_keeps_its_length_if_the_filter_does(site: Site) -> None:
    server = start(site, {"use": "upper", "on": "request"})
    client = site.client().send(post(b"abcd"))
    site.until(lambda: server.asked, "the request")
    head, body = parts(server.asked[0])
    assert (b"Content-Length: 4" in head, body) == (True, b"ABCD")
    server.served[0].say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.status() == 200


def test_a_held_request_is_filtered_first_and_has_a_length(site: Site) -> None:
    server = start(site, {"use": "mark", "on": "request"}, of_frontend={"buffer_request": True})
    site.client().send(post(b"abcd"))
    site.until(lambda: server.asked, "the request")
    head, body = parts(server.asked[0])
    assert (b"Content-Length: 9" in head, body) == (True, b"!abcdend!")


def test_max_body_refuses_a_length_before_a_server_is_asked(site: Site) -> None:
    server = start(site, {"use": "max_body", "max_bytes": 10})
    client = site.client().send(get("/", "Content-Length: 11", method="POST"))
    assert client.status() == 413
    assert not server.served
    (record,) = site.running.records(1)
    assert (record["ending"], record["stage"], record["status"]) == ("PR", "body", 413)


def test_max_body_refuses_chunks_in_mid_body(site: Site) -> None:
    server = start(site, {"use": "max_body", "max_bytes": 10}, raw=True)
    client = site.client().send(get("/", CHUNKED, method="POST") + b"a\r\n1234567890\r\n")
    one = served(site, server, client)
    site.until(lambda: b"1234567890" in one.heard, "what is not too much")
    client.send(b"1\r\n1\r\n0\r\n\r\n")
    assert client.status() == 413
    site.until(lambda: one.ended, "the end of the connection to the server")
    assert not one.heard.endswith(b"0\r\n\r\n"), "the server was told that this was all"
    (record,) = site.running.records(1)
    assert (record["ending"], record["status"]) == ("PH", 413)


# Failures

STATUS_OF = {
    "raises": 500,
    "nonsense": 500,
    "bomb": 500,
    "lies": 500,
    "head raises": 500,
    "deny": 422,
    "deny head": 451,
}


@pytest.mark.parametrize("how", STATUS_OF)
def test_whoever_fails_before_the_response_has_begun_is_answered(site: Site, how: str) -> None:
    server = start(site, {"use": "broken", "how": how})
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnow")
    assert client.status() == STATUS_OF[how]
    site.until(lambda: one.ended, "the end of the connection to the server")
    (record,) = site.running.records(1)
    refused = how.startswith("deny")
    assert record["ending"] == ("PH" if refused else "IH")
    assert record["plugin"] == ("" if refused else "tests.loopback.lb_bodies")
    assert site.running.process.plugin_failures["tests.loopback.lb_bodies"] == (0 if refused else 1)
    server.answer = lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Skip: 1\r\n\r\nother"
    assert client.ask() == 200, "the next request on this connection was hurt too"


@pytest.mark.parametrize("how", ["raises", "nonsense", "bomb", "lies", "deny"])
def test_whoever_fails_later_has_the_client_cut_off(site: Site, how: str) -> None:
    server = start(site, {"use": "broken", "how": how})
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nbefore")
    site.until(lambda: b"before" in client.heard, "the beginning")
    one.say(b" now it")
    site.until(lambda: client.ended, "the end")
    assert b"now" not in client.heard
    assert not client.heard.endswith(b"0\r\n\r\n")
    (record,) = site.running.records(1)
    assert record["ending"] == ("PD" if how == "deny" else "ID")


@pytest.mark.parametrize("how", STATUS_OF)
def test_whoever_fails_in_a_request_is_answered(site: Site, how: str) -> None:
    server = start(site, {"use": "broken", "how": how, "on": "request"})
    client = site.client().send(post(b"before now")[:-3])
    if not how.endswith(("head", "head raises")):
        site.until(lambda: server.served and b"before" in server.served[0].heard, "the beginning")
        client.send(b"now")
    assert client.status() == STATUS_OF[how]
    assert all(b"now" not in one.heard for one in server.served)
    site.until(lambda: not server.open, "the end of the connection to the server")


# Back-pressure


@pytest.mark.parametrize("grows", [False, True])
def test_a_filtered_response_waits_for_a_client_that_does_not_read(site: Site, grows: bool) -> None:
    server = start(site, {"use": "mark", "text": "12345678" * (4096 if grows else 1)})
    client, one = respond(site, server, b"HTTP/1.1 200 OK\r\n\r\n")
    reader, client.turn = client.turn, lambda: None
    one.sock.setblocking(False)
    sent, still = 0, 0
    while still < 50:
        try:
            sent += one.sock.send(b"x" * 65536)
            still = 0
        except BlockingIOError:
            still += 1
        site.turn()
    (session,) = site.running.process.sessions
    unsent = len(session.client._pending)  # type: ignore[attr-defined]
    assert 65536 < unsent <= 64 * 1024 + (1 << 20) + 100
    client.turn = reader
    site.until(lambda: one.ended or client.heard.count(b"x") == sent, "all of it")
    assert client.heard.count(b"x") == sent
