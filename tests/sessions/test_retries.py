"""Retries and redispatch: who is tried when, and what the record says of it.

Source: HAProxy configuration.txt, "retries" and "option redispatch".
"""

import socket
from typing import TYPE_CHECKING, Any

import pytest

from twisted_lb.backends.target import SocketTarget

if TYPE_CHECKING:
    from tests.sessions.conftest import World

SLOT_S = 0.06


class Recalling:
    """Chooses the first candidate, and remembers whom it chose."""

    def __init__(self) -> None:
        self.chosen: list[str] = []

    def choose(self, candidates: Any, facts: Any) -> Any:
        self.chosen.append(candidates[0].name)
        return candidates[0]


def test_a_refused_connection_is_tried_again_on_the_same_server_after_a_turn_around(world: "World") -> None:
    a = world.upstream("a", "refuse")
    client = world.client(world.frontend(world.backend(a, retries=1, redispatch=0, connect=0.5)))
    assert a.server.failures == 1
    world.wait(0.48)
    assert a.server.failures == 1, "it does not wait min(connect, 1 s)"
    assert world.records == []
    world.wait(0.02 + SLOT_S)
    assert a.server.failures == 2
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.server) == ("SC", "connect", "a")
    assert (record.retries, record.redispatched) == (1, False)
    assert 500 <= record.connect_ms <= 570
    assert record.total_ms == record.connect_ms


def test_the_turn_around_is_one_second_at_most(world: "World") -> None:
    a = world.upstream("a", "refuse")
    world.client(world.frontend(world.backend(a, retries=1, redispatch=0, connect=9.0)))
    world.wait(0.98)
    assert world.records == []
    world.wait(0.02 + SLOT_S)
    assert world.endings() == ["SC"]


def test_without_a_connect_timeout_the_turn_around_is_one_second(world: "World") -> None:
    a = world.upstream("a", "refuse")
    world.client(world.frontend(world.backend(a, retries=1, redispatch=0)))
    world.wait(0.98)
    assert world.records == []
    world.wait(0.02 + SLOT_S)
    assert world.endings() == ["SC"]


def test_a_server_that_comes_back_during_the_turn_around_is_connected_to(world: "World") -> None:
    a = world.upstream("a", "refuse")
    client = world.client(world.frontend(world.backend(a, retries=1, redispatch=0, connect=0.5)))
    client.send(b"hello")
    a.set("accept")
    world.wait(0.5 + SLOT_S)
    assert a.peers[0].read() == b"hello"
    client.finish()
    a.peers[0].finish()
    record = world.records[0]
    assert (record.ending, record.retries, record.redispatched) == ("--", 1, False)
    assert record.connect_ms >= 500


def test_without_retries_the_first_failure_ends_the_connection(world: "World") -> None:
    a = world.upstream("a", "refuse")
    client = world.client(world.frontend(world.backend(a, retries=0)))
    assert client.ended()
    assert world.endings() == ["SC"]
    assert world.records[0].retries == 0
    assert a.server.failures == 1


@pytest.mark.parametrize(
    ("redispatch", "tried"),
    [
        (-1, ["a", "a", "a", "b"]),
        (0, ["a", "a", "a", "a"]),
        (1, ["a", "b", "a", "b"]),
        (2, ["a", "a", "b", "b"]),
        (3, ["a", "a", "a", "b"]),
        (9, ["a", "a", "a", "a"]),
    ],
)
def test_redispatch_decides_which_retries_go_elsewhere(world: "World", redispatch: int, tried: list[str]) -> None:
    a, b = world.upstream("a", "refuse"), world.upstream("b", "refuse")
    world.client(world.frontend(world.backend(a, b, retries=3, redispatch=redispatch, connect=0.1)))
    for _ in range(100):
        if world.records:
            break
        world.wait(0.01)
    assert (a.server.failures, b.server.failures) == (tried.count("a"), tried.count("b"))
    record = world.records[0]
    assert (record.ending, record.server, record.retries) == ("SC", tried[-1], 3)
    assert record.redispatched is ("b" in tried)


def test_another_server_is_tried_without_a_turn_around(world: "World") -> None:
    a, b = world.upstream("a", "refuse"), world.upstream("b")
    client = world.client(world.frontend(world.backend(a, b, retries=1, connect=1.0)))
    client.send(b"hello")
    assert b.peers[0].read() == b"hello"
    assert a.server.connections == 0
    world.end(client, b.peers[0])
    assert (world.records[0].server, world.records[0].retries, world.records[0].redispatched) == ("b", 1, True)


