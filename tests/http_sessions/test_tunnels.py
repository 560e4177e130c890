"""Upgrades and CONNECT: bytes in both directions, with what either side said before the other agreed."""

from typing import TYPE_CHECKING

import pytest

from tests.http_sessions.conftest import GET, OK, Said
from twisted_lb.backends.http_connection import HttpBackend

if TYPE_CHECKING:
    from tests.http_sessions.conftest import HttpWorld
    from tests.sessions.conftest import Peer, Upstream

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
CONNECT = b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"


def tunnel(world: "HttpWorld", **timeouts: float) -> "tuple[Upstream, Peer, Peer]":
    """A client and a server that have changed to another protocol."""
    upstream, client = world.site(**timeouts)
    server = world.ask(client, upstream, UPGRADE)
    server.send(SWITCHED)
    assert client.read() == SWITCHED
    return upstream, client, server


@pytest.mark.parametrize(("ask", "agree"), [(UPGRADE, SWITCHED), (CONNECT, CONNECTED)])
def test_bytes_pass_in_both_directions_and_both_ends(world: "HttpWorld", ask: bytes, agree: bytes) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream, ask)
    server.send(agree)
    from_client, from_server = Said(server), Said(client)
    from_client(), from_server()
    for said in (b"\x00\x01GET", b"\r\n\r\n", OK):
        client.send(said)
        assert from_client() == said
        server.send(said)
        assert from_server() == said
    client.finish()
    assert server.ended()
    server.send(b"the last word")
    assert from_server() == b"the last word"
    server.finish()
    assert client.ended()
    world.turn()
    ((status, code),) = world.statuses()
    assert (status, code) == (101 if ask is UPGRADE else 200, "--")
    record = world.records[0]
    assert record.bytes_in == len(ask) + 9 + len(OK)
    assert record.bytes_out == len(agree) + 9 + len(OK) + 13
    assert record.stage == "relay"


def test_what_either_side_said_too_early_is_not_lost(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, UPGRADE + b"early from the client")
    assert b"early" not in server.read()
    server.send(SWITCHED + b"early from the server")
    assert client.read() == SWITCHED + b"early from the server"
    assert server.read().endswith(b"\r\n\r\nearly from the client")
    world.end(client, server)
    record = world.records[0]
    assert record.bytes_in == len(UPGRADE) + 21
    assert record.bytes_out == len(SWITCHED) + 21


def test_a_client_that_had_said_all_before_the_server_agreed(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, UPGRADE + b"all there is")
    client.finish()
    world.turn()
    server.send(SWITCHED)
    assert server.read().endswith(b"all there is")
    assert server.ended()
    server.send(b"answer")
    server.finish()
    assert client.read() == SWITCHED + b"answer"
    assert client.ended()


def test_a_lot_of_bytes_pass_through_a_tunnel_whole(world: "HttpWorld") -> None:
    _, client, server = tunnel(world)
    data = bytes(range(251)) * 8000
    sent = 0
    while sent < len(data):
        sent += client.send(data[sent : sent + 65536])
        server.read()
    assert server.read().endswith(data[:-1] + data[-1:])
    world.end(client, server)
    assert world.statuses() == [(101, "--")]


@pytest.mark.parametrize(("side", "code"), [("client", "CD"), ("server", "SD")])
def test_a_side_that_breaks_off_ends_the_other(world: "HttpWorld", side: str, code: str) -> None:
    _, client, server = tunnel(world)
    if world.kind == "streams":
        # Closing a Unix socket with something unread is its way to reset.
        (server if side == "client" else client).send(b"unread")
    (client if side == "client" else server).leave()
    world.wait(0.1)
    assert (server if side == "client" else client).ended()
    assert world.statuses() == [(101, code)]


def test_a_tunnel_has_its_own_timer(world: "HttpWorld") -> None:
    _, client, server = tunnel(world, client=1.0, server=1.0, tunnel=3.0)
    for _ in range(3):
        world.wait(2)
        client.send(b"x")
    world.wait(2.8)
    assert world.records == []
    world.wait(0.5)
    assert client.ended()
    assert server.ended()
    assert world.statuses()[0][1] in ("cD", "sD")


def test_without_one_those_of_both_sides_count(world: "HttpWorld") -> None:
    _, client, _ = tunnel(world, client=2.0, server=5.0)
    world.wait(2.2)
    assert client.ended()
    assert world.statuses() == [(101, "cD")]


def test_a_kill_ends_a_tunnel(world: "HttpWorld") -> None:
    _, client, server = tunnel(world)
    (session,) = world.process.sessions
    session.kill("the process stops")
    assert client.ended()
    assert server.ended()
    assert world.statuses() == [(101, "KD")]


def test_a_stop_leaves_a_tunnel_alone(world: "HttpWorld") -> None:
    _, client, server = tunnel(world)
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    client.send(b"still here")
    assert server.read().endswith(b"still here")
    world.end(client, server)


# Servers that do not agree, or agree to what was not asked for


def test_a_refused_connect_ends_the_connection_as_what_follows_may_be_meant_for_another(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, CONNECT + GET).send(OK.replace(b"200 OK", b"403 Forbidden"))
    assert client.read().startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"Connection: close\r\n" in client.read()
    assert client.ended()
    assert len(upstream.peers) == 1
    client.finish()


def test_a_refused_upgrade_is_a_response_like_any_other(world: "HttpWorld") -> None:
    upstream, client = world.site()
    world.ask(client, upstream, UPGRADE).send(OK)
    assert client.read() == OK
    world.ask(client, upstream).send(OK)
    assert client.read() == OK + OK


@pytest.mark.parametrize(
    "answer", [SWITCHED.replace(b"echo", b"other"), b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], ids=["other", "none"]
)
def test_a_change_to_what_was_not_asked_for_is_502(world: "HttpWorld", answer: bytes) -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream, UPGRADE)
    server.send(answer + b"raw")
    assert client.read().startswith(b"HTTP/1.1 502 ")
    assert server.ended()
    assert world.statuses() == [(502, "PH")]


def test_a_change_before_the_request_is_whole_is_502(world: "HttpWorld") -> None:
    upstream, client = world.site()
    head = UPGRADE.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    server = world.ask(client, upstream, head + b"5;exten")
    server.send(SWITCHED)
    assert client.read().startswith(b"HTTP/1.1 502 ")
    client.finish()
    assert world.statuses() == [(502, "PH")]
