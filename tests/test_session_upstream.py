"""A server's ``maxconn`` and the queue before it."""

import socket
from typing import Any

import pytest

from tests.sessions.conftest import World, world
from twisted_lb.backends.target import SocketTarget
from twisted_lb.endings import Stage
from twisted_lb.verdicts import ALLOW

__all__ = ["world"]

SLOT_S = 0.06


def test_who_waits_longest_gets_the_slot(world: World) -> None:
    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a))
    clients = [world.client(frontend) for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    for number, client in enumerate(clients):
        assert len(a.peers) == number + 1, "more than maxconn connections are open"
        assert a.peers[number].read() == b"%d" % number
        world.wait(0.1)
        world.end(client, a.peers[number])
    assert [record.backend_queue for record in world.records] == [0, 0, 1, 2]
    assert [record.queue_ms for record in world.records] == [0, 100, 200, 300]
    assert {record.server_connections for record in world.records} == {1}


def test_other_servers_are_used_before_anybody_waits(world: World) -> None:
    a, b = world.upstream("a", maxconn=2), world.upstream("b", maxconn=1)
    frontend = world.frontend(world.backend(a, b))
    for _ in range(4):
        world.client(frontend)
    assert (a.server.connections, b.server.connections) == (2, 1)
    assert len(world.backends[0].queue) == 1


def test_no_slot_in_time_ends_a_client_that_waits(world: World) -> None:
    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a, queue=0.5))
    world.client(frontend)
    waiting = world.client(frontend)
    world.wait(0.48)
    assert not waiting.ended()
    world.wait(0.02 + SLOT_S)
    assert waiting.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.server) == ("sQ", "queue", "<NOSRV>")
    assert record.queue_ms >= 500
    assert record.connect_ms == -1
    assert a.server.connections == 1


def test_the_queue_timer_stops_when_a_slot_is_given(world: World) -> None:
    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a, queue=0.5))
    first, second = world.client(frontend), world.client(frontend)
    world.wait(0.4)
    world.end(first, a.peers[0])
    world.wait(10)
    assert not second.ended()
    assert len(a.peers) == 2


def test_beyond_maxqueue_a_client_is_turned_away_at_once(world: World) -> None:
    a = world.upstream(maxconn=1)
    backend = world.backend(a)
    backend.maxqueue = 1
    frontend = world.frontend(backend)
    first, second, third = (world.client(frontend) for _ in range(3))
    assert third.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.server, record.backend_queue) == ("SQ", "queue", "<NOSRV>", 1)
    assert (record.queue_ms, record.connect_ms) == (-1, -1)
    world.end(first, a.peers[0])
    world.client(frontend)
    assert len(backend.queue) == 1, "there is room in the queue again"
    assert not second.ended()


def test_policies_say_who_goes_first(world: World) -> None:
    class ByPort:
        stage = Stage.ADMISSION

        def decide(self, facts: Any) -> Any:
            facts.priority = facts.destination.port - 80
            return ALLOW

    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a), policies=[ByPort()])
    ports = [80, 82, 81, 82, 81]
    clients = [world.client(frontend, port=port) for port in ports]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    served = []
    for turn in range(5):
        served.append(int(a.peers[turn].read()))
        world.end(clients[served[-1]], a.peers[turn])
    assert served == [0, 2, 4, 1, 3]


def test_a_client_that_leaves_the_queue_gives_its_place_to_the_next(world: World) -> None:
    a = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(a))
    first, second, third = (world.client(frontend) for _ in range(3))
    world.wait(0.1)
    second.leave()
    assert (world.records[0].ending, world.records[0].stage) == ("CQ", "queue")
    third.send(b"third")
    world.end(first, a.peers[0])
    assert a.peers[1].read() == b"third"


def test_a_slot_is_handed_on_when_its_server_cannot_be_reached(world: World) -> None:
    a = world.upstream("a", "silence", maxconn=1)
    frontend = world.frontend(world.backend(a, retries=0, connect=0.5))
    world.client(frontend)
    world.client(frontend)
    assert a.attempts == 1
    world.wait(0.5 + SLOT_S)
    assert a.attempts == 2
    assert world.endings() == ["sC"]


def test_a_redispatched_connection_leaves_its_slot_to_the_queue(world: World) -> None:
    a, b = world.upstream("a", "silence", maxconn=1), world.upstream("b", maxconn=1)
    backend = world.backend(a, b, retries=1, connect=0.5)
    frontend = world.frontend(backend)
    world.client(frontend)  # on a
    second = world.client(frontend)  # on b
    world.end(second, b.peers[0])
    world.wait(0.5 + SLOT_S)  # the first goes to b
    assert b.server.connections == 1
    assert a.server.connections == 0
    assert len(b.peers) == 2


@pytest.mark.parametrize("count", [500])
def test_a_long_queue_of_connections_that_all_fail_at_once_is_worked_off(world: World, count: int) -> None:
    # Each one's end handed the slot to the next from within: a few hundred of them overflowed the stack.
    a = world.upstream("a", maxconn=1)
    frontend = world.frontend(world.backend(a))
    holder = world.client(frontend)
    for _ in range(count):
        world.client(frontend, port=65000)
    a.server.target = SocketTarget(socket.AF_INET, ("127.0.0.1", 0), 1000)
    world.end(holder, a.peers[0])
    assert world.endings() == ["--", *["RC"] * count]
    world.assert_empty()


def test_a_server_of_weight_zero_gets_nobody_from_the_queue(world: World) -> None:
    a = world.upstream(maxconn=1)
    backend = world.backend(a)
    frontend = world.frontend(backend)
    first = world.client(frontend)
    world.client(frontend)
    a.server.weight = 0
    backend.settle()
    world.end(first, a.peers[0])
    assert len(backend.queue) == 1


def test_a_backend_without_a_usable_server_ends_connections_at_once(world: World) -> None:
    client = world.client(world.frontend(world.backend(world.upstream(weight=0))))
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.server) == ("SC", "balance", "<NOSRV>")
    assert "app" in record.reason
