"""The way to a server: which connection a request takes. Levels of reuse are in ``loopback/test_http_reuse.py``."""

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld, post, world
from twisted_lb.backends.http_connection import HttpBackend

__all__ = ["world"]


def test_a_connection_that_is_used_again_took_no_time_to_open(world: HttpWorld) -> None:
    upstream = world.upstream(behaviour="silence")
    backend = world.backend(upstream, http=HttpBackend())
    client = world.client(world.frontend(backend))
    client.send(GET)
    world.wait(0.5)
    upstream.answer()
    world.turn()
    upstream.peers[0].send(OK)
    client.read()
    world.ask(client, upstream).send(OK)
    assert client.read() == OK + OK
    assert world.records[0].connect_ms == pytest.approx(500, abs=20)
    assert world.records[1].connect_ms == 0
    assert len(upstream.peers) == 1


@pytest.mark.parametrize("request_", [GET, post(b"body")], ids=["get", "post"])
def test_a_connection_that_the_server_closed_is_not_used_again(world: HttpWorld, request_: bytes) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    world.ask(client, upstream).send(OK)
    upstream.peers[0].finish()
    world.ask(client, upstream, request_).send(OK)
    assert client.read() == OK + OK
    assert len(upstream.peers) == 2


def test_a_connection_that_turns_out_to_be_closed_is_replaced_by_another(world: HttpWorld) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    world.ask(client, upstream).send(OK)
    world.ask(client, upstream)
    upstream.peers[0].finish()
    assert len(upstream.peers) == 2, "a GET may be sent once more"
    upstream.peers[1].send(OK)
    assert client.read() == OK + OK
    assert world.records[1].retries == 1


def test_a_client_that_left_while_a_server_was_connected_to_reaches_nobody(world: HttpWorld) -> None:
    upstream = world.upstream(behaviour="silence")
    client = world.client(world.frontend(world.backend(upstream)))
    client.send(GET)
    client.leave()
    upstream.answer()
    world.turn()
    if world.kind == "transports":
        assert not upstream.peers
        assert world.statuses() == [(0, "CC")]
    else:
        # Whoever closes looks like who has said all.
        assert upstream.peers[0].read() == GET


def test_during_a_stop_no_connection_is_kept(world: HttpWorld) -> None:
    upstream, client = world.site(reuse=HttpBackend())
    server = world.ask(client, upstream)
    world.process.stopping = True
    server.send(OK)
    client.read()
    assert server.ended()
