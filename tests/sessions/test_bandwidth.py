"""Sessions whose policies have shaped them: what passes when, idle timers, watches, and how they end."""

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from twisted_lb.api import ALLOW, Allow, Deny, Facts, IStreamValidator, IStreamWatch, Stage, TokenBucket

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, Upstream, World

DATA = bytes(range(256)) * 400
READ = 64 * 1024
"""What is read before a transport can be paused."""


class Shapes:
    """A policy."""

    def __init__(self, in_: TokenBucket | None = None, out: TokenBucket | None = None) -> None:
        self.stage = Stage.ADMISSION
        self._buckets = in_, out

    def decide(self, facts: Facts) -> Allow:
        facts.shape(*self._buckets)
        return ALLOW


def site(world: "World", *policies: Any, server: float | None = None, **more: Any) -> "tuple[Upstream, Peer]":
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream, server=server), policies=policies, **more)
    return upstream, world.client(frontend)


def offer(world: "World", peer: "Peer", data: bytes) -> None:
    """Send all of ``data``, as far as there is room for it within a moment."""
    while data:
        taken = peer.send(data)
        data = data[taken:]
        if not taken:
            world.wait(0.05)


def test_what_the_client_sends_passes_as_its_bucket_allows_and_the_other_way_is_free(world: "World") -> None:
    upstream, client = site(world, Shapes(in_=TokenBucket(100_000, 10_000)))
    client.send(b"x")
    (server,) = upstream.peers
    server.send(DATA[:50_000])
    assert client.read() == DATA[:50_000]
    offer(world, client, DATA[:50_000])
    assert len(server.read()) <= 10_001 + READ
    world.wait(1)
    assert server.read() == b"x" + DATA[:50_000]


def test_several_policies_add_up(world: "World") -> None:
    fast, slow = TokenBucket(10_000_000, 1_000_000), TokenBucket(20_000, 4_000)
    upstream, client = site(world, Shapes(out=fast), Shapes(out=slow), Shapes(out=fast))
    (server,) = upstream.peers
    offer(world, server, DATA[:100_000])
    world.wait(0.5)
    assert len(client.read()) <= 4_000 + READ + 10_000
    world.wait(5)
    assert client.read() == DATA[:100_000]


def test_first_bytes_that_were_looked_at_take_from_the_bucket_too(world: "World") -> None:
    bucket = TokenBucket(1_000, 1_000)
    upstream, client = site(world, Shapes(in_=bucket))
    client.send(b"y" * 900)
    (server,) = upstream.peers
    assert server.read() == b"y" * 900
    assert bucket.room(world.clock.seconds()) == 100


def test_a_side_that_waits_for_tokens_is_not_idle_and_one_that_does_not_is(world: "World") -> None:
    upstream, client = site(world, Shapes(in_=TokenBucket(400, 1_000)), client=1, server=1, client_fin=1)
    client.send(DATA[:3_000])
    (server,) = upstream.peers
    world.wait(4)
    assert not world.records
    client.finish()
    world.wait(1.5)
    if world.kind == "streams":
        assert not world.records, "two turns more"
        world.wait(2)
        assert server.read() == DATA[:3_000]
    world.wait(4)
    assert world.endings() == ["cD"] or world.endings() == ["sD"]


def test_one_that_is_killed_while_it_waits_leaves_nothing(world: "World") -> None:
    bucket = TokenBucket(1_000, 1_000)
    upstream, client = site(world, Shapes(in_=bucket, out=bucket))
    client.send(DATA[:80_000])
    upstream.peers[0].send(DATA[:80_000])
    (session,) = world.process.sessions
    session.kill("enough")
    world.assert_empty()
    assert bucket.line is None
    assert client.ended()


@implementer(IStreamWatch)
class Watch:
    """Notes what it is shown, and refuses what ``never`` is in."""

    never = b"\xff\xfe"

    def __init__(self) -> None:
        self.client = self.server = b""

    def client_said(self, data: bytes) -> Allow | Deny:
        self.client += data
        return Deny("never") if self.never in data else ALLOW

    def server_said(self, data: bytes) -> Allow:
        self.server += data
        return ALLOW


@implementer(IStreamValidator)
class Watches:
    """A validator whose watch the test holds."""

    server_first = True

    def __init__(self) -> None:
        self.made = Watch()

    def validate(self, data: bytes, facts: Facts) -> Allow:
        return ALLOW

    def watch(self, facts: Facts) -> Watch:
        return self.made


def test_a_watch_sees_each_byte_once_however_often_it_waits_for_tokens(world: "World") -> None:
    watches = Watches()
    upstream, client = site(world, Shapes(in_=TokenBucket(50_000, 5_000)), validators=[watches])
    (server,) = upstream.peers
    offer(world, client, DATA[:60_000])
    server.send(b"answer")
    assert client.read() == b"answer"
    world.wait(2)
    assert server.read() == DATA[:60_000]
    assert watches.made.client == DATA[:60_000]
    assert watches.made.server == b"answer"


def test_what_a_watch_refuses_ends_it_also_while_it_waits_for_tokens(world: "World") -> None:
    upstream, client = site(world, Shapes(in_=TokenBucket(1_000, 1_000)), validators=[Watches()])
    (server,) = upstream.peers
    client.send(b"a" * 3_000)
    client.send(Watch.never)
    world.wait(5)
    assert client.ended()
    assert server.ended()
    assert Watch.never not in server.read()
    assert world.endings() == ["PD"]
    world.assert_empty()


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_end_comes_behind_what_was_held_up(world: "World", who: str) -> None:
    bucket = TokenBucket(50_000, 5_000)
    upstream, client = site(world, Shapes(in_=bucket, out=bucket))
    client.send(b"x")
    (server,) = upstream.peers
    assert server.read() == b"x"
    one, other = (client, server) if who == "client" else (server, client)
    offer(world, one, DATA[:60_000])
    one.finish()
    world.wait(2)
    assert other.ended()
    assert other.read().endswith(DATA[:60_000])
    other.finish()
    assert one.ended()
    assert world.endings() == ["--"]
