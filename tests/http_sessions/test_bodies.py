"""Held and filtered bodies on both kinds of transport, with a clock that only the test moves."""

from pathlib import Path
from typing import Any

import pytest
from zope.interface import implementer

from tests.http_sessions.conftest import GET, OK, HttpWorld, Said, post
from tests.sessions.conftest import Peer, Upstream
from twisted_lb.api import Deny, IBodyFilter
from twisted_lb.frontend import HttpFrontend
from twisted_lb.plugin_host import Built
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.body_rate import LeastRate
from twisted_lb.stages.request_buffer import Buffering
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings

HOLDING = Bodies(buffering=Buffering(memory=1000, maximum=1_000_000))


@implementer(IBodyFilter)
class Doubling:
    """Says everything twice, but ``stop``."""

    keeps_length = False

    def filter_request(self, facts: Any) -> Any:
        return self

    def filter_response(self, facts: Any, response: Any) -> Any:
        return self

    def feed(self, data: bytes) -> Any:
        return Deny("it says stop", 451) if data == b"stop" else data * 2

    def end(self) -> bytes:
        return b"."


DOUBLING = Bodies(filters=[Built("body_filter_test", "doubling", Doubling())])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def site(
    world: HttpWorld, bodies: Bodies | None, least: LeastRate | None = None, **timeouts: Any
) -> tuple[Upstream, Peer]:
    upstream = world.upstream()
    backend = world.backend(upstream, server=timeouts.pop("server", None))
    plans = {backend.name: ForwardPlan(ForwardSettings())}
    http = HttpFrontend(STRICT, Answers(), plans, bodies=bodies, least_rate=least)
    return upstream, world.client(world.frontend(backend, http=http, **timeouts))


def drain(world: HttpWorld, peer: Peer, size: int) -> bytes:
    """Read until so many bytes have come; the clock lets what was put off have its turn."""
    for _ in range(1000):
        if len(peer.read()) >= size:
            break
        world.clock.advance(0)
        world.turn()
    return peer.read()


@pytest.mark.parametrize("size", [500, 800_000])
def test_a_held_body_arrives_as_it_was(world: HttpWorld, size: int) -> None:
    upstream, client = site(world, HOLDING)
    body = bytes(range(250)) * (size // 250)
    request = post(body)
    while request:
        piece = request[:60_000]
        sent = client.send(piece)
        request = request[sent:]
        assert not upstream.peers or not request
    (served,) = upstream.peers
    head, _, got = drain(world, served, size + 40).partition(b"\r\n\r\n")
    assert got == body
    assert f"Content-Length: {size}".encode() in head
    served.send(OK)
    assert client.read() == OK


def test_a_held_body_waits_for_a_server_that_does_not_read(world: HttpWorld) -> None:
    upstream, client = site(world, HOLDING, server=5.0)
    request = post(bytes(900_000))
    while request:
        request = request[client.send(request[:60_000]) :]
    for _ in range(20):
        world.clock.advance(0.1)
        world.turn()
    (session,) = world.process.sessions
    buffer = session.exchange._buffer  # type: ignore[attr-defined]
    assert buffer.size - buffer._at > 200_000, "it was all read at once"
    (served,) = upstream.peers
    assert drain(world, served, 900_000).endswith(bytes(1000))


def test_filtered_bodies_are_framed_anew_in_both_directions(world: HttpWorld) -> None:
    upstream, client = site(world, DOUBLING)
    client.send(post(b"ab"))
    (served,) = upstream.peers
    head, _, body = served.read().partition(b"\r\n\r\n")
    assert b"ransfer-Encoding: chunked" in head
    assert body == b"5\r\nabab.\r\n0\r\n\r\n"
    served.send(b"HTTP/1.1 200 OK\r\n\r\n")
    served.send(b"xy")
    said = Said(client)
    assert said().endswith(b"\r\n\r\n4\r\nxyxy\r\n")
    served.finish()
    assert said() == b"1\r\n.\r\n0\r\n\r\n"
    assert world.statuses() == [(200, "--")]


def test_a_refusal_in_mid_body_is_an_answer(world: HttpWorld) -> None:
    upstream, client = site(world, DOUBLING)
    client.send(post(b"go; stop")[:-4])
    client.send(b"stop")
    assert client.read().startswith(b"HTTP/1.1 451 ")
    assert upstream.peers[0].ended()
    assert world.statuses() == [(451, "PH")]


def test_a_refusal_after_the_head_cuts_the_client_off(world: HttpWorld) -> None:
    upstream, client = site(world, DOUBLING)
    client.send(GET)
    upstream.peers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcd")
    upstream.peers[0].send(b"stop")
    assert client.ended()
    assert not client.read().endswith(b"0\r\n\r\n")
    assert world.statuses() == [(200, "PD")]


def test_who_leaves_while_a_body_is_held_leaves_nothing(world: HttpWorld) -> None:
    upstream, client = site(world, HOLDING)
    client.send(post(bytes(5000))[:-1])
    client.leave()
    assert not upstream.peers
    assert [code for _, code in world.statuses()] == ["CR"]


@pytest.mark.parametrize("bodies", [HOLDING, None], ids=["held", "passing"])
def test_a_body_that_trickles_is_ended(world: HttpWorld, bodies: Bodies | None) -> None:
    _, client = site(world, bodies, LeastRate(rate=10, after_s=3))
    client.send(post(bytes(1000))[:-960])
    for _ in range(30):
        world.clock.advance(0.1)
        world.turn()
    assert client.read() == b""
    for _ in range(20):
        world.clock.advance(0.1)
        world.turn()
    assert client.read().startswith(b"HTTP/1.1 408 ")
    assert world.statuses() == [(408, "cR" if bodies else "cH")]
