"""Connections and requests that are counted in tables, and limited, over real sockets."""

import contextlib
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.http_site import Site, get
from tests.whole import Running, config, end, run
from twisted_lb.counting.named import NamedTable
from twisted_lb.tables.counters import COUNTERS

pytestmark = pytest.mark.linux

HERE = b"\x7f\0\0\1"
"""The key of 127.0.0.1."""


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    yield from run(tmp_path, monkeypatch)


@pytest.fixture
def site(running: Running) -> Iterator[Site]:
    made = Site(running)
    yield made
    made.close()


def tables(running: Running) -> list[NamedTable]:
    """All tables that are in force."""
    assert running.balancer.assembly is not None
    return list(running.balancer.assembly.tables)


def value(running: Running, counter: str, key: bytes = HERE, of: int = 0) -> int:
    return tables(running)[of].table.value(key, COUNTERS[counter])


def ended(client: socket.socket) -> str:
    """How a connection that was refused looks to the client."""
    try:
        return "closed" if client.recv(100) == b"" else "served"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "silent"


def limited(upstream: str, limit: str, *more: dict[str, Any], **settings: Any) -> dict[str, Any]:
    policies = [{"limit": limit, **settings}, *more]
    return config("127.0.0.1:0", upstream, of_frontend={"policies": policies})


