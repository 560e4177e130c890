"""The client's side: what arms a timer, what is read of it, what it counts. See ``http_sessions`` too."""

from typing import Any

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld, world
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.http_client import PIPELINED_LIMIT
from twisted_lb.wire.http1 import BLANK

__all__ = ["world"]


def test_a_request_on_a_kept_connection_hardly_ever_touches_the_wheel(
    world: HttpWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, client = world.site(
        client=30.0, server=30.0, http_request=30.0, http_keep_alive=30.0, reuse=HttpBackend()
    )
    world.ask(client, upstream).send(OK)
    armed: list[Any] = []
    wheel_arm = world.process.wheel.arm

    def arm(*arguments: Any) -> None:
        armed.append(arguments)
        wheel_arm(*arguments)

    monkeypatch.setattr(world.process.wheel, "arm", arm)
    for _ in range(200):
        world.ask(client, upstream).send(OK)
        client.read()
    assert client.read().count(OK) == 201
    assert len(upstream.peers) == 1
    assert not armed, "the deadline that is known there is early enough"


def test_a_blank_line_is_no_request_and_two_are_none_that_is_valid(world: HttpWorld) -> None:
    assert b"\r" in BLANK, "half of one"
    for blank in (b"", b"\r\n"):
        upstream, client = world.site()
        world.ask(client, upstream, blank + GET).send(OK)
        assert client.read() == OK
    _, client = world.site()
    client.send(b"\r\n\r\n")
    assert client.read().startswith(b"HTTP/1.1 400 ")
    client.finish()


def test_a_client_that_pipelines_without_end_is_not_read_without_end(world: HttpWorld) -> None:
    _, client = world.site()
    client.send(GET)
    for _ in range(100):
        client.send(b"X" * 65536)
    (session,) = world.process.sessions
    held = len(session._peeked)  # type: ignore[attr-defined]
    assert PIPELINED_LIMIT < held <= 2 * PIPELINED_LIMIT
