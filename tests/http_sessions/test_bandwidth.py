"""Requests that policies have shaped: bodies of both messages, tunnels, timers, and connections that are used again."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld, Said, post
from tests.http_sessions.test_tunnels import SWITCHED, UPGRADE
from tests.sessions.test_bandwidth import DATA, READ, Shapes, offer
from twisted_lb.api import ALLOW, Allow, Facts, Stage, TokenBucket
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.frontend import HttpFrontend
from twisted_lb.stages.answers import Answers
from twisted_lb.stages.body_exchange import Bodies
from twisted_lb.stages.body_rate import LeastRate
from twisted_lb.stages.request_buffer import Buffering
from twisted_lb.wire.http1 import STRICT, ForwardPlan, ForwardSettings

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, Upstream


def whole(body: bytes) -> bytes:
    """A response with a body of a known length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class ShapesRequests(Shapes):
    """A policy that is asked about each request."""

    def __init__(self, in_: TokenBucket | None = None, out: TokenBucket | None = None) -> None:
        super().__init__(in_, out)
        self.stage = Stage.POLICY


BOTH = pytest.mark.parametrize("policy", [Shapes, ShapesRequests])


@BOTH
def test_a_response_passes_as_its_bucket_allows(world: HttpWorld, policy: type[Shapes]) -> None:
    upstream, client = world.site(policies=[policy(out=TokenBucket(200_000, 20_000))])
    server = world.ask(client, upstream)
    answer = whole(DATA + DATA)
    offer(world, server, answer)
    assert len(client.read()) < len(answer)
    before = len(client.read())
    world.wait(0.3)
    assert before < len(client.read()) <= 20_000 + READ + 200_000 * (world.clock.seconds() - 1000)
    world.wait(2)
    assert client.read() == answer
    assert world.statuses() == [(200, "--")]


@BOTH
def test_a_request_s_body_passes_as_its_bucket_allows(world: HttpWorld, policy: type[Shapes]) -> None:
    upstream, client = world.site(policies=[policy(in_=TokenBucket(200_000, 20_000))])
    request = post(DATA + DATA)
    offer(world, client, request[: 2 * READ])
    server = upstream.peers[-1]
    assert len(server.read()) <= 20_000 + READ + 100
    offer(world, client, request[2 * READ :])
    world.wait(2)
    assert server.read().endswith(DATA + DATA)
    server.send(OK)
    assert client.read() == OK
    assert world.statuses() == [(200, "--")]


def test_responses_on_one_connection_count_together(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(10_000, 2_000))], reuse=HttpBackend())
    said = Said(client)
    for number in range(10):
        server = world.ask(client, upstream)
        server.send(whole(b"x" * 2_000))
        answer = said()
        waited = 0
        while not answer:
            world.wait(0.05)
            waited += 1
            answer = said()
        assert waited > 0 or number < 1, "the one before has to be paid first"
        assert answer.endswith(b"x" * 2_000)
    assert world.clock.seconds() - 1000 >= (10 * 2_000 - 2_000 - 2_100) / 10_000
    assert len(upstream.peers) == 1


def test_what_a_policy_says_of_one_request_is_not_true_of_the_next(world: HttpWorld) -> None:
    class Once:
        """A policy that shapes the first request alone."""

        stage = Stage.POLICY
        bucket: TokenBucket | None = TokenBucket(100, 100)

        def decide(self, facts: Facts) -> Allow:
            facts.shape(out=self.bucket)
            self.bucket = None
            return ALLOW

    upstream, client = world.site(policies=[Once()], reuse=HttpBackend())
    said = Said(client)
    world.ask(client, upstream).send(whole(b"x" * 1_000))
    assert said().endswith(b"x" * 1_000)
    world.ask(client, upstream).send(whole(b"y" * 1_000))
    assert said().endswith(b"y" * 1_000)


def test_a_client_that_takes_nothing_is_not_sent_more_because_there_are_tokens(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(10_000_000, 1_000_000))])
    server = world.ask(client, upstream)
    body = DATA * 20
    left = whole(body)
    for _ in range(100):
        left = left[server.send(left) :] if world.kind == "streams" else left[server.send(left[:READ]) :]
        world.wait(0.05)
    (session,) = world.process.sessions
    assert session._blocked_since  # type: ignore[attr-defined]
    for _ in range(200):
        client.read()
        left = left[server.send(left[:READ]) :] if left else left
        world.wait(0.01)
    assert client.read() == whole(body)


def test_a_client_that_takes_more_again_does_not_undo_the_limit(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(20_000, 2_000))])
    server = world.ask(client, upstream)
    server.send(whole(DATA)[:READ])
    world.turn()
    server.send(whole(DATA)[READ:])
    before = len(client.read())
    (session,) = world.process.sessions
    for _ in range(3):
        session.pauseProducing()  # type: ignore[attr-defined]
        world.turn()
        session.resumeProducing()  # type: ignore[attr-defined]
        world.turn()
    assert len(client.read()) == before < len(whole(DATA))
    world.wait(6)
    assert client.read() == whole(DATA)


def test_no_timer_runs_for_what_is_held_up_and_it_runs_afterwards(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(20_000, 2_000))], server=1, client=1)
    server = world.ask(client, upstream)
    offer(world, server, whole(DATA)[:100_000])
    for _ in range(6):
        world.wait(0.5)
        client.read()
    assert not world.records
    world.wait(6)
    assert len(client.read()) == 100_000
    assert world.statuses() == [(200, "sD")]


