"""A client that leaves before the relay: what was under way for it is given up, and its ending names the stage."""

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from twisted_lb.api import ALLOW, NEED_MORE, Stage

if TYPE_CHECKING:
    from tests.sessions.conftest import Peer, World

LEAVE = pytest.mark.parametrize("leave", ["finish", "leave"])


def depart(world: "World", client: "Peer", leave: str) -> None:
    """Leave as ``leave`` says; but a transport that is not ours does not see an end of stream while it is paused."""
    getattr(client, "leave" if world.kind == "transports" else leave)()


class Undecided:
    """A policy that never answers, and a validator that always wants more."""

    def __init__(self, stage: Stage = Stage.POLICY) -> None:
        self.stage = stage
        self.answers: list[Deferred[Any]] = []
        self.cancelled = 0

    def decide(self, facts: Any) -> "Deferred[Any]":
        self.answers.append(Deferred(self._cancel))
        return self.answers[-1]

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1

    def validate(self, data: bytes, facts: Any) -> Any:
        return NEED_MORE


@LEAVE
def test_while_a_server_is_being_connected_to(world: "World", leave: str) -> None:
    a = world.upstream("a", "silence", maxconn=1)
    client = world.client(world.frontend(world.backend(a, connect=5.0)))
    world.wait(0.2)
    depart(world, client, leave)
    record = world.records[0]
    assert (record.ending, record.stage, record.server) == ("CC", "connect", "a")
    assert 190 <= record.connect_ms <= 210
    assert a.cancelled == 1
    assert a.server.connections == 0
    a.answer()
    world.turn()
    assert not a.peers


@LEAVE
def test_while_it_waits_for_the_turn_around(world: "World", leave: str) -> None:
    a = world.upstream("a", "refuse")
    client = world.client(world.frontend(world.backend(a, connect=5.0)))
    world.wait(0.2)
    depart(world, client, leave)
    assert world.endings() == ["CC"]
    assert world.records[0].retries == 1
    world.wait(5)
    assert a.server.failures == 1, "nobody is left to try again for"


@LEAVE
def test_while_it_waits_in_the_queue(world: "World", leave: str) -> None:
    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a))
    world.client(frontend)
    client = world.client(frontend)
    depart(world, client, leave)
    record = world.records[0]
    assert (record.ending, record.stage) == ("CQ", "queue")
    assert a.server.connections == 1


@LEAVE
@pytest.mark.parametrize("stage", [Stage.ADMISSION, Stage.POLICY])
def test_while_a_policy_decides(world: "World", leave: str, stage: Stage) -> None:
    policy = Undecided(stage)
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a), policies=[policy], policy=5.0))
    depart(world, client, leave)
    record = world.records[0]
    assert (record.ending, record.stage, record.plugin) == ("CR", stage.name.lower(), "")
    assert policy.cancelled == 1
    assert not world.process.plugin_failures, "being cancelled is no failure"
    assert not a.peers


@LEAVE
def test_while_a_validator_wants_more(world: "World", leave: str) -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a), validators=[Undecided()], inspect=5.0))
    client.send(b"GE")
    depart(world, client, leave)
    record = world.records[0]
    assert (record.ending, record.stage, record.bytes_in) == ("CR", "validation", 2)
    assert not a.peers


def test_a_client_that_said_all_and_now_waits_for_the_answer_has_not_left(world: "World") -> None:
    a = world.upstream("a", "silence")
    client = world.client(world.frontend(world.backend(a)))
    client.send(b"all there is to say")
    client.finish()
    assert world.records == []
    a.answer()
    world.turn()
    server = a.peers[0]
    assert server.read() == b"all there is to say"
    assert server.ended(), "the end of stream is passed on"
    server.send(b"the answer")
    server.finish()
    assert client.read() == b"the answer"
    assert world.endings() == ["--"]


class AllowsAll:
    """A validator."""

    def validate(self, data: bytes, facts: Any) -> Any:
        return ALLOW


def test_a_client_that_said_all_before_a_validator_allowed_it_has_not_left(world: "World") -> None:
    a = world.upstream("a", "silence")
    client = world.client(world.frontend(world.backend(a), validators=[AllowsAll()]))
    client.send(b"all there is to say")
    client.finish()
    assert world.records == []
    a.answer()
    world.turn()
    assert a.peers[0].read() == b"all there is to say"
    assert a.peers[0].ended()
    world.end(client, a.peers[0])
    assert (world.endings(), world.records[0].bytes_in) == (["--"], 19)


def test_a_server_that_leaves_during_the_relay_is_no_fault_of_the_client(world: "World") -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a)))
    a.peers[0].send(b"bye")
    a.peers[0].finish()
    assert client.read() == b"bye"
    assert client.ended()
    client.finish()
    assert world.endings() == ["--"]
