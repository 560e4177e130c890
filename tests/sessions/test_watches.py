"""Validators that stay on the stream, on whole connections: nothing passes that they have not seen, and refused."""

import gc
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from tests.sessions.proxied import V1, client_of
from twisted_lb.api import ALLOW, ALLOW_FINALLY, Deny, IStreamValidator, IStreamWatch, Stage, Tarpit
from twisted_lb.facts import Facts

if TYPE_CHECKING:
    from tests.sessions.conftest import World

EVIL = Deny("evil")
BULK = bytes(range(256)) * 4096


@implementer(IStreamWatch)
class Watch:
    """Notes what passes; denies what holds ``evil`` and is content when it has seen ``enough``."""

    def __init__(self, guard: "Guard") -> None:
        self.guard = guard
        self.heard: dict[str, bytes] = {"client": b"", "server": b""}

    def _judge(self, side: str, data: bytes) -> Any:
        assert type(data) is bytes
        assert data
        self.heard[side] += data
        if b"evil" in data:
            return self.guard.denial() if callable(self.guard.denial) else self.guard.denial
        return ALLOW_FINALLY if b"enough" in data else ALLOW

    def client_said(self, data: bytes) -> Any:
        return self._judge("client", data)

    def server_said(self, data: bytes) -> Any:
        return self._judge("server", data)


@implementer(IStreamValidator)
class Guard:
    """Watches every connection; ``server_first``: and waits for no byte of the client."""

    def __init__(self, denial: Any = EVIL, server_first: bool = False) -> None:
        self.denial = denial
        self.server_first = server_first
        self.watches: list[Watch] = []
        self.asked: list[bytes] = []

    def validate(self, data: bytes, facts: Facts) -> Any:
        self.asked.append(data)
        return ALLOW

    def watch(self, facts: Facts) -> Watch:
        self.watches.append(Watch(self))
        return self.watches[-1]


def begun(world: "World", *guards: Guard, **timeouts: Any) -> tuple[Any, Any, Any]:
    """Return a client and a server that have said hello, and the frontend."""
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream), validators=guards, **timeouts)
    client = world.client(frontend)
    client.send(b"hello")
    assert upstream.peers[0].read() == b"hello"
    return client, upstream.peers[0], frontend


def test_both_sides_are_heard_from_the_first_byte_on(world: "World") -> None:
    client, server, _ = begun(world, first := Guard(), second := Guard())
    server.send(b"welcome")
    client.send(b"thanks")
    assert client.read() == b"welcome"
    assert server.read() == b"hellothanks"
    for guard in (first, second):
        assert guard.watches[0].heard == {"client": b"hellothanks", "server": b"welcome"}
    world.end(client, server)
    assert world.endings() == ["--"]


def test_bulk_passes_whole_through_a_reader_that_is_slow(world: "World") -> None:
    client, server, _ = begun(world, guard := Guard())
    sent = 0
    while sent < len(BULK):
        sent += server.send(BULK[sent : sent + 50_000])
        if len(client.read()) < sent - 200_000:
            world.turn()
    while len(client.read()) < len(BULK):
        world.turn()
    assert client.read() == BULK == guard.watches[0].heard["server"]
    world.end(client, server)


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_is_denied_does_not_pass_and_both_sides_are_cut_off(world: "World", side: str) -> None:
    client, server, _ = begun(world, Guard())
    (client if side == "client" else server).send(b"more evil")
    assert client.ended()
    assert server.ended()
    assert (client.read(), server.read()) == (b"", b"hello")
    record = world.records[0]
    assert (record.ending, record.stage, record.reason, record.plugin) == ("PD", "relay", "validator test: evil", "")
    assert (record.bytes_in, record.bytes_out) == ((14, 0) if side == "client" else (5, 9))


def test_the_first_bytes_can_be_denied_before_the_server_gets_one(world: "World") -> None:
    upstream = world.upstream()
    client = world.client(world.frontend(world.backend(upstream), validators=[Guard()]))
    client.send(b"evil")
    assert client.ended()
    assert upstream.peers[0].ended()
    assert upstream.peers[0].read() == b""
    assert world.endings() == ["PD"]


def test_a_farewell_is_the_last_that_the_client_hears(world: "World") -> None:
    client, server, _ = begun(world, Guard(Deny("evil", farewell=b"554 no\r\n")))
    server.send(b"220 hi\r\n")
    client.send(b"evil")
    assert client.read() == b"220 hi\r\n554 no\r\n"
    assert client.ended()
    assert server.ended()
    client.leave()
    assert world.endings() == ["PD"]


def test_who_has_not_taken_all_gets_no_farewell(world: "World") -> None:
    client, server, _ = begun(world, Guard(Deny("evil", farewell=b"bye")))
    for _ in range(40):
        server.send(BULK[:50_000])
    client.send(b"evil")
    assert b"bye" not in client.read()
    assert client.ended()
    assert world.endings() == ["PD"]


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
def test_each_way_to_part_ends_it(world: "World", how: Any) -> None:
    client, server, _ = begun(world, Guard(Deny("evil", how=how)))
    client.send(b"evil")
    assert client.ended()
    assert server.ended()
    assert world.endings() == ["PD"]