def test_no_timer_runs_for_a_body_that_is_held_up_and_it_runs_afterwards(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(in_=TokenBucket(20_000, 2_000))], server=1, client=1)
    offer(world, client, post(DATA)[:100_000])
    world.wait(3)
    assert not world.records
    world.wait(6)
    assert len(upstream.peers[0].read()) >= 100_000
    assert world.statuses() == [(408, "cH")]


def held(world: HttpWorld, *policies: Any, least: LeastRate | None = None, **timeouts: Any) -> "tuple[Upstream, Peer]":
    upstream = world.upstream()
    backend = world.backend(upstream)
    bodies = Bodies(buffering=Buffering(1_000_000, 1_000_000, absolute=timeouts.pop("absolute", False)))
    plans = {backend.name: ForwardPlan(ForwardSettings())}
    http = HttpFrontend(STRICT, Answers(), plans, bodies=bodies if timeouts.pop("buffered", True) else None)
    http.least_rate = least
    return upstream, world.client(world.frontend(backend, http=http, policies=policies, **timeouts))


@pytest.mark.parametrize("absolute", [False, True])
def test_a_body_that_is_held_has_the_longer_time_the_longer_we_hold_it_up(world: HttpWorld, absolute: bool) -> None:
    policy = ShapesRequests(in_=TokenBucket(20_000, 2_000))
    upstream, client = held(world, policy, absolute=absolute, client=1, http_request=1)
    offer(world, client, post(DATA))
    world.wait(3)
    assert not upstream.peers
    assert not world.records
    world.wait(3)
    assert upstream.peers[0].read().endswith(DATA)


def test_who_stops_sending_a_body_that_is_held_is_timed_nevertheless(world: HttpWorld) -> None:
    policy = ShapesRequests(in_=TokenBucket(20_000, 2_000))
    _, client = held(world, policy, absolute=True, client=1, http_request=1)
    offer(world, client, post(DATA)[:90_000])
    world.wait(9)
    ((status, _),) = world.statuses()
    assert status == 408


def test_a_body_is_not_too_slow_because_it_is_held_up(world: HttpWorld) -> None:
    policy = ShapesRequests(in_=TokenBucket(20_000, 2_000))
    upstream, client = held(world, policy, least=LeastRate(50_000, 0.5), buffered=False)
    offer(world, client, post(DATA))
    world.wait(6)
    assert upstream.peers[0].read().endswith(DATA)
    assert not world.records


def test_a_tunnel_takes_from_the_same_buckets(world: HttpWorld) -> None:
    bucket = TokenBucket(20_000, 2_000)
    upstream, client = world.site(policies=[Shapes(in_=bucket)])
    server = world.ask(client, upstream, UPGRADE)
    server.send(SWITCHED)
    assert client.read() == SWITCHED
    before = len(server.read())
    offer(world, client, DATA[:10_000])
    offer(world, client, DATA[10_000:20_000])
    if world.kind == "streams":
        assert len(server.read()) - before <= 2_000
    world.wait(2)
    assert server.read().endswith(DATA[:20_000])
    server.send(DATA)
    assert client.read() == SWITCHED + DATA


def test_a_server_that_ends_while_it_is_held_up_is_heard_when_its_turn_comes(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(50_000, 5_000))])
    server = world.ask(client, upstream, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    offer(world, server, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA[:90_000])
    server.finish()
    world.wait(4)
    assert client.read().endswith(DATA[:90_000])
    assert client.ended()
    assert world.statuses() == [(200, "--")]


def test_a_request_that_is_sent_again_on_another_connection_is_still_shaped(world: HttpWorld) -> None:
    upstream, client = world.site(policies=[Shapes(out=TokenBucket(20_000, 2_000))], reuse=HttpBackend())
    said = Said(client)
    first = world.ask(client, upstream)
    first.send(OK)
    assert said() == OK
    client.send(GET)
    first.leave()
    world.turn()
    second = upstream.peers[-1]
    assert second is not first
    offer(world, second, whole(DATA))
    assert len(said()) < len(DATA)
    world.wait(6)
    assert said()
    assert client.read().endswith(DATA)


@pytest.mark.parametrize("who", ["client", "server"])
def test_who_leaves_while_it_is_held_up_leaves_nothing(world: HttpWorld, who: str) -> None:
    bucket = TokenBucket(1_000, 1_000)
    upstream, client = world.site(policies=[ShapesRequests(bucket, bucket)])
    client.send(post(DATA)[:80_000])
    server = upstream.peers[-1]
    server.send(whole(DATA)[:80_000])
    (client if who == "client" else server).leave()
    (session,) = world.process.sessions or (None,)
    if session is not None:
        session.kill("enough")
    world.wait(0.1)
    assert bucket.line is None
    assert len(world.process.wheel) == 0


def test_a_shared_bucket_is_shared_equally(world: HttpWorld) -> None:
    bucket = TokenBucket(200_000, 20_000)
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream), policies=[Shapes(out=bucket)])
    clients = [world.client(frontend) for _ in range(3)]
    for client in clients:
        client.send(GET)
    left = [whole(DATA * 4)] * 3
    while world.clock.seconds() < 1003:
        for number, server in enumerate(upstream.peers):
            left[number] = left[number][server.send(left[number][:10_000]) :] if len(left[number]) > 0 else b""
        for client in clients:
            client.read()
        world.wait(0.01)
    got = [len(client.read()) for client in clients]
    assert 500_000 <= sum(got) <= 620_000 + 3 * READ
    assert min(got) > 0.6 * sum(got) / 3
