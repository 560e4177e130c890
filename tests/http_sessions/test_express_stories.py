"""Random stories of clients, servers and clocks, played over both ways of HTTP mode: each step comes to the same."""

import contextlib
import re
import socket
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http_sessions.conftest import GET, OK, HttpWorld, post
from twisted_lb.backends.http_connection import HttpBackend
from twisted_lb.endings import Stage
from twisted_lb.frontend import HttpFrontend
from twisted_lb.http_express import ExpressSession
from twisted_lb.http_session import HttpSession
from twisted_lb.net import timers
from twisted_lb.stages.answers import Answers
from twisted_lb.verdicts import ALLOW_FINALLY
from twisted_lb.wire.http1 import ForwardPlan, ForwardSettings, Http1Settings
from twisted_lb.wire.http1_speak import Speaking

pytestmark = pytest.mark.linux

KEPT = b"GET /kept HTTP/1.1\r\nAccept: */*\r\nHost: x\r\nConnection: keep-alive\r\nX-Last: 1\r\n\r\n"
CLIENT_SAYS = {
    "plain": GET,
    "kept": KEPT,
    "other host": b"GET / HTTP/1.1\r\nHost: y.example:80\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n",
    "two": GET + KEPT,
    "half": GET[:20],
    "rest": GET[20:],
    "blank": b"\r\n",
    "post": post(b"body"),
    "half a post": post(b"body")[:-2],
    "head": b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    "old": b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    "last": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 120 + b"\r\n",
    "long": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1100 + b"\r\n\r\n",
    "nonsense": b"\x16\x03\x01\r\n\r\n",
}
SERVER_SAYS = {
    "ok": OK,
    "kept": b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nyes",
    "big": b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"b" * 60_000,
    "half": OK[:30],
    "rest": OK[30:],
    "more": OK + b"stray",
    "twice": OK + OK,
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nwhatever",
    "interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    "login": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nno",
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"A: b\r\n" * 120 + b"\r\nok",
    "long": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: " + b"b" * 1100 + b"\r\n\r\nok",
    "nonsense": b"\x15\x03\x01\r\n\r\n",
}
LEAVES = ["finish", "leave", "read", "reset"]
"""What either side may do beside speaking. A Unix socket that is closed with something unread resets."""


Step = Sequence[tuple[str, str]]
"""Who does what, all at once."""


class Slot(dict[Any, None]):
    """A set that keeps its order: in one that does not, who is due first of two would change from run to run."""

    def add(self, item: Any) -> None:
        """See ``set``."""
        self[item] = None

    def discard(self, item: Any) -> None:
        """See ``set``."""
        self.pop(item, None)


class Final:
    """A policy after which no other is asked."""

    stage = Stage.ADMISSION

    def decide(self, facts: Any) -> Any:
        return ALLOW_FINALLY


class Moody:
    """A balancer that chooses the first candidate, or raises once when told to."""

    blind = True
    raises = False

    def choose(self, candidates: Any, facts: Any) -> Any:
        raises, self.raises = self.raises, False
        if raises:
            raise ValueError
        return candidates[0]


TIGHT = Http1Settings(max_head_bytes=1024, max_fields=1000)
WORLDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "tight": {"parsing": TIGHT, "http": HttpBackend(parsing=TIGHT)},
    "few fields": {"parsing": Http1Settings(max_fields=1)},
    "spoken for": {"plan": {"speaking": Speaking(x_forwarded_for="set", x_forwarded_host="set", forwarded="append")}},
    "server is asked to close": {"plan": {"close_server": True}},
    "server_close": {"http": HttpBackend(server_close=True)},
    "nothing is kept": {"http": HttpBackend(maximum=0)},
    "private": {"http": HttpBackend(reuse="never")},
    "final": {"policies": [Final()]},
    "two servers": {"servers": 2},
    "no timeouts": {"timeouts": {}, "of_backend": {}},
    "idle clients alone are timed": {"timeouts": {"http_keep_alive": 7.0}, "of_backend": {}},
    "recorded": {"recorded": True},
    "recorded, two servers": {"recorded": True, "servers": 2},
    "impatient": {"of_backend": {"connect": 3.0, "queue": 3.0, "server": 1.0}},
}


class Together(HttpWorld):
    """A world in which several things can happen before anybody is told of any: they are of one batch of events."""

    held = False

    def turn(self) -> None:
        """See ``World``."""
        if not self.held:
            super().turn()


