"""Who takes the express way and who does not; ``http_sessions/test_express_stories.py`` compares it with the usual."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.endings import Stage
from twisted_lb.facts import SocketAddress
from twisted_lb.frontend import HttpFrontend
from twisted_lb.http_express import ExpressSession, may_take_it
from twisted_lb.stages.answers import Answers
from twisted_lb.token_bucket import TokenBucket
from twisted_lb.verdicts import ALLOW
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings, Http1Settings
from twisted_lb.wire.http1_plain import PLAIN_GET
from twisted_lb.wire.http1_speak import Speaking

pytestmark = pytest.mark.linux

KEPT_OK = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nyes"
KEPT = b"GET /kept HTTP/1.1\r\nAccept: */*\r\nHost: x\r\nConnection: keep-alive\r\nX-Last: 1\r\n\r\n"


def site(
    kind: str, policies: Sequence[Any] = (), clients: int = 1, **speaking: Any
) -> "tuple[HttpWorld, Any, list[Any]]":
    """A world of which nobody keeps records, with a server whose connections are pooled, and clients."""
    world = HttpWorld(kind)
    world._log = None
    upstream = world.upstream()
    backend = world.backend(upstream, http=HttpBackend(), connect=3.0, queue=3.0, server=4.0)
    plan = ForwardPlan(ForwardSettings(speaking=Speaking(**speaking)))
    http = HttpFrontend(STRICT, Answers(), {backend.name: plan})
    frontend = world.frontend(backend, policies=policies, http=http, client=5.0, http_request=6.0, http_keep_alive=7.0)
    return world, upstream, [world.client(frontend) for _ in range(clients)]


def close(world: HttpWorld) -> None:
    """Nothing is left of it."""
    for session in list(world.process.sessions):
        session.kill("the test is over")
    world.turn()
    world.assert_empty()
    world.close()


def session_of(world: HttpWorld) -> ExpressSession:
    (session,) = world.process.sessions
    assert type(session) is ExpressSession
    return session


def test_a_plain_request_and_its_response_take_it() -> None:
    world, upstream, (client,) = site("express")
    client.send(GET)
    assert session_of(world).exchange is not None, "a new connection is made the usual way"
    upstream.peers[0].send(OK)
    for count in (2, 3):
        client.send(KEPT)
        session = session_of(world)
        assert (session.exchange, session._sent, session.stage) == (None, KEPT, Stage.RESPONSE)
        upstream.peers[0].send(KEPT_OK)
        assert (session._sent, session.stage, session.requests) == (b"", Stage.VALIDATION, count)
    assert client.read() == OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes" * 2
    assert upstream.peers[0].read() == GET + KEPT.replace(b"Connection: keep-alive\r\n", b"") * 2
    close(world)


def test_what_is_said_for_the_client_is_said_here_too() -> None:
    world, upstream, (client,) = site("express", x_forwarded_for="set", x_forwarded_host="set")
    for number, host in enumerate((b"x", b"y", b"X", b"x")):
        client.send(GET.replace(b"Host: x", b"Host: " + host))
        assert bool(session_of(world)._sent) == (number > 0)
        upstream.peers[0].send(OK)
    asked = upstream.peers[0].read().decode().split("\r\n\r\n")[:-1]
    assert [one.split("\r\n")[1:] for one in asked] == [
        [f"Host: {host}", "X-Forwarded-For: 192.0.2.1", f"X-Forwarded-Host: {host.lower()}"] for host in "xyXx"
    ]
    close(world)


def test_a_server_that_has_gone_meanwhile_costs_a_second_try_and_nothing_else() -> None:
    world, upstream, (client,) = site("express")
    client.send(GET)
    upstream.peers[0].send(OK)
    client.send(GET)
    upstream.peers[0].leave()
    upstream.peers[1].send(OK)
    assert client.read() == OK * 2
    close(world)


def test_clients_share_what_is_idle_and_give_it_back() -> None:
    world, upstream, (one, other) = site("express", clients=2)
    for _ in range(3):
        for client in (one, other):
            client.send(GET)
            upstream.peers[0].send(OK)
    assert (one.read(), other.read(), len(upstream.peers)) == (OK * 3, OK * 3, 1)
    close(world)


class Shapes:
    """A policy that wants something for the whole connection."""

    stage = Stage.ADMISSION

    def decide(self, facts: Any) -> Any:
        facts.shape(out=TokenBucket(1_000_000, 1_000_000))
        return ALLOW


def test_a_connection_that_is_shaped_does_not_take_it() -> None:
    world, upstream, (client,) = site("express", policies=[Shapes()])
    for _ in range(2):
        client.send(GET)
        assert session_of(world).exchange is not None
        upstream.peers[0].send(OK)
    close(world)


def test_only_a_frontend_that_nobody_looks_into_may_take_it() -> None:
    world = HttpWorld("express")
    world._log = None
    backend = world.backend(world.upstream(), http=HttpBackend())
    plain = world.frontend(backend)
    assert may_take_it(plain)
    at_admission, per_request = SimpleNamespace(stage=Stage.ADMISSION), SimpleNamespace(stage=Stage.POLICY)
    assert may_take_it(world.frontend(backend, policies=[at_admission]))
    assert not may_take_it(world.frontend(backend, policies=[per_request]))
    assert not may_take_it(world.frontend(backend, validators=[object()]))
    assert not may_take_it(world.frontend(backend, observers=[object()]))
    assert may_take_it(world.frontend(backend, access_log=SimpleNamespace(write=None)))
    backend.blind = False
    assert not may_take_it(world.frontend(backend))
    backend.blind = True
    backend.http = HttpBackend(server_close=True)
    assert not may_take_it(world.frontend(backend))
    world.close()


@pytest.mark.parametrize(("request_", "groups"), [(GET, (b"x", None)), (KEPT, (b"x", b"Connection: keep-alive\r\n"))])
def test_the_expression_finds_host_and_connection(request_: bytes, groups: tuple[bytes, bytes | None]) -> None:
    match = PLAIN_GET.fullmatch(request_)
    assert match is not None
    assert match.groups() == groups


def test_addresses_that_no_header_can_name_are_no_obstacle() -> None:
    world, upstream, _ = site("express", x_forwarded_for="set")
    frontend = next(iter(world.process.sessions)).frontend  # type: ignore[attr-defined]
    client = world.client(frontend, source=SocketAddress("unix:", 0))
    for _ in range(2):
        client.send(GET)
        upstream.peers[0].send(OK)
    assert client.read() == OK * 2
    close(world)


class RaisesOnce:
    """A balancer that fails at one call, and not at the next."""

    blind = True
    raises = False

    def choose(self, candidates: Any, facts: Any) -> Any:
        raises, self.raises = self.raises, False
        if raises:
            raise ValueError
        return candidates[0]


def test_a_balancer_is_asked_once_and_blamed_if_it_fails() -> None:
    world, upstream, (client,) = site("express")
    backend, balancer = world.backends[0], RaisesOnce()
    backend._balancer = balancer  # type: ignore[assignment]  # it declares no interface, as a test's
    client.send(GET)
    upstream.peers[0].send(OK)
    balancer.raises = True
    client.send(GET)
    assert client.read().removeprefix(OK).startswith(b"HTTP/1.1 500 ")
    assert world.process.plugin_failures == {"balance_test": 1}
    assert (upstream.server.connections, backend.load.connections) == (0, 0)
    client.send(GET)
    assert session_of(world)._sent == GET
    close(world)


def test_limits_of_heads_hold_where_there_may_be_more_fields_than_bytes() -> None:
    world, upstream, (client,) = site("express")
    frontend = session_of(world).frontend
    assert frontend.http is not None
    frontend.http.parsing = Http1Settings(max_head_bytes=1024, max_fields=1000)
    client.send(GET)
    upstream.peers[0].send(OK)
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1100 + b"\r\n\r\n")
    assert client.read().removeprefix(OK).startswith(b"HTTP/1.1 431 ")
    assert upstream.peers[0].read() == GET
    close(world)
