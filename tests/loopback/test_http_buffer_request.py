"""``buffer_request`` and ``min_rate``: bodies that are here before a server is chosen, or that come too slowly."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Site, get, post
from tests.whole import run

pytestmark = pytest.mark.linux
CHUNKED = "Transfer-Encoding: chunked"
MAX = 4 * 1024 * 1024


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "held").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "held"))
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def start(site: Site, buffer_request: Any = True, answer: Any = lambda request: OK, **settings: Any) -> Any:
    server = site.upstream(answer)
    of_frontend = {"buffer_request": buffer_request, **settings.pop("of_frontend", {})}
    site.start(server, of_frontend=of_frontend, **settings)
    return server


def parts(message: bytes) -> tuple[bytes, bytes]:
    head, _, body = bytes(message).partition(b"\r\n\r\n")
    return head, body


def send_all(site: Site, client: Any, data: bytes) -> None:
    """Send more than the kernel takes at once."""
    while data:
        try:
            data = data[client.sock.send(data) :]
        except BlockingIOError:
            site.turn()


def files() -> int:
    """How many files without a name this process has open."""
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and "(deleted)" in os.readlink(link) for link in links)


# Holding


def test_no_server_is_connected_to_before_the_body_is_here(site: Site) -> None:
    server = start(site)
    client = site.client().send(post(b"abcd")[:-1])
    site.settle()
    assert not server.served
    (session,) = site.running.process.sessions
    assert session.stage.name == "BODY"  # type: ignore[attr-defined]
    client.send(b"d" + get("/next"))
    assert (client.status(), client.status()) == (200, 200)
    (head, body), (following, _) = map(parts, server.asked)
    assert (b"Content-Length: 4" in head, body) == (True, b"abcd")
    assert following.startswith(b"GET /next ")
    assert len(server.served) == 1


def test_a_request_that_comes_whole_does_not_wait(site: Site) -> None:
    server = start(site)
    client = site.client()
    assert client.ask(post(b"abcd") + b"") == 200
    assert client.ask(get()) == 200
    assert client.ask(get("/", "Content-Length: 0", method="POST")) == 200
    assert [parts(request)[1] for request in server.asked] == [b"abcd", b"", b""]


def test_chunks_are_sent_on_with_the_length_that_they_had_together(site: Site) -> None:
    server = start(site)
    client = site.client().send(get("/", CHUNKED, method="PUT") + b"1\r\na\r\n2;x=y\r\nbc\r\n")
    site.settle()
    assert not server.served
    client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    assert client.status() == 200
    head, body = parts(server.asked[0])
    assert b"Content-Length: 3" in head
    assert b"hunked" not in head
    assert body == b"abc"


@pytest.mark.parametrize("chunks", [False, True])
def test_a_long_body_goes_through_a_file_that_is_gone_afterwards(site: Site, chunks: bool) -> None:
    before = files()
    server = start(site, {"memory": "16KiB", "max": "4MiB"})
    body = os.urandom(MAX)
    client = site.client()
    if chunks:
        client.send(get("/", CHUNKED, method="POST"))
        send_all(site, client, b"".join(b"10000\r\n%b\r\n" % body[at : at + 65536] for at in range(0, MAX, 65536)))
    else:
        client.send(get("/", f"Content-Length: {MAX}", method="POST"))
        send_all(site, client, body[:-1])
    site.settle()
    assert files() == before + 1
    assert not server.served
    send_all(site, client, b"0\r\n\r\n" if chunks else body[-1:])
    for _ in range(300):
        site.pass_time(0.01)
        if server.asked:
            break
    head, got = parts(server.asked[0])
    assert f"Content-Length: {MAX}".encode() in head
    assert got == body
    assert client.status() == 200
    assert files() == before


def test_a_server_that_does_not_read_is_not_sent_more_than_it_takes(site: Site) -> None:
    server = start(site, {"memory": "0B", "max": "64MiB"})
    client = site.client().send(get("/", "Content-Length: 30000000", method="POST"))
    turn, server.turn = server.turn, lambda: None
    send_all(site, client, bytes(30_000_000))
    site.pass_time(2)
    (session,) = site.running.process.sessions
    connection = session.exchange.connection  # type: ignore[attr-defined]
    assert 0 < len(connection.transport._pending) <= 3 * 65536
    server.turn = turn
    for _ in range(2000):
        site.pass_time(0.01)
        if server.asked:
            break
    assert len(parts(server.asked[0])[1]) == 30_000_000
    assert client.status() == 200


def test_who_waits_for_100_gets_it_from_us_and_the_server_is_not_asked(site: Site) -> None:
    server = start(site)
    client = site.client().send(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
    site.until(lambda: client.heard == b"HTTP/1.1 100 Continue\r\n\r\n", "the 100")
    assert not server.served
    client.heard = b""
    assert client.ask(b"abcd") == 200
    assert b"xpect" not in server.asked[0]


def test_who_sends_the_body_anyway_gets_no_100(site: Site) -> None:
    start(site)
    client = site.client().send(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST") + b"abcd")
    assert client.answer() == OK


@pytest.mark.parametrize("waits", [False, True])
def test_a_length_beyond_the_bound_is_refused_before_anything_is_read(site: Site, waits: bool) -> None:
    server = start(site, {"max": "1KiB", "memory": "1KiB"})
    expect = ["Expect: 100-continue"] if waits else []
    client = site.client().send(get("/", "Content-Length: 1025", *expect, method="POST"))
    assert client.status() == 413
    assert not server.served
    (record,) = site.running.records(1)
    assert (record["ending"], record["stage"], record["status"]) == ("PR", "body", 413)


def test_chunks_beyond_the_bound_are_refused_when_they_come(site: Site) -> None:
    start(site, {"max": "1KiB", "memory": "1KiB"})
    client = site.client().send(get("/", CHUNKED, method="POST") + b"400\r\n" + bytes(1024) + b"\r\n")
    site.settle()
    assert not client.heard
    assert client.ask(b"1\r\nx\r\n0\r\n\r\n") == 413


def test_a_broken_body_reaches_no_server(site: Site) -> None:
    server = start(site)
    client = site.client().send(get("/", CHUNKED, method="POST") + b"1\r\nx\r\n")
    site.settle()
    assert client.ask(b"no size\r\n") == 400
    assert not server.served


def test_a_client_that_leaves_is_forgotten(site: Site) -> None:
    before = files()
    start(site, {"memory": "0B"})
    client = site.client().send(post(b"abcd")[:-1])
    site.until(lambda: files() == before + 1, "the file")
    client.close()
    (record,) = site.running.records(1)
    assert (record["ending"], record["stage"]) == ("CR", "body")
    assert files() == before


def test_a_client_that_sends_no_more_is_still_answered(site: Site) -> None:
    start(site)
    client = site.client().send(post(b"abcd"))
    client.sock.shutdown(1)
    assert client.status() == 200


@pytest.mark.parametrize("trouble", ["folder", "disk"])
def test_trouble_with_the_file_is_answered_and_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "folder":
        monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    else:
        monkeypatch.setattr("tempfile.TemporaryFile", lambda buffering: open("/dev/full", "r+b", 0))  # noqa: SIM115
    server = start(site, {"memory": "0B"})
    assert site.client().ask(post(b"abcd")) == 503
    assert not server.served
    (record,) = site.running.records(1)
    assert (record["ending"], record["stage"]) == ("RR", "body")
    assert (
        record["reason"]
        == f"temporary file: {'No such file or directory' if trouble == 'folder' else 'No space left on device'}"
    )
    assert site.running.process.complaints["frontend web"] == 1


# Sending it again


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_held_request_is_sent_to_another_server_if_the_first_cannot_be_reached(site: Site, method: str) -> None:
    gone, server = site.upstream(), site.upstream()
    site.start(gone, server, of_frontend={"buffer_request": {"memory": "0B"}}, redispatch=1, balance="first")
    gone.close()
    site.upstreams.remove(gone)
    client = site.client().send(get("/", "Content-Length: 4", method=method) + b"abcd")
    for _ in range(40):
        site.pass_time(0.1)
    assert client.status() == 200
    assert parts(server.asked[0])[1] == b"abcd"


def test_a_held_request_that_may_be_repeated_survives_a_stale_connection(site: Site) -> None:
    server = start(site, {"memory": "0B"})
    client = site.client()
    assert client.ask(get()) == 200
    server.answer = lambda request: None
    client.send(get("/", "Content-Length: 4", method="PUT") + b"abcd")
    site.until(lambda: len(server.asked) == 2, "the request")
    server.answer = lambda request: OK
    server.served[0].close()
    assert client.status() == 200
    assert [parts(request)[1] for request in server.asked] == [b"", b"abcd", b"abcd"]


# Time


@pytest.mark.parametrize(("absolute", "ended"), [(True, True), (False, False)])
def test_the_timer_of_requests_covers_the_body_if_it_is_set(site: Site, absolute: bool, ended: bool) -> None:
    timeouts = {"client": "3s", **({"http_request": "5s"} if absolute else {})}
    server = start(site, of_frontend={"timeouts": timeouts})
    client = site.client().send(get("/", "Content-Length: 100", method="POST"))
    for _ in range(6):
        client.send(b"x")
        site.pass_time(1)
    assert bool(client.heard) == ended
    assert not server.served
    if not ended:
        site.pass_time(3)
    assert client.status() == 408
    (record,) = site.running.records(1)
    assert (record["ending"], record["stage"], record["status"]) == ("cR", "body", 408)


def test_the_head_s_time_is_part_of_it(site: Site) -> None:
    start(site, of_frontend={"timeouts": {"http_request": "5s"}})
    head = get("/", "Content-Length: 100", method="POST")
    client = site.client().send(head[:10])
    site.pass_time(3)
    client.send(head[10:])
    site.pass_time(1.5)
    assert not client.heard
    site.pass_time(1.2)
    assert client.status() == 408


# min_rate


def rated(site: Site, hold: bool, **timeouts: str) -> Any:
    frontend = {"min_rate": {"rate": "100B", "after": "2s"}, "timeouts": {"client": "60s", **timeouts}}
    return start(site, hold, answer=lambda request: None, of_frontend=frontend)


@pytest.mark.parametrize("hold", [True, False])
def test_a_body_that_comes_too_slowly_gets_408(site: Site, hold: bool) -> None:
    rated(site, hold)
    client = site.client().send(get("/", "Content-Length: 1000", method="POST") + bytes(300))
    site.pass_time(2.5)
    assert not client.heard, "what has come is enough for three seconds"
    site.pass_time(1)
    assert client.status() == 408
    (record,) = site.running.records(1)
    assert (record["ending"], record["status"], record["reason"]) == (
        "cR" if hold else "cH",
        408,
        "slower than min_rate",
    )


@pytest.mark.parametrize("hold", [True, False])
def test_a_body_that_comes_fast_enough_is_let_be(site: Site, hold: bool) -> None:
    server = rated(site, hold)
    client = site.client().send(get("/", "Content-Length: 1000", method="POST"))
    for _ in range(8):
        client.send(bytes(125))
        site.pass_time(1)
    site.until(lambda: server.asked, "the request")
    server.served[0].say(OK)
    assert client.status() == 200


def test_the_rate_is_that_of_each_request(site: Site) -> None:
    server = rated(site, False)
    client = site.client().send(post(bytes(100_000)))
    site.until(lambda: server.asked, "the request")
    server.served[0].say(OK)
    assert client.status() == 200
    site.pass_time(1)
    client.send(get("/", "Content-Length: 1000", method="POST"))
    site.pass_time(2.2)
    assert client.status() == 408


def test_a_client_that_is_too_slow_while_it_is_answered_is_cut_off(site: Site) -> None:
    server = rated(site, False)
    client = site.client().send(get("/", "Content-Length: 1000", method="POST"))
    site.until(lambda: server.served and server.served[0].heard, "the head")
    server.served[0].say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly")
    site.until(lambda: b"early" in client.heard, "the beginning of the answer")
    site.pass_time(2.2)
    site.until(lambda: client.ended, "the end")
    (record,) = site.running.records(1)
    assert (record["ending"], record["status"]) == ("cD", 200)


def test_a_queue_does_not_count(site: Site) -> None:
    server = site.upstream(lambda request: None)
    frontend = {"min_rate": {"rate": "100B", "after": "1s"}}
    site.start({"address": server.address, "maxconn": 1}, of_frontend=frontend, timeouts={"queue": "30s"})
    first = site.client().send(get())
    site.until(lambda: server.asked, "the first request")
    client = site.client().send(get("/", "Content-Length: 4", method="POST"))
    site.pass_time(10)
    server.served[0].say(OK)
    assert first.status() == 200
    site.settle()
    client.send(b"abcd")
    site.until(lambda: len(server.asked) == 2, "the second request")
    server.served[-1].say(OK)
    assert client.status() == 200


def test_a_server_that_does_not_read_does_not_count(site: Site) -> None:
    server = rated(site, False)
    turn, server.turn = server.turn, lambda: None
    client = site.client().send(get("/", "Content-Length: 20000000", method="POST"))
    body = bytes(20_000_000)
    still = 0
    while still < 50:
        try:
            body = body[client.sock.send(body) :]
            still = 0
        except BlockingIOError:
            still += 1
            site.turn()
    site.pass_time(25)
    assert not client.heard
    server.turn = turn
    send_all(site, client, body)
    site.until(lambda: server.asked, "the request")
    server.served[0].say(OK)
    assert client.status() == 200


def test_a_body_that_stands_still_is_the_client_s_fault(site: Site) -> None:
    start(site, False, of_frontend={"timeouts": {"client": "3s"}}, timeouts={"server": "30s"})
    client = site.client().send(post(b"abcd")[:-1])
    site.pass_time(3.5)
    assert client.status() == 408
    (record,) = site.running.records(1)
    assert record["ending"] == "cH"