def test_the_only_server_is_tried_again_even_if_redispatch_asks_for_another(world: "World") -> None:
    a = world.upstream("a", "refuse")
    world.client(world.frontend(world.backend(a, retries=2, redispatch=1, connect=0.1)))
    world.wait(0.08)
    assert a.server.failures == 1, "the same server is tried again without a turn-around"
    world.wait(0.5)
    assert a.server.failures == 3
    assert not world.records[0].redispatched


def test_a_retry_that_finds_all_others_full_waits_for_the_turn_around(world: "World") -> None:
    a, b = world.upstream("a", "silence", maxconn=1), world.upstream("b", "refuse", maxconn=1)
    backend = world.backend(a, b, retries=3, redispatch=1, connect=0.5, queue=60.0)
    first = world.client(world.frontend(backend))  # on a, which says nothing
    second = world.client(world.frontend(backend))  # on b, which refuses; a is full, so it has to wait
    assert b.server.failures == 1
    world.wait(0.4)
    assert b.server.failures == 1
    first.leave()
    second.leave()
    assert world.endings() == ["CC", "CC"]


def test_after_a_redispatch_too_the_same_server_is_only_tried_again_after_a_turn_around(world: "World") -> None:
    a, b = world.upstream("a", "silence", maxconn=1), world.upstream("b", "silence", maxconn=1)
    frontend = world.frontend(world.backend(a, b, retries=9, redispatch=1, connect=0.5))
    a.set("refuse")
    first = world.client(frontend)
    assert (a.attempts, b.attempts) == (1, 1), "it was redispatched to b"
    a.set("silence")
    second = world.client(frontend)  # keeps the slot of a
    b.set("refuse")
    world.wait(0.5 + SLOT_S)
    assert b.attempts == 1, "the same server is tried again without a turn-around"
    first.leave()
    assert world.records[0].redispatched
    second.leave()


def test_the_balancer_is_asked_for_another_server(world: "World") -> None:
    a, b, c = world.upstream("a", "refuse"), world.upstream("b", "refuse"), world.upstream("c")
    balancer = Recalling()
    world.client(world.frontend(world.backend(a, b, c, retries=2, redispatch=1, balancer=balancer)))
    assert balancer.chosen == ["a", "b", "a"], "everybody but the one that just failed is a candidate"


@pytest.mark.parametrize("redispatch", [0, -1])
def test_each_attempt_has_the_connect_timeout_to_itself(world: "World", redispatch: int) -> None:
    a, b = world.upstream("a", "silence"), world.upstream("b", "silence")
    client = world.client(world.frontend(world.backend(a, b, retries=1, redispatch=redispatch, connect=0.5)))
    turn_around = 0.5 if redispatch == 0 else 0.0
    world.wait(0.98 + turn_around)
    assert world.records == []
    world.wait(0.02 + 3 * SLOT_S)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.retries) == ("sC", "connect", 1)
    assert record.server == ("a" if redispatch == 0 else "b")
    assert a.cancelled + b.cancelled == 2, "an attempt that took too long is cancelled"
    assert record.redispatched is (redispatch == -1)


def test_a_server_that_answers_after_its_timeout_is_not_used(world: "World") -> None:
    a = world.upstream("a", "silence")
    client = world.client(world.frontend(world.backend(a, retries=0, connect=0.5)))
    world.wait(0.5 + SLOT_S)
    a.answer()
    world.turn()
    assert not a.peers
    assert client.ended()
    assert world.endings() == ["sC"]


def raise_at_once(factory: Any) -> Any:
    raise RuntimeError("an endpoint that breaks its contract")


def test_an_endpoint_that_raises_is_a_server_that_cannot_be_reached(world: "World") -> None:
    a = world.upstream("a", "silence")
    a.connect = raise_at_once  # type: ignore[method-assign]
    client = world.client(world.frontend(world.backend(a, retries=0)))
    assert client.ended()
    assert world.endings() == ["SC"]
    assert "breaks its contract" in world.records[0].reason


@pytest.mark.parametrize(("port", "offset"), [(65000, 1000), (65535, 1), (80, -80), (80, -81)])
def test_a_port_outside_of_what_there_is_ends_the_connection_and_never_wraps(
    world: "World", port: int, offset: int
) -> None:
    a = world.upstream("a", "silence")
    a.server.target = SocketTarget(socket.AF_INET, ("127.0.0.1", 0), offset)
    client = world.client(world.frontend(world.backend(a)), port)
    assert client.ended()
    record = world.records[0]
    assert (record.ending, record.stage, record.retries) == ("RC", "connect", 0)
    assert f"{port}{offset:+d}" in record.reason
