"""HTTP mode: servers that cannot be connected to: tried again, tried elsewhere, and 503 in the end."""

import http.client
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Site, get, post, whole
from tests.loopback.servers import Server
from tests.loopback.traffic import reset_on_close
from tests.whole import run

pytestmark = pytest.mark.linux


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


@pytest.fixture
def dead() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def summary(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["status"], record["ending"], record["stage"], record["retries"], record["redispatched"]


@pytest.mark.parametrize("request_", [get(), post()])
def test_a_server_that_refuses_is_tried_again_and_then_there_is_a_503(site: Site, dead: str, request_: bytes) -> None:
    site.start(dead, retries=2, timeouts={"connect": "1s"})
    client = site.client().send(request_)
    site.pass_time(1.5)
    assert not client.heard, "it gave up before its last attempt"
    site.pass_time(1)
    assert client.status() == 503
    (record,) = site.running.records(1)
    assert summary(record) == (503, "SC", "connect", 2, False)
    assert record["connect_ms"] >= 2000
    assert site.server().connections == 0


def test_the_client_of_a_503_may_ask_again(site: Site, dead: str) -> None:
    server = site.upstream()
    site.start(dead, retries=0)
    client = site.client()
    assert client.ask(get("/1")) == 503
    assert client.ask(get("/2")) == 503
    site.running.reload(site.config(server))
    assert site.client().ask() == 200


def test_the_last_retry_goes_to_another_server_with_the_whole_request(site: Site, dead: str) -> None:
    server = site.upstream()
    site.start(dead, server, retries=1, balance="first")
    client = site.client()
    assert client.ask(post(b"something to keep")) == 200
    assert server.asked[0].endswith(b"\r\n\r\nsomething to keep")
    assert summary(site.running.records(1)[0]) == (200, "--", "relay", 1, True)
    assert client.ask() == 200
    assert len(server.served) == 1, "the connection that came about in the end is kept as any other"
    assert [one.connections for one in (site.server("s1"), site.server("s2"))] == [0, 0]


def test_without_redispatch_no_other_server_is_tried(site: Site, dead: str) -> None:
    server = site.upstream()
    site.start(dead, server, retries=1, redispatch=0, balance="first", timeouts={"connect": "1s"})
    client = site.client().send(get())
    site.pass_time(1.2)
    assert client.status() == 503
    assert not server.asked


def test_a_server_that_does_not_answer_the_knock_is_given_up_in_time(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for one in fillers:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        site.start(f"127.0.0.1:{full.getsockname()[1]}", retries=0, timeouts={"connect": "1s"})
        client = site.client().send(get())
        site.pass_time(1.2)
        assert client.status() == 503
        for one in fillers:
            one.close()
    assert summary(site.running.records(1)[0]) == (503, "sC", "connect", 0, False)


def test_a_replay_that_cannot_be_connected_is_tried_elsewhere(site: Site) -> None:
    # The server is killed: its idle connection ends when the request has been sent, and it listens no more.
    first, second = site.upstream(), site.upstream()
    site.start(first, second, retries=1, balance="first")
    client = site.client()
    client.ask()

    def die(request: bytes) -> None:
        first._listening.close()
        first.served[0].close(reset=True)
        site.upstreams.remove(first)

    first.answer = die
    assert client.ask() == 200
    assert len(second.asked) == 1
    assert summary(site.running.records(2)[1]) == (200, "--", "relay", 2, True)


# Through Twisted's own transports


def serve(sock: socket.socket) -> None:
    """Answer requests until one wants the connection closed right then."""
    data = b""
    while more := sock.recv(65536):
        data += more
        while size := whole(data):
            request, data = data[:size], data[size:]
            if b"/close" in request:
                return
            sock.sendall(OK)


def test_servers_that_close_as_they_please_are_not_noticed_by_who_only_reads(
    proxy: Any, tcp_config: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    chance = random.Random(5)

    def serve_a_few(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while size := whole(data):
                data = data[size:]
                sock.sendall(OK)
                if chance.random() < 0.2:
                    if chance.random() < 0.5:
                        reset_on_close(sock)
                    return

    port, servers = free_port(), [Server(serve_a_few) for _ in range(2)]
    running = proxy(tcp_config(f"127.0.0.1:{port}", *(f"127.0.0.1:{one.port}" for one in servers), mode="http"))
    with ThreadPoolExecutor(4) as clients:
        statuses = [one.result() for one in [clients.submit(answers, port, *["/"] * 100) for _ in range(4)]]
    assert statuses == [[200] * 100] * 4
    assert {record["ending"] for record in running.records(400)} == {"--"}
    assert sum(one.accepted for one in servers) > 20, "hardly any connection was closed"
    for one in servers:
        one.close()


def answers(port: int, *paths: str) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    statuses = []
    for path in paths:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    return statuses


@pytest.mark.parametrize("kind", ["stream to endpoint", "endpoint to stream", "endpoint to endpoint"])
def test_endpoints_pool_and_repeat_as_well(
    proxy: Any, tcp_config: Callable[..., Any], free_port: Callable[[], int], kind: str
) -> None:
    port, server = free_port(), Server(serve)
    bind, _, to = kind.partition(" to ")
    address = f"tcp:{port}:interface=127.0.0.1" if bind == "endpoint" else f"127.0.0.1:{port}"
    upstream = f"tcp:127.0.0.1:{server.port}" if to == "endpoint" else f"127.0.0.1:{server.port}"
    running = proxy(tcp_config(address, upstream, mode="http"))
    assert answers(port, *["/"] * 20) == [200] * 20
    assert answers(port, "/") == [200]
    assert server.accepted == 1
    assert answers(port, "/close", "/") == [502, 200], "it was sent once more over a fresh connection, and then no more"
    assert server.accepted == 3
    records = running.records(23)
    assert {record["ending"] for record in records} == {"--", "SH"}
    server.close()
