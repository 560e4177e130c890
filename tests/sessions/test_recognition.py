"""Several protocols on one port, on whole connections: who is recognised as what, and watched by whom."""

from typing import TYPE_CHECKING, Any

import pytest
from zope.interface import implementer

from twisted_lb.api import ALLOW, NEED_MORE, Deny, IStreamValidator, IStreamWatch
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.recognition import AnyOf

if TYPE_CHECKING:
    from tests.sessions.conftest import World


@implementer(IStreamWatch)
class Watch:
    """Notes what the client says."""

    def __init__(self) -> None:
        self.heard = b""

    def client_said(self, data: bytes) -> Any:
        self.heard += data
        return ALLOW

    def server_said(self, data: bytes) -> Any:
        return ALLOW


@implementer(IStreamValidator)
class Begins:
    """Allows what begins with ``word``; watches what it has allowed."""

    def __init__(self, word: bytes, server_first: bool = False) -> None:
        self.word = word
        self.server_first = server_first
        self.watches: list[Watch] = []
        self.facts: list[dict[str, Any]] = []

    def validate(self, data: bytes, facts: Facts) -> Any:
        if data.startswith(self.word):
            return ALLOW
        return NEED_MORE if self.word.startswith(data) else Deny("no " + self.word.decode())

    def watch(self, facts: Facts) -> Watch:
        self.facts.append(dict(facts.learnt))
        self.watches.append(Watch())
        return self.watches[-1]


def any_of(*members: Begins) -> AnyOf:
    return AnyOf([Built("validation_test", one.word.decode(), one) for one in members])


def watched(*members: Begins) -> list[int]:
    """How many connections each of them watches."""
    return [len(one.watches) for one in members]


@pytest.mark.parametrize("pieces", [[b"POST /"], [b"P", b"OST /"], [b"PO", b"S", b"T /"], [b"POST", b" /"]])
def test_only_the_one_that_has_recognised_it_watches_however_it_was_cut(world: "World", pieces: list[bytes]) -> None:
    members = Begins(b"PUT"), Begins(b"POST"), Begins(b"P")
    upstream = world.upstream()
    client = world.client(world.frontend(world.backend(upstream), validators=[any_of(*members)]))
    for piece in pieces:
        client.send(piece)
    assert upstream.peers[0].read() == b"POST /"
    assert watched(*members) == [0, 1, 0]
    assert members[1].facts == [{"protocol": "POST"}]
    assert members[1].watches[0].heard == b"POST /"
    world.end(client, upstream.peers[0])


def test_who_speaks_none_of_them_is_refused_in_the_name_of_all(world: "World") -> None:
    frontend = world.frontend(world.backend(world.upstream()), validators=[any_of(Begins(b"a"), Begins(b"b"))])
    client = world.client(frontend)
    client.send(b"x")
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.reason) == ("PR", "validator a: no a; validator b: no b")


def test_who_says_nothing_in_its_time_is_of_the_protocol_in_which_the_server_speaks_first(world: "World") -> None:
    members = Begins(b"GET"), Begins(b"EHLO", server_first=True)
    upstream = world.upstream()
    frontend = world.frontend(world.backend(upstream), validators=[any_of(*members)], inspect=1)
    client = world.client(frontend)
    world.wait(0.9)
    assert not upstream.peers
    world.wait(0.2)
    upstream.peers[0].send(b"220 hi")
    assert client.read() == b"220 hi"
    assert watched(*members) == [0, 1]
    assert members[1].facts == [{"protocol": "EHLO"}]
    world.end(client, upstream.peers[0])


def test_who_has_said_something_else_is_not(world: "World") -> None:
    members = Begins(b"GET"), Begins(b"EHLO", server_first=True)
    frontend = world.frontend(world.backend(world.upstream()), validators=[any_of(*members)], inspect=1)
    client = world.client(frontend)
    client.send(b"GE")
    world.wait(1.2)
    assert client.ended()
    assert world.endings() == ["cR"]


def test_a_silent_client_is_refused_where_nobody_takes_silence(world: "World") -> None:
    frontend = world.frontend(
        world.backend(world.upstream()), validators=[any_of(Begins(b"a"), Begins(b"b"))], inspect=1
    )
    client = world.client(frontend)
    world.wait(1.2)
    assert client.ended()
    assert world.endings() == ["cR"]


def test_who_is_let_on_unrecognised_is_watched_by_nobody_of_them(world: "World") -> None:
    members = Begins(b"GET"), Begins(b"GOT")
    upstream, beside = world.upstream(), Begins(b"")
    frontend = world.frontend(world.backend(upstream), validators=[any_of(*members), beside], inspect=1)
    frontend.lets_undecided = True
    client = world.client(frontend)
    client.send(b"G")
    world.wait(1.2)
    assert upstream.peers[0].read() == b"G"
    assert watched(*members, beside) == [0, 0, 1]
    assert beside.facts == [{}]
    world.end(client, upstream.peers[0])