def test_a_watch_that_is_content_sees_no_more_of_that_direction(world: "World") -> None:
    client, server, _ = begun(world, guard := Guard())
    client.send(b"enough")
    client.send(b"evil")
    server.send(b"still watched")
    assert server.read() == b"helloenoughevil"
    assert guard.watches[0].heard == {"client": b"helloenough", "server": b"still watched"}
    server.send(b"evil")
    assert world.endings() == ["PD"]


def raises() -> Any:
    raise ValueError("boom")


@pytest.mark.parametrize("answer", [raises, lambda: None])
def test_a_watch_that_fails_denies_and_its_plugin_is_named(world: "World", answer: Any) -> None:
    client, server, frontend = begun(world, guard := Guard(answer))
    client.send(b"evil")
    assert client.ended()
    assert server.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.plugin) == ("ID", "relay", "validation_test")
    assert world.process.plugin_failures == {"validation_test": 1}
    guard.denial = Deny("evil")
    second = world.client(frontend)
    second.send(b"hello")
    assert world.upstreams[0].peers[1].read() == b"hello"
    world.end(second, world.upstreams[0].peers[1])


def test_a_validator_that_cannot_watch_denies(world: "World") -> None:
    class Broken(Guard):
        def watch(self, facts: Facts) -> Watch:
            raise ValueError("boom")

    upstream = world.upstream()
    client = world.client(world.frontend(world.backend(upstream), validators=[Broken()]))
    client.send(b"hello")
    assert client.ended()
    assert upstream.peers[0].ended()
    assert upstream.peers[0].read() == b""
    assert (world.records[0].ending, world.records[0].plugin) == ("ID", "validation_test")


def test_a_validator_may_leave_a_connection_alone(world: "World") -> None:
    class Content(Guard):
        def watch(self, facts: Facts) -> Any:
            return None

    client, server, _ = begun(world, Content())
    client.send(b"evil")
    assert server.read() == b"helloevil"
    world.end(client, server)
    assert world.endings() == ["--"]


# Where the server speaks first


def test_no_byte_is_waited_for_where_the_server_speaks_first(world: "World") -> None:
    upstream, guard = world.upstream(), Guard(server_first=True)
    client = world.client(world.frontend(world.backend(upstream), validators=[guard], inspect=1))
    upstream.peers[0].send(b"220 hi\r\n")
    assert client.read() == b"220 hi\r\n"
    assert guard.asked == []
    assert guard.watches[0].heard["server"] == b"220 hi\r\n"
    world.end(client, upstream.peers[0])


@pytest.mark.parametrize("early", [b"", b"EHLO x"])
def test_what_came_behind_a_proxy_header_is_validated_all_the_same(world: "World", early: bytes) -> None:
    guard = Guard(server_first=True)
    client = client_of(world, validators=[guard], inspect=1)
    client.send(V1 + early)
    assert world.upstreams[0].peers[0].read() == early
    assert guard.asked == [early] * bool(early)
    assert guard.watches[0].heard["client"] == early
    world.end(client, world.upstreams[0].peers[0])


def test_a_client_that_is_refused_behind_a_proxy_header_may_be_held(world: "World") -> None:
    held = SimpleNamespace(stage=Stage.ADMISSION, decide=lambda facts: Tarpit("slow down"))
    client = client_of(world, policies=[held], tarpit=1)
    client.send(V1 + b"hello")
    world.wait(0.9)
    assert world.records == []
    world.wait(0.2)
    assert client.ended()
    assert (world.records[0].ending, world.records[0].source) == ("PT", "203.0.113.7")


def test_another_validator_is_waited_for_all_the_same(world: "World") -> None:
    upstream, guard = world.upstream(), Guard(server_first=True)
    client = world.client(world.frontend(world.backend(upstream), validators=[guard, Guard()], inspect=1))
    assert not upstream.peers
    client.send(b"hello")
    assert guard.asked == [b"hello"]
    assert upstream.peers[0].read() == b"hello"
    world.end(client, upstream.peers[0])


def test_the_proxy_header_of_the_server_is_not_the_client_s(world: "World") -> None:
    class Header:
        def preface(self, facts: Facts) -> bytes:
            return b"PROXY evil\r\n"

    upstream, guard = world.upstream(), Guard()
    upstream.server.sender = Header()
    client = world.client(world.frontend(world.backend(upstream), validators=[guard]))
    client.send(b"hello")
    assert upstream.peers[0].read() == b"PROXY evil\r\nhello"
    assert guard.watches[0].heard["client"] == b"hello"
    world.end(client, upstream.peers[0])


def test_nothing_is_left_for_the_garbage_collector(world: "World") -> None:
    client, server, _ = begun(world, guard := Guard())
    gone = weakref.ref(guard.watches.pop())
    gc.disable()
    try:
        world.end(client, server)
        world.turn()
        assert world.kind != "streams" or gone() is None
    finally:
        gc.enable()
