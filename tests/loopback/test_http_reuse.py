"""Which requests share connections to a server, and what becomes of those that wait for a request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import OK, Client, Served, Site, Upstream, get, post
from tests.whole import run

pytestmark = pytest.mark.linux

CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for running in run(tmp_path, monkeypatch):
        made = Site(running)
        yield made
        made.close()


def ended(site: Site, client: Client | Served) -> None:
    site.until(lambda: client.ended, "the end of the connection")


# How many connections there are


def test_a_hundred_requests_of_one_client_take_one_connection(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    assert [client.ask(get(f"/{number}")) for number in range(100)] == [200] * 100
    assert len(server.served) == 1
    assert len(server.asked) == 100


def test_a_hundred_clients_one_after_the_other_take_one_connection(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    for _ in range(100):
        client = site.client()
        assert client.ask(get("/", "Connection: close")) == 200
        ended(site, client)
    assert len(server.served) == 1
    assert len(server.asked) == 100


def test_requests_at_the_same_time_take_a_connection_each_and_the_next_take_those(site: Site) -> None:
    server = site.upstream(lambda request: None)
    site.start(server)
    clients = [site.client().send(get()) for _ in range(3)]
    site.until(lambda: len(server.asked) == 3, "three requests")
    for one in server.served:
        one.say(OK)
    assert [client.status() for client in clients] == [200] * 3
    server.answer = lambda request: OK
    assert [client.ask() for client in clients] == [200] * 3
    assert len(server.served) == 3


@pytest.mark.parametrize(
    ("level", "connections"), [("never", [2, 3]), ("safe", [2, 2]), ("aggressive", [1, 1]), ("always", [1, 1])]
)
def test_the_first_request_that_nobody_could_repeat_shares_as_the_level_says(
    site: Site, level: str, connections: list[int]
) -> None:
    server = site.upstream()
    site.start(server, http_reuse=level)
    first = site.client()
    first.ask()
    first.ask()  # so the connection has been used again, which is what aggressive wants to see
    second = site.client()
    assert second.ask(post()) == 200
    assert len(server.served) == connections[0]
    assert site.client().ask(get()) == 200, "one that can be repeated shares at every level but never"
    assert len(server.served) == connections[1]


def test_aggressive_wants_a_connection_that_was_used_again(site: Site) -> None:
    server = site.upstream()
    site.start(server, http_reuse="aggressive")
    site.client().ask()
    assert site.client().ask(post()) == 200
    assert len(server.served) == 2


def test_never_keeps_a_client_s_connection_for_it_and_closes_it_with_the_client(site: Site) -> None:
    server = site.upstream()
    site.start(server, http_reuse="never")
    client = site.client()
    assert [client.ask() for _ in range(3)] == [200] * 3
    assert len(server.served) == 1
    client.close()
    ended(site, server.served[0])


# When a connection is not kept


@pytest.mark.parametrize("answer", [CLOSING, OK.replace(b"1.1", b"1.0"), OK + b"more than there was to say"])
def test_what_the_server_will_close_is_not_kept(site: Site, answer: bytes) -> None:
    server = site.upstream(lambda request: answer)
    site.start(server)
    client = site.client()
    assert [client.ask(), client.ask()] == [200, 200]
    assert len(server.served) == 2
    ended(site, server.served[0])


def test_a_server_of_http_1_0_may_ask_to_be_kept(site: Site) -> None:
    server = site.upstream(lambda request: OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nConnection: keep-alive"))
    site.start(server)
    client = site.client()
    assert [client.ask(), client.ask()] == [200, 200]
    assert len(server.served) == 1


def test_http_server_close_says_so_and_does_so(site: Site) -> None:
    server = site.upstream()
    site.start(server, http_server_close=True)
    client = site.client()
    assert [client.ask(), client.ask()] == [200, 200]
    assert len(server.served) == 2
    assert all(b"\r\nconnection: close\r\n" in request.lower() for request in server.asked)
    ended(site, server.served[1])


def test_a_server_that_answers_before_it_has_the_whole_request_is_not_kept(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    client.send(get("/", "Content-Length: 10", method="POST") + b"half")
    site.until(lambda: server.served and server.served[0].heard, "a part of the request")
    server.served[0].say(OK)
    assert client.status() == 200
    ended(site, server.served[0])


def test_a_slow_reader_s_connection_serves_others_and_is_read_again(site: Site) -> None:
    size = 8 * 1024 * 1024
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    server = site.upstream(lambda request: None)
    site.start(server)
    slow = site.client()
    slow.turn = lambda: None  # type: ignore[method-assign]
    slow.send(get())
    site.until(lambda: server.asked, "the request")
    server.served[0].sock.setblocking(False)
    rest = memoryview(head + bytes(size))

    def sent() -> bool:
        nonlocal rest
        try:
            rest = rest[server.served[0].sock.send(rest) :]
        except BlockingIOError:
            slow.heard += slow.sock.recv(65536)
        return not rest

    site.until(sent, "all of the response, of which the client has not read all")
    del slow.turn
    assert slow.status() == 200
    server.answer = lambda request: OK
    assert site.client().ask() == 200, "the connection was kept, but nobody listens to it"
    assert len(server.served) == 1


# While a connection waits


@pytest.mark.parametrize("how", ["closed", "reset", "talking"])
def test_an_idle_connection_that_ends_is_not_noticed_by_any_client(site: Site, how: str) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    client.ask()
    if how == "talking":
        server.served[0].say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    else:
        server.served[0].close(reset=how == "reset")
    site.settle()
    assert len(site.server().idle) == 0
    assert [client.ask(), client.ask(post())] == [200, 200]
    assert len(server.served) == 2


def test_idle_connections_are_closed_after_their_time(site: Site) -> None:
    server = site.upstream()
    site.start(server, pool={"idle_timeout": "2s"})
    client = site.client()
    client.ask()
    site.pass_time(1.5)
    client.ask()
    site.pass_time(1.5)
    assert server.open == 1, "it was used meanwhile"
    site.pass_time(1)
    ended(site, server.served[0])
    assert client.ask() == 200


@pytest.mark.parametrize(("maximum", "left"), [(0, 0), (2, 2), (100, 5)])
def test_no_more_than_pool_max_wait(site: Site, maximum: int, left: int) -> None:
    server = site.upstream(lambda request: None)
    site.start(server, pool={"max": maximum})
    clients = [site.client().send(get()) for _ in range(5)]
    site.until(lambda: len(server.asked) == 5, "five requests")
    for one in server.served:
        one.say(OK)
    assert [client.status() for client in clients] == [200] * 5
    site.settle()
    assert (server.open, len(site.server().idle)) == (left, left)


# Sent once more


def racing(site: Site, reset: bool) -> Upstream:
    """A server that closes an idle connection exactly when a second request arrives on it, and never again."""
    server = site.upstream()

    def answer(request: bytes) -> bytes | None:
        first = server.served[0]
        if len(server.served) == 1 and len(first.asked) == 2:
            first.close(reset)
            return None
        return OK

    server.answer = answer
    return server


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_request_is_sent_again_once_on_a_fresh_connection(site: Site, method: str, reset: bool) -> None:
    server = racing(site, reset)
    site.start(server)
    site.client().ask()
    client = site.client()
    request = get("/", method=method)
    if method == "HEAD":
        client.send(request)
        site.until(lambda: b"\r\n\r\n" in client.heard, "a head")
        assert client.heard.startswith(b"HTTP/1.1 200 ")
    else:
        assert client.ask(request) == 200
    assert [len(one.asked) for one in server.served] == [2, 1]
    client.close()
    record = site.running.records(2)[1]
    assert (record["status"], record["ending"], record["retries"]) == (200, "--", 1)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_", [post(), get("/", method="DELETE"), get("/", "Content-Length: 2") + b"{}"])
def test_what_may_not_be_repeated_is_answered_with_502(site: Site, request_: bytes, reset: bool) -> None:
    server = racing(site, reset)
    site.start(server)
    client = site.client()
    client.ask()
    assert client.ask(request_) == 502
    assert len(server.served) == 1, "it was sent twice"
    record = site.running.records(2)[1]
    assert (record["status"], record["ending"], record["stage"]) == (502, "SH", "response")
    assert client.ask() == 200, "the client's connection goes on"


def test_what_may_not_be_repeated_does_not_go_over_a_connection_that_is_closed_already(site: Site) -> None:
    # The server's FIN and the request arrive in one batch of events, and the request is looked at first.
    server = site.upstream()
    site.start(server)
    client = site.client()
    client.ask()
    client.send(post())
    server.served[0].close()
    poller = site.running.poller
    events = poller.epoll.poll(1)
    assert len(events) == 2
    of_server = site.server().idle.take()
    site.server().idle.put(of_server, 0.0)
    poller.dispatch(sorted(events, key=lambda event: event[0] == of_server.transport.fd))
    assert client.status() == 200
    assert len(server.served) == 2


def test_a_fresh_connection_that_is_closed_without_a_word_is_not_tried_again(site: Site) -> None:
    server = site.upstream(lambda request: None)
    site.start(server)
    client = site.client().send(get())
    site.until(lambda: server.asked, "the request")
    server.served[0].close()
    assert client.status() == 502
    assert len(server.served) == 1


def test_a_request_is_repeated_once_only(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    client.ask()

    def close(request: bytes) -> None:
        next(one for one in server.served if not one.ended).close()

    server.answer = close
    assert client.ask() == 502
    assert len(server.served) == 2
    record = site.running.records(2)[1]
    assert (record["status"], record["ending"], record["retries"]) == (502, "SH", 1)


@pytest.mark.parametrize("begun", [b"HTTP/1.1 2", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_response_that_has_begun_is_not_asked_for_again(site: Site, begun: bytes) -> None:
    server = site.upstream()
    site.start(server)
    client = site.client()
    client.ask()

    def begin(request: bytes) -> None:
        server.served[0].say(begun)

    server.answer = begin
    client.send(get())
    site.until(lambda: len(server.asked) == 2, "the request")
    site.settle()
    server.served[0].close()
    site.until(lambda: b" 502 " in client.heard, "a 502")
    assert len(server.served) == 1


# Whose connections they are


def test_connections_with_a_proxy_header_belong_to_one_client(site: Site) -> None:
    server = site.upstream(preface=28)
    site.start(server, send_proxy="v2")
    clients = [site.client() for _ in range(3)]
    for _ in range(3):
        assert [client.ask() for client in clients] == [200] * 3
    assert len(server.served) == 3
    assert [len(one.asked) for one in server.served] == [3, 3, 3]
    clients[0].close()
    site.until(lambda: server.open == 2, "the first one's connection closed")
    assert site.client().ask() == 200
    assert len(server.served) == 4


@pytest.mark.root
@pytest.mark.parametrize("source", ["client_ip", "client"])
def test_no_pooled_connection_crosses_clients_when_servers_see_their_addresses(site: Site, source: str) -> None:
    server = site.upstream()
    site.start(server, source=source, pool={"max": 1000}, of_frontend={"accept_proxy": True})
    hosts = [f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in range(200)]
    clients = []
    for host in hosts:
        clients.append(site.client())
        clients[-1].send(f"PROXY TCP4 {host} 127.0.0.1 61234 80\r\n".encode())
    for _ in range(3):
        for host, client in zip(hosts, clients, strict=True):
            assert client.ask(get(f"/{host}")) == 200
    assert len(server.served) == 200
    for one in server.served:
        assert {request.split()[1].decode() for request in one.asked} == {f"/{one.peer[0]}"}
        assert len(one.asked) == 3
        assert source == "client_ip" or one.peer[1] == 61234


@pytest.mark.root
def test_clients_of_one_address_share_where_only_the_address_is_seen(site: Site) -> None:
    server = site.upstream()
    site.start(server, source="client_ip")
    assert [site.client("127.0.0.9").ask() for _ in range(3)] == [200] * 3
    assert len(server.served) == 1
    assert server.served[0].peer[0] == "127.0.0.9"


FROM_HEADER: dict[str, Any] = {"source": "header:X-Real-IP", "of_frontend": {"forwarded": {"except": ["127.0.0.1"]}}}


@pytest.mark.root
@pytest.mark.parametrize("log", ["none", "json"], ids=["express-way", "usual-way"])
def test_a_connection_comes_from_the_address_in_the_header_and_serves_no_other(site: Site, log: str) -> None:
    server = site.upstream()
    frontend = {**FROM_HEADER["of_frontend"], **({"access_log": "none"} if log == "none" else {})}
    site.start(server, **{**FROM_HEADER, "of_frontend": frontend}, pool={"max": 1000})
    clients = [site.client() for _ in range(3)]
    hosts = [f"127.0.9.{number}" for number in range(1, 51)]
    for client in clients:  # each of them is a proxy with requests of everybody
        for host in hosts:
            assert client.ask(get(f"/{host}", f"X-Real-IP: {host}")) == 200
    assert len(server.served) == 50, "requests of one address share a connection, over whichever client they came"
    for one in server.served:
        assert {request.split()[1].decode() for request in one.asked} == {f"/{one.peer[0]}"}
        assert len(one.asked) == 3


@pytest.mark.root
@pytest.mark.parametrize("settings", [{"http_reuse": "never"}, {"send_proxy": "v2"}])
def test_nor_does_one_that_belongs_to_a_client_if_that_is_a_proxy(site: Site, settings: dict[str, str]) -> None:
    server = site.upstream(preface=28 if "send_proxy" in settings else 0)
    site.start(server, **FROM_HEADER, **settings)
    client = site.client()
    for host in ("127.0.9.1", "127.0.9.2", "127.0.9.1", "127.0.9.2"):
        assert client.ask(get(f"/{host}", f"X-Real-IP: {host}")) == 200
    assert len(server.served) == 2
    for one in server.served:
        assert {request.split()[1].decode() for request in one.asked} == {f"/{one.peer[0]}"}


@pytest.mark.root
def test_who_is_believed_is_asked_of_the_address_that_a_proxy_header_names(site: Site) -> None:
    server = site.upstream()
    frontend = {"accept_proxy": True, "forwarded": {"except": ["192.0.2.50"]}}
    site.start(server, source="header:X-Real-IP", of_frontend=frontend)
    for claimed, status in (("192.0.2.50", 200), ("127.0.0.1", 503)):
        client = site.client()
        client.send(f"PROXY TCP4 {claimed} 127.0.0.1 61234 80\r\n".encode())
        assert client.ask(get("/", "X-Real-IP: 127.0.9.1")) == status
    assert [one.peer[0] for one in server.served] == ["127.0.9.1"]


@pytest.mark.root
def test_who_is_believed_no_more_is_refused_from_the_reload_on(site: Site) -> None:
    server = site.upstream()
    site.start(server, **FROM_HEADER)
    before = site.client()
    assert before.ask(get("/", "X-Real-IP: 127.0.9.1")) == 200
    frontend = {"forwarded": {"except": ["127.0.0.2"]}}
    site.running.reload(site.config(server, source="header:X-Real-IP", of_frontend=frontend))
    for client in (before, site.client()):
        assert client.ask(get("/", "X-Real-IP: 127.0.9.1")) == 503
    assert site.client("127.0.0.2").ask(get("/", "X-Real-IP: 127.0.9.1")) == 200


@pytest.mark.root
def test_who_logs_in_shares_with_nobody_behind_the_same_proxy(site: Site) -> None:
    server = site.upstream()
    site.start(server, **FROM_HEADER)
    client = site.client()
    login = "Authorization: NTLM abc"
    assert client.ask(get("/one", "X-Real-IP: 127.0.9.1", login)) == 200
    assert client.ask(get("/two", "X-Real-IP: 127.0.9.2")) == 200
    assert client.ask(get("/one", "X-Real-IP: 127.0.9.1")) == 200
    assert [(one.peer[0], len(one.asked)) for one in server.served] == [("127.0.9.1", 2), ("127.0.9.2", 1)]


@pytest.mark.root
@pytest.mark.parametrize(
    ("source", "fields", "reason"),
    [
        ("127.0.0.1", (), "the request has no X-Real-IP"),
        ("127.0.0.1", ("X-Real-IP: unknown",), "'unknown', is no IP address"),
        ("127.0.0.1", ("X-Real-IP: 2001:db8::1",), "is IPv6, and the server's IPv4"),
        ("127.0.0.1", ("X-Real-IP: 0.0.0.0",), "is nobody's"),
        ("127.0.0.1", ("X-Real-IP: 127.255.255.255",), "is nobody's"),
        ("127.0.0.9", ("X-Real-IP: 127.0.9.1",), "of 127.0.0.9 does not count"),
    ],
)
def test_a_request_without_such_an_address_reaches_no_server(
    site: Site, source: str, fields: tuple[str, ...], reason: str
) -> None:
    server = site.upstream()
    site.start(server, **FROM_HEADER)
    assert site.client().ask(get("/", "X-Real-IP: 127.0.9.1")) == 200, "a connection of somebody is idle"
    client = site.client(source)
    assert [client.ask(get("/", *fields)), client.ask(get("/", *fields))] == [503, 503]
    assert len(server.asked) == 1
    record = site.running.records(3)[1]
    assert (record["ending"], record["status"]) == ("RC", 503)
    assert reason in record["reason"]


def test_connections_from_a_fixed_address_are_shared(site: Site) -> None:
    server = site.upstream()
    site.start(server, source="127.0.0.77")
    assert [site.client().ask() for _ in range(3)] == [200] * 3
    assert [one.peer[0] for one in server.served] == ["127.0.0.77"]


CHALLENGE = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %b\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("scheme", [b"NTLM", b"Negotiate", b'Basic realm="x", Negotiate'])
def test_who_is_asked_to_log_in_on_a_connection_has_it_for_itself(site: Site, scheme: bytes) -> None:
    servers = [site.upstream(lambda request: CHALLENGE % scheme) for _ in range(2)]
    site.start(*servers)
    first = site.client()
    assert first.ask() == 401
    asked, other = servers if servers[0].asked else reversed(servers)
    assert [first.ask() for _ in range(3)] == [401] * 3
    assert (len(asked.served), len(asked.asked), len(other.asked)) == (1, 4, 0), "it has to stay at this server"
    second = site.client()
    second.ask()
    second.ask()
    assert len(asked.served[0].asked) == 4, "another client's request came over a connection that is not its own"


@pytest.mark.parametrize("field", ["Authorization: NTLM abc", "proxy-authorization:Negotiate abc"])
def test_who_logs_in_on_a_connection_has_it_for_itself(site: Site, field: str) -> None:
    server = site.upstream()
    site.start(server)
    first = site.client()
    assert [first.ask(get("/", field)), first.ask()] == [200, 200]
    assert site.client().ask() == 200
    assert [len(one.asked) for one in server.served] == [2, 1]


def test_passwords_that_come_with_each_request_share_connections(site: Site) -> None:
    server = site.upstream(lambda request: CHALLENGE % b"Basic")
    site.start(server)
    assert site.client().ask(get("/", "Authorization: Basic bnRsbQ==")) == 401
    assert site.client().ask() == 401
    assert len(server.served) == 1


@pytest.mark.parametrize("reuse", ["safe", "never"])
def test_a_client_that_is_routed_here_and_there_keeps_a_connection_to_each(site: Site, reuse: str) -> None:
    servers = {name: site.upstream() for name in ("app", "static", "api")}
    config = site.config(servers["app"], http_reuse=reuse)
    for name in ("static", "api"):
        config["backends"][name] = {"servers": {"s1": servers[name].address}, "http_reuse": reuse}
    config["frontends"]["web"]["routes"] = [
        {"path_prefix": [f"/{name}"], "backend": name} for name in ("static", "api")
    ]
    site.running.start(config)
    client = site.client()
    for _ in range(3):
        assert [client.ask(get(path)) for path in ("/", "/static/x", "/api/x", "/api/y")] == [200] * 4
    assert {name: (len(one.served), len(one.asked)) for name, one in servers.items()} == {
        "app": (1, 3),
        "static": (1, 3),
        "api": (1, 6),
    }
    client.close()
    if reuse == "never":
        site.until(lambda: not any(one.open for one in servers.values()), "all of them closed")


# Changes while it runs


def test_a_reload_closes_what_waits_and_what_was_made_before_it(site: Site) -> None:
    server = site.upstream()
    site.start(server)
    idle, busy = site.client(), site.client()
    server.answer = lambda request: None if b"/busy" in request else OK
    idle.ask()
    busy.send(get("/busy"))
    site.until(lambda: len(server.asked) == 2, "the request")
    busy_end = next(one for one in server.served if b"/busy" in one.asked[-1])
    other = next((one for one in server.served if one is not busy_end), None)
    kept = site.server()
    site.running.reload(site.config(server, source="127.0.0.78"))
    assert site.server() is kept
    if other is not None:
        ended(site, other)
    busy_end.say(OK)
    assert busy.status() == 200
    ended(site, busy_end)
    assert site.client().ask() == 200
    assert server.served[-1].peer[0] == "127.0.0.78"
    assert server.open == 1


def test_a_stop_closes_what_waits_and_lets_requests_finish(site: Site) -> None:
    server = site.upstream(lambda request: None)
    site.start(server)
    clients = [site.client().send(get()), site.client().send(get())]
    site.until(lambda: len(server.asked) == 2, "two requests")
    server.served[0].say(OK)
    site.until(lambda: any(client.heard for client in clients), "a response")
    stopping = site.running.balancer.stopService()
    ended(site, server.served[0])
    server.served[1].say(OK)
    site.until(lambda: all(client.heard for client in clients), "both responses")
    ended(site, server.served[1])
    for client in clients:
        client.close()
    site.until(lambda: stopping is None or stopping.called, "the end of the stop")


def test_a_server_that_goes_down_or_out_of_use_has_no_idle_connections(site: Site) -> None:
    server, other = site.upstream(), site.upstream()
    site.start(server, other, http_reuse="safe", balance="first")
    client = site.client()
    client.ask()
    one = site.server()
    one.up = False
    backend = site.running.balancer.assembly.backends["app"]  # type: ignore[union-attr]
    backend.server_changed()
    ended(site, server.served[0])
    assert client.ask() == 200
    assert len(other.asked) == 1
    one.up = True
    backend.server_changed()
    assert [client.ask(), client.ask()] == [200, 200]
    assert [len(made.asked) for made in server.served] == [1, 2]
    site.running.reload(site.config({"address": server.address, "weight": 0}, other))
    ended(site, server.served[1])
    assert site.client().ask() == 200
    assert len(server.asked) == 3


def test_a_request_under_way_finishes_while_its_server_goes_down_and_leaves_nothing_idle(site: Site) -> None:
    server = site.upstream(lambda request: None)
    site.start(server)
    client = site.client().send(get())
    site.until(lambda: server.asked, "the request")
    site.server().up = False
    site.running.balancer.assembly.backends["app"].server_changed()  # type: ignore[union-attr]
    server.served[0].say(OK)
    assert client.status() == 200
    ended(site, server.served[0])
    assert client.ask() == 503