class Story:
    """Two clients, a server for one request at a time, and a queue; ``kind``: which way requests go."""

    def __init__(self, kind: str, variant: str) -> None:
        what = WORLDS[variant]
        self.world = world = Together(kind)
        if not what.get("recorded", False):
            world._log = None
        self.upstreams = [world.upstream(str(number), maxconn=1) for number in range(what.get("servers", 1))]
        self.balancer = Moody()
        of_backend = what.get("of_backend", {"connect": 3.0, "queue": 3.0, "server": 4.0})
        http, parsing = what.get("http", HttpBackend()), what.get("parsing", Http1Settings())
        self.backend = world.backend(*self.upstreams, http=http, balancer=self.balancer, **of_backend)
        plan = ForwardPlan(ForwardSettings(**what.get("plan", {})))
        settings = HttpFrontend(parsing, Answers(), {self.backend.name: plan})
        timeouts = what.get("timeouts", {"client": 5.0, "http_request": 6.0, "http_keep_alive": 7.0})
        frontend = world.frontend(self.backend, policies=what.get("policies", ()), http=settings, **timeouts)
        self.sessions: list[Any] = []
        for _ in range(2):
            world.client(frontend)
            session: Any = (world.process.sessions - set(self.sessions)).pop()
            # As little as there can be, so that who does not read is soon full.
            session.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.sessions.append(session)
            express = kind == "express" and variant != "server_close"
            assert type(session) is (ExpressSession if express else HttpSession)

    def step(self, at_once: Step) -> None:
        """Let something happen, or several things at once."""
        self.world.held = True
        for who, what in at_once:
            self._happens(who, what)
        self.world.held = False
        self.world.turn()

    def _happens(self, who: str, what: str) -> None:
        """Let something happen; what cannot, as its socket is closed, does not."""
        world = self.world
        with contextlib.suppress(OSError):
            if who == "clock":
                for _ in range(int(float(what) / 0.5)):
                    world.clock.advance(0.5)
                    world.turn()
            elif who == "process":
                world.process.stopping = True
                for session in self.sessions:
                    if session in world.process.sessions:
                        session.wind_down()
                world.turn()
            elif who == "balancer":
                self.balancer.raises = True
            elif who == "reload":
                self._reload()
            elif who == "check":
                self.upstreams[0].server.up = what == "up"
                self.backend.server_changed()
                world.turn()
            elif who == "server":
                self._act(self.upstreams[0].peers, -1, SERVER_SAYS, what)
            elif who == "second server":
                self._act(self.upstreams[-1].peers, -1, SERVER_SAYS, what)
            elif who == "server before":
                self._act(self.upstreams[0].peers, -2, SERVER_SAYS, what)
            else:
                self._act(world.clients, 0 if who == "client" else 1, CLIENT_SAYS, what)

    def _reload(self) -> None:
        """As ``Assembly`` does: what is idle is closed, and what carries a request now will not be kept."""
        for server in self.backend.servers:
            assert server.idle is not None
            server.idle.close()
            server.pool(self.world.clock, self.backend.http)
        self.backend.take_over()

    def _act(self, peers: Sequence[Any], which: int, says: dict[str, bytes], what: str) -> None:
        if len(peers) < abs(which):
            return
        peer = peers[which]
        if what in says:
            peer.send(says[what])
        elif what == "reset":
            peer._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.leave()
        else:
            getattr(peer, what)()

    def state(self) -> tuple[Any, ...]:
        """Everything that is counted, and where each session stands."""
        backend, process = self.backend, self.world.process
        return (
            [(server.connections, server.failures, len(server.idle or ())) for server in backend.servers],
            backend.load.connections,
            len(backend.queue),
            [limit.count for limit in self.world.limits],
            dict(process.plugin_failures),
            [(*self._of(session), session in process.sessions) for session in self.sessions],
            [[self._heard(peer) for peer in upstream.peers] for upstream in self.upstreams],
        )

    def _of(self, session: Any) -> tuple[Any, ...]:
        since = session._deadline if session.stage is not Stage.ACCESS_LOG else None
        return (
            session.stage,
            session.requests,
            session._total_in,
            session._total_out,
            session._begun and session.stage is Stage.VALIDATION,
            session._client_ended,
            bool(session._blocked_since),
            since,
        )

    def _heard(self, peer: Any) -> bytes | None:
        """What a connection to the server has carried, without taking it from there."""
        try:
            waits = peer._sock.recv(1 << 20, socket.MSG_PEEK)
        except BlockingIOError:
            waits = b""
        except OSError:
            return None
        return bytes(peer._got + waits)

    def outcome(self) -> list[tuple[bytes, bool]]:
        """What each client was answered, and whether it was closed."""
        told = []
        for client in self.world.clients:
            told.append((b"", True))
            with contextlib.suppress(OSError):
                told[-1] = re.sub(rb"Date: .*\r\n", b"", client.read()), client.ended()
        return told

    def records(self) -> list[dict[str, Any]]:
        """What the access log was told, but for the time of day."""
        return [{**msgspec.structs.asdict(record), "time": 0.0} for record in self.world.records]

    def close(self) -> None:
        """Nothing is left of it."""
        for session in list(self.world.process.sessions):
            session.kill("the test is over")
        self.world.turn()
        self.world.assert_empty()
        self.world.close()


