"""The timers of the relay, with HAProxy's meaning; each ends the connection with its own code, and not too early."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sessions.conftest import World

SLOT_S = 0.06
"""Deadlines of less than five seconds are met within one slot of 50 ms."""


@pytest.mark.parametrize(
    ("frontend_timers", "backend_timers", "expected", "after"),
    [
        ({"client": 1.0}, {}, "cD", 1.0),
        ({}, {"server": 1.0}, "sD", 1.0),
        ({"client": 2.0}, {"server": 1.0}, "sD", 1.0),
        ({"client": 1.0}, {"server": 1.0}, "cD", 1.0),
        ({"client": 0.5}, {"server": 0.5, "tunnel": 2.0}, "cD", 2.0),
        ({"client": 9.0, "client_fin": 0.5}, {"server": 1.0, "server_fin": 0.5}, "sD", 1.0),
    ],
)
def test_an_idle_connection_ends_with_the_timer_that_is_due_first(
    world: "World",
    frontend_timers: dict[str, float],
    backend_timers: dict[str, Any],
    expected: str,
    after: float,
) -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a, connect=5.0, **backend_timers), **frontend_timers))
    world.wait(after - 0.01)
    assert not client.ended()
    world.wait(SLOT_S + 0.01)
    assert client.ended()
    assert a.peers[0].ended()
    assert world.endings() == [expected]
    assert world.records[0].stage == "relay"


def test_a_connection_without_timers_is_left_alone(world: "World") -> None:
    client = world.client(world.frontend(world.backend(world.upstream())))
    world.clock.advance(1_000_000)
    client.send(b"still here")
    assert world.upstreams[0].peers[0].read() == b"still here"
    assert world.records == []


def test_bytes_in_either_direction_keep_both_timers_from_firing(world: "World") -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a, server=1.0), client=1.0))
    for sender in [client, a.peers[0]] * 5:
        world.wait(0.9)
        sender.send(b"x")
    assert world.records == []
    world.wait(1.0 + SLOT_S)
    assert world.endings() == ["cD"]


@pytest.mark.parametrize(("leaver", "expected"), [("client", "sD"), ("server", "cD")])
def test_after_a_half_close_the_fin_timer_of_the_side_that_still_sends_counts(
    world: "World", leaver: str, expected: str
) -> None:
    a = world.upstream()
    timers: Any = {"server": 9.0, "server_fin": 0.5}
    client = world.client(world.frontend(world.backend(a, **timers), client=9.0, client_fin=0.5))
    server = a.peers[0]
    client.send(b"ping")
    world.wait(1.0)
    (client if leaver == "client" else server).finish()
    assert (server if leaver == "client" else client).ended(), "the end of stream is passed on"
    world.wait(0.3)
    assert world.records == []
    world.wait(0.2 + SLOT_S)
    assert world.endings() == [expected]


def test_a_fin_timer_wins_over_the_tunnel_timer(world: "World") -> None:
    a = world.upstream()
    backend = world.backend(a, tunnel=60.0, server=60.0, server_fin=0.5)
    client = world.client(world.frontend(backend, client=60.0))
    client.finish()
    world.wait(0.5 + SLOT_S)
    assert world.endings() == ["sD"]


def stall(world: "World", sender: object, limit_bytes: int = 1 << 24) -> int:
    """Send until no more is taken by the proxy; returns how much was sent."""
    sent = 0
    while sent < limit_bytes:
        taken = sender.send(b"x" * 100_000)  # type: ignore[attr-defined]
        if not taken or (world.kind == "transports" and sent > 1_000_000):
            return sent
        sent += taken
    raise AssertionError("the proxy takes everything, although nobody reads")


def test_while_a_client_does_not_read_its_write_timer_runs_and_the_servers_read_timer_does_not(world: "World") -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a, server=0.5), client=2.0))
    stall(world, a.peers[0])
    world.wait(1.9)
    assert world.records == [], "the server's timer ran although it was we who did not read"
    world.wait(0.1 + SLOT_S)
    assert world.endings() == ["cD"]
    assert client.ended()


def test_while_a_server_does_not_read_its_write_timer_runs_and_the_clients_read_timer_does_not(world: "World") -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a, server=2.0), client=0.5))
    stall(world, client)
    world.wait(1.9)
    assert world.records == [], "the client's timer ran although it was we who did not read"
    world.wait(0.1 + SLOT_S)
    assert world.endings() == ["sD"]


def test_the_read_timer_starts_anew_when_we_read_again(world: "World") -> None:
    a = world.upstream()
    client = world.client(world.frontend(world.backend(a, server=0.5), client=5.0))
    stall(world, a.peers[0])
    world.wait(3.0)
    client.read()
    world.wait(0.4)
    assert world.records == []
    world.wait(0.1 + SLOT_S)
    assert world.endings() == ["sD"]
