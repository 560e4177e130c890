"""Deadlines that move, and none at all. Each timer with its status and its ending is in ``tests/http_sessions``."""

from tests.http_sessions.conftest import GET, OK, HttpWorld, Said, post, world
from twisted_lb.backends.http_connection import HttpBackend

__all__ = ["world"]


def test_a_wheel_that_wakes_for_a_deadline_of_before_ends_nothing(world: HttpWorld) -> None:
    upstream, client = world.site(http_request=2.0, http_keep_alive=20.0, reuse=HttpBackend())
    world.ask(client, upstream).send(OK)
    world.wait(10)
    world.ask(client, upstream).send(OK)
    world.wait(15)
    assert client.read() == 2 * OK
    assert not client.ended(), "it has 20 s from its last request on"
    world.wait(10)
    assert client.ended()


def test_whose_turn_it_is_is_who_is_timed(world: HttpWorld) -> None:
    upstream, client = world.site(client=4.0, server=9.0)
    client.send(post(b"body")[:-2])
    world.wait(3)
    client.send(b"dy")
    world.wait(8)
    assert not client.ended(), "the client has said all"
    upstream.peers[0].send(OK)
    assert Said(client)() == OK


def test_without_timeouts_nobody_is_ended(world: HttpWorld) -> None:
    upstream, client = world.site()
    client.send(GET[:-2])
    world.wait(3600)
    server = world.ask(client, upstream, GET[-2:])
    world.wait(3600)
    server.send(OK)
    world.wait(3600)
    assert client.read() == OK
    assert not client.ended()