SPEAKERS = st.sampled_from(["client", "client", "other"])
EVENTS = st.one_of(
    st.tuples(SPEAKERS, st.sampled_from([*CLIENT_SAYS] * 2 + ["plain", "kept"] * 16 + LEAVES + ["read"] * 3)),
    st.tuples(
        st.sampled_from(["server"] * 4 + ["server before", "second server"]),
        st.sampled_from([*SERVER_SAYS] * 2 + ["ok", "kept", "big"] * 10 + LEAVES),
    ),
    st.tuples(st.just("clock"), st.sampled_from(["0.5", "1.5", "30"])),
    st.tuples(st.just("process"), st.just("stops")),
    st.tuples(st.just("balancer"), st.just("raises")),
    st.tuples(st.just("reload"), st.just("same")),
    st.tuples(st.just("check"), st.sampled_from(["down", "up", "up"])),
)
STEPS = st.lists(EVENTS, min_size=1, max_size=1) | st.lists(EVENTS, min_size=1, max_size=4)
BEGUN: list[Step] = [[("client", "plain")], [("server", "ok")]]


def one_by_one(*events: str) -> list[Step]:
    """Put a story into words: each event is who, a colon, and what."""
    return [[(who, what)] for who, _, what in (event.partition(": ") for event in events)]


MEMORABLE = {
    "what was asked before a reload is not kept": ("usual", ["client: plain", "reload: same", "server: ok"]),
    "who logs in keeps the connection": (
        "usual",
        ["client: plain", "server: login", "client: plain", "server: ok", "other: plain", "client: plain"],
    ),
    "who has logged in goes back to that server": (
        "two servers",
        ["other: plain", "client: plain", "second server: login", "server: ok", "client: plain"],
    ),
    "a first request while the process stops": ("usual", ["process: stops", "other: plain", "server: ok"]),
    "a first request may be the last": ("idle clients alone are timed", ["other: plain", "server: ok", "clock: 30"]),
    "the server is late for a client that was there": ("impatient", ["clock: 3.5", "client: plain", "clock: 1.5"]),
    "a head that is too long": ("tight", ["client: long"]),
    "a response that is too long": ("tight", ["client: plain", "server: long"]),
    "who does not read": (
        "usual",
        ["client: plain", "server: big"] * 3 + ["client: plain", "client: read", "clock: 30"],
    ),
}


def play(kind: str, variant: str, steps: Sequence[Step]) -> list[Any]:
    """Play a story; returns what there was to be seen after each step."""
    with patch.object(timers, "set", Slot, create=True):
        return _play(Story(kind, variant), steps)


def _play(story: Story, steps: Sequence[Step]) -> list[Any]:
    try:
        seen: list[Any] = []
        for step in [*BEGUN, *steps]:
            story.step(step)
            seen.append((step, story.state()))
        return [*seen, story.outcome(), story.records()]
    finally:
        story.close()


def compare(variant: str, steps: Sequence[Step]) -> None:
    """Play a story both ways, and see that nobody could tell the difference."""
    for one, other in zip(play("express", variant, steps), play("streams", variant, steps), strict=True):
        assert one == other


@pytest.mark.parametrize("name", MEMORABLE)
def test_memorable_stories_come_to_the_same(name: str) -> None:
    variant, events = MEMORABLE[name]
    compare(variant, one_by_one(*events))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(variant=st.sampled_from(["usual"] * 3 + [*WORLDS]), steps=st.lists(STEPS, max_size=16))
def test_whatever_happens_it_comes_to_the_same(variant: str, steps: Sequence[Step]) -> None:
    compare(variant, steps)