def from_source(running: Running, source: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", running.port()), 5, (source, 0))
    running._sockets.append(made)
    return made


def refused(running: Running, client: socket.socket, count: int) -> str:
    """Wait for the record of a refused client; how it looked to it."""
    running.records(count)
    running.until(lambda: readable(client), "the client hears of it")
    return ended(client)


def readable(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


# Connections


def test_who_connects_more_often_than_the_limit_is_refused_until_he_slows_down(running: Running) -> None:
    listening, address = running.upstream()
    running.start(limited(address, "connections per source > 3 in 10s"))
    for _ in range(3):
        end(running, *running.connect(listening))
    assert refused(running, running.client(), 4) in ("closed", "reset")
    assert running.records(4)[3]["reason"] == "policy 1: limit"
    other = from_source(running, "127.0.0.9")
    running.until(lambda: running.relaying() == 1, "another source is served")
    end(running, other, listening.accept()[0])
    running.clock.advance(20)
    end(running, *running.connect(listening))


@pytest.mark.parametrize(
    ("action", "seen"), [("deny", ("closed", "reset")), ("reject", ("reset",)), ("drop", ("silent",))]
)
def test_what_happens_to_who_is_above_the_limit(running: Running, action: str, seen: tuple[str, ...]) -> None:
    listening, address = running.upstream()
    running.start(limited(address, "connections per source > 1 in 10s", action=action))
    end(running, *running.connect(listening))
    client = running.client()
    if action == "drop":
        running.records(2)
        client.settimeout(0.05)
        for _ in range(3):
            running.turn()
        assert ended(client) == "silent"
    else:
        assert refused(running, client, 2) in seen


def test_a_tarpit_holds_who_is_above_the_limit_for_its_time(running: Running) -> None:
    listening, address = running.upstream()
    whole = limited(address, "connections per source > 1 in 100s", action="tarpit")
    whole["frontends"]["web"]["timeouts"] = {"tarpit": "7s"}
    running.start(whole)
    end(running, *running.connect(listening))
    client = running.client()
    running.until(lambda: len(running.process.sessions) == 1, "it is accepted")
    running.clock.advance(6)
    running.turn()
    assert not readable(client)
    for _ in range(4):
        running.clock.advance(1)
        running.turn()
    assert running.records(2)[1]["reason"] == "policy 1: limit"


def test_connections_at_the_same_time_are_limited_and_given_back_whatever_ends_them(running: Running) -> None:
    listening, address = running.upstream()
    running.start(limited(address, "connections per source > 2"))
    first, second = running.connect(listening), running.connect(listening)
    assert value(running, "connections") == 2
    assert refused(running, running.client(), 1) in ("closed", "reset")
    assert value(running, "connections") == 2
    first[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a RST
    first[0].close()
    running.records(2)
    assert value(running, "connections") == 1
    third = running.connect(listening)
    third[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    third[1].close()
    running.records(3)
    assert value(running, "connections") == 1
    for session in list(running.process.sessions):
        session.kill("the test wants it so")
    running.turn()
    assert value(running, "connections") == 0
    second[0].close()


def test_a_connection_that_reaches_no_server_is_given_back_too(running: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    whole = limited(address, "connections per source > 2")
    whole["backends"]["app"]["retries"] = 0
    running.start(whole)
    for number in range(1, 6):
        client = running.client()
        assert running.records(number)[-1]["ending"] == "SC"
        client.close()
    assert value(running, "connections") == 0


def test_counts_survive_a_reload_and_stay_right_for_connections_from_before_it(running: Running) -> None:
    listening, address = running.upstream()
    before = limited(address, "connections per source > 2")
    running.start(before)
    held = running.connect(listening)
    running.reload({**before, "process": {"graceful_stop": "1s"}})
    assert value(running, "connections") == 1
    more = running.connect(listening)
    assert refused(running, running.client(), 1) in ("closed", "reset")
    end(running, *held)
    end(running, *more)
    assert value(running, "connections") == 0
    running.reload(limited(address, "connections per source > 5"))
    assert len(tables(running)) == 1
    end(running, *running.connect(listening))
    assert value(running, "connections") == 0


def test_a_named_table_survives_a_reload_only_with_the_same_key(running: Running) -> None:
    listening, address = running.upstream()

    def whole(key: str, window: str = "10s") -> dict[str, Any]:
        rules = [{"track": "t"}, {"deny": "tables.t.connection_count > 100"}]
        of_frontend = {"policies": rules}
        return config(
            "127.0.0.1:0", address, of_frontend=of_frontend, tables={"t": {"key": key, "window": window, "size": 10}}
        )

    running.start(whole("source"))
    end(running, *running.connect(listening))
    running.reload(whole("source", "20s"))
    assert value(running, "connection_count") == 1
    running.reload(whole("source/24"))
    assert value(running, "connection_count") == 0
    end(running, *running.connect(listening))
    assert value(running, "connection_count", b"\x7f\0\0\0") == 1


def test_a_reload_that_is_refused_changes_no_table(running: Running) -> None:
    listening, address = running.upstream()
    whole = limited(address, "connections per source > 2")
    running.start(whole)
    held = running.connect(listening)
    before = tables(running)
    running.reload(limited(address, "connections per sauce > 2"))
    assert tables(running) == before
    end(running, *held)
    assert value(running, "connections") == 0


def test_a_table_full_of_open_connections_refuses_who_could_not_be_counted(running: Running) -> None:
    listening, address = running.upstream()
    policies = [{"limit": "connections per source > 5", "table": "t"}]
    small = {"t": {"key": "source", "size": 1}}
    running.start(config("127.0.0.1:0", address, of_frontend={"policies": policies}, tables=small))
    held = running.connect(listening)
    other = from_source(running, "127.0.0.9")
    assert refused(running, other, 1) in ("closed", "reset")
    assert running.records(1)[0]["reason"] == "policy 1: table t is full of open connections"
    end(running, *held)


# The three ways to deploy a limit


def test_rejected_before_it_is_counted_a_source_goes_on_at_the_limits_rate(running: Running) -> None:
    listening, address = running.upstream()
    policies = [{"reject": "tables.t.connection_rate >= 2"}, {"track": "t"}]
    running.start(config("127.0.0.1:0", address, of_frontend={"policies": policies}, tables={"t": {"key": "source"}}))
    for _ in range(2):
        end(running, *running.connect(listening))
    for number in range(3, 9):
        assert refused(running, running.client(), number) == "reset"
    assert value(running, "connection_rate") == 2, "who is refused does not count"
    running.clock.advance(15)
    end(running, *running.connect(listening))


def test_counted_before_it_is_rejected_a_source_stays_out_until_it_slows_down(running: Running) -> None:
    listening, address = running.upstream()
    policies = [{"track": "t"}, {"reject": "tables.t.connection_rate > 2"}]
    running.start(config("127.0.0.1:0", address, of_frontend={"policies": policies}, tables={"t": {"key": "source"}}))
    for _ in range(2):
        end(running, *running.connect(listening))
    for number in range(3, 9):
        assert refused(running, running.client(), number) == "reset"
        running.clock.advance(2)
    assert value(running, "connection_rate") > 2


def test_a_mark_that_one_frontend_sets_is_seen_by_another(running: Running) -> None:
    listening, address = running.upstream()
    whole = config("127.0.0.1:0", address, tables={"t": {"key": "source"}})
    whole["frontends"]["web"]["policies"] = [{"deny": "tables.t.gpc0 > 0"}]
    whole["frontends"]["trap"] = {
        "bind": "127.0.0.1:0",
        "backend": "app",
        "policies": [{"count": "t.gpc0", "if": "source.port > 0"}, {"deny": "true"}],
    }
    running.start(whole)
    end(running, *running.connect(listening))
    running.client(1)
    running.records(2)
    assert refused(running, running.client(), 3) in ("closed", "reset")
    assert value(running, "gpc0") == 1


# Bytes and errors


def test_bytes_of_a_connection_are_counted_when_it_ends(running: Running) -> None:
    listening, address = running.upstream()
    policies = [
        {"track": "t"},
        {"deny": "tables.t.bytes_in > 1000"},
        {"deny": "tables.t.bytes_out_rate > 1000"},
    ]
    running.start(config("127.0.0.1:0", address, of_frontend={"policies": policies}, tables={"t": {"key": "source"}}))
    client, served = running.connect(listening)
    client.sendall(b"x" * 10)
    running.turn(0.1)
    assert served.recv(100) == b"x" * 10
    served.sendall(b"y" * 2000)
    heard = b""
    while len(heard) < 2000:
        running.turn(0.1)
        with contextlib.suppress(BlockingIOError):
            heard += client.recv(4000, socket.MSG_DONTWAIT)
    end(running, client, served)
    assert (value(running, "bytes_in"), value(running, "bytes_out_rate")) == (10, 2000)
    assert refused(running, running.client(), 2) in ("closed", "reset")
    assert running.records(2)[1]["reason"] == "policy 3: deny"


def test_connections_that_are_refused_are_errors_and_too_many_of_them_are_a_reason_to_refuse(running: Running) -> None:
    _, address = running.upstream()
    policies = [{"limit": "errors per source > 2 in 1m"}, {"deny": "source.port > 0"}]
    running.start(config("127.0.0.1:0", address, of_frontend={"policies": policies}))
    for number in range(1, 5):
        refused(running, running.client(), number)
    assert [record["reason"] for record in running.records(4)] == ["policy 2: deny"] * 3 + ["policy 1: limit"]


# HTTP


def test_requests_above_the_limit_are_answered_429_with_when_to_come_back(site: Site) -> None:
    site.start(site.upstream(), of_frontend={"policies": [{"limit": "requests per source > 2 in 10s"}]})
    client = site.client()
    assert [client.ask() for _ in range(2)] == [200, 200]
    said = client.send(get()).answer()
    assert said.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 10\r\n" in said
    assert client.ask() == 429
    assert site.client("127.0.0.9").ask() == 200
    site.running.clock.advance(25)
    assert client.ask() == 200


@pytest.mark.parametrize(
    ("settings", "status", "field"),
    [
        ({"status": 503}, 503, b""),
        ({"headers": {"Retry-After": "77"}}, 429, b"Retry-After: 77"),
        ({"action": "redirect", "location": "/slow"}, 302, b"Location: /slow"),
        ({"action": "answer", "body": "slowly", "status": 200}, 200, b"slowly"),
    ],
)
def test_a_limit_answers_requests_as_its_action_says(
    site: Site, settings: dict[str, Any], status: int, field: bytes
) -> None:
    site.start(site.upstream(), of_frontend={"policies": [{"limit": "requests per source > 1 in 10s", **settings}]})
    client = site.client()
    assert client.ask() == 200
    said = client.send(get()).answer()
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert field in said


def test_a_request_is_counted_for_its_own_key(site: Site) -> None:
    limit = {"limit": "requests per http.headers['x-user'] > 1 in 10s"}
    site.start(site.upstream(), of_frontend={"policies": [limit]})
    client = site.client()
    asked = [client.ask(get("/", f"X-User: {user}")) for user in ("ann", "bob", "ann", "bob")]
    assert asked == [200, 200, 429, 429]
    assert [client.ask() for _ in range(3)] == [200, 200, 200], "without the field there is no key"


def test_the_requests_of_a_connection_that_was_tracked_when_it_came_are_counted_too(site: Site) -> None:
    # Also on the shortest way that there is: without an access log and without anything to ask per request.
    whole = site.config(
        site.upstream(), of_frontend={"policies": [{"track": "t"}], "access_log": "none"}, http_reuse="always"
    )
    whole["frontends"]["other"] = {
        "bind": "127.0.0.1:0",
        "backend": "app",
        "mode": "http",
        "policies": [
            {"deny": "tables.t.request_count > 100 or tables.t.connection_count > 100"},
            {"deny": "tables.t.bytes_out > 100000"},
        ],
    }
    whole["tables"] = {"t": {"key": "source"}}
    site.running.start(whole)
    client = site.client()
    assert [client.ask() for _ in range(4)] == [200] * 4
    counted = [value(site.running, name) for name in ("request_count", "connection_count")]
    assert counted == [4, 1]
    assert value(site.running, "bytes_out") > 4 * 30


def test_answers_of_4xx_are_errors_whoever_gives_them(site: Site) -> None:
    missing = site.upstream(lambda request: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    policies = [{"track": "t"}, {"deny": "http.path == '/no'"}, {"deny": "tables.t.error_count > 3", "status": 410}]
    whole = site.config(missing, of_frontend={"policies": policies})
    whole["tables"] = {"t": {"key": "source"}}
    site.running.start(whole)
    client = site.client()
    assert client.ask() == 404
    assert client.ask(get("/no")) == 403
    assert site.client().send(b"no request\r\n\r\n").status() == 400
    assert client.ask() == 404
    assert value(site.running, "error_count") == 4
    assert client.ask() == 410


@pytest.mark.parametrize("access_log", ["json", "none"])
def test_connections_of_a_limit_are_given_back_whatever_way_their_requests_take(site: Site, access_log: str) -> None:
    frontend = {"policies": [{"limit": "connections per source > 2"}], "access_log": access_log}
    site.start(site.upstream(), of_frontend=frontend)
    clients = [site.client(), site.client()]
    for client in clients:
        assert [client.ask() for _ in range(3)] == [200] * 3
    assert value(site.running, "connections") == 2
    for client in clients:
        client.close()
    site.until(lambda: value(site.running, "connections") == 0, "both are given back")


def test_current_connections_of_keepalive_clients_are_one_each_and_given_back(site: Site) -> None:
    policies = [{"limit": "connections per source > 2", "status": 429}]
    site.start(site.upstream(), of_frontend={"policies": policies})
    first, second, third = site.client(), site.client(), site.client()
    assert [first.ask() for _ in range(5)] == [200] * 5
    assert second.ask() == 200
    assert third.ask() == 429
    assert value(site.running, "connections") == 3, "it was answered, and its connection is open"
    for client in (second, third):
        client.close()
    site.until(lambda: value(site.running, "connections") == 1, "both are given back")
    assert site.client().ask() == 200


def test_a_connection_whose_key_changes_is_counted_for_the_key_of_its_last_request(site: Site) -> None:
    policies = [{"limit": "connections per http.host > 1"}]
    site.start(site.upstream(), of_frontend={"policies": policies})
    client = site.client()
    for host in (b"a", b"b"):
        assert client.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host) == 200
    assert (value(site.running, "connections", b"a"), value(site.running, "connections", b"b")) == (0, 1)
    client.close()
    site.until(lambda: value(site.running, "connections", b"b") == 0, "it is given back")


def test_a_rule_may_have_a_condition(site: Site) -> None:
    policies = [{"limit": "requests per source > 1 in 10s", "if": "http.path == '/login'"}]
    site.start(site.upstream(), of_frontend={"policies": policies})
    client = site.client()
    assert [client.ask(get(path)) for path in ("/", "/login", "/", "/login", "/")] == [200, 200, 200, 429, 200]
