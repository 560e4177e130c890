"""Each timer with its status and its ending, over both kinds of transport; a slot of the wheel is 50 ms."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.http_sessions.conftest import GET, OK, post
from twisted_lb.api import Stage
from twisted_lb.verdicts import Tarpit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http_sessions.conftest import HttpWorld
    from tests.sessions.conftest import Peer, Upstream

HEAD_OF_4 = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


class TarpitsAll:
    """A policy."""

    stage = Stage.POLICY

    def decide(self, facts: Any) -> Tarpit:
        return Tarpit("no")


def say_nothing(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    """Only connect."""


def half_a_head(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(GET[:-2])


def half_a_body(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(post(b"body")[:-2])


def half_a_body_and_response(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(post(b"body")[:-2])
    upstream.peers[0].send(HEAD_OF_4 + b"ab")


def ask(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(GET)


def half_a_response(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(GET)
    upstream.peers[0].send(HEAD_OF_4 + b"ab")


def half_a_response_head(world: "HttpWorld", client: "Peer", upstream: "Upstream") -> None:
    client.send(GET)
    upstream.peers[0].send(HEAD_OF_4[:20])


CASES: list[tuple["Callable[..., None]", dict[str, float], float, tuple[int, str]]] = [
    (say_nothing, {"http_request": 2.0, "client": 9.0}, 2.0, (408, "cR")),
    (half_a_head, {"http_request": 2.0, "http_keep_alive": 1.0}, 2.0, (408, "cR")),
    (half_a_body, {"client": 2.0, "server": 9.0}, 2.0, (408, "cH")),
    (half_a_body, {"client": 2.0}, 2.0, (408, "cH")),
    (half_a_body, {"client": 2.0, "server": 1.0}, 2.0, (408, "cH")),
    (half_a_body_and_response, {"client": 2.0, "server": 1.0}, 2.0, (200, "cD")),
    (ask, {"client": 1.0, "server": 2.0}, 2.0, (504, "sH")),
    (ask, {"server": 2.0}, 2.0, (504, "sH")),
    (half_a_response_head, {"server": 2.0}, 2.0, (504, "sH")),
    (half_a_response, {"client": 1.0, "server": 2.0}, 2.0, (200, "sD")),
    (ask, {"tarpit": 2.0, "policies": [TarpitsAll()]}, 2.0, (500, "PT")),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("act", "timeouts", "after_s", "outcome"), CASES)
def test_a_timer_ends_the_request_with_its_status_and_its_code(
    world: "HttpWorld", act: Any, timeouts: dict[str, float], after_s: float, outcome: tuple[int, str]
) -> None:
    upstream, client = world.site(**timeouts)
    act(world, client, upstream)
    world.wait(after_s - 0.05)
    assert world.records == []
    world.wait(0.2)
    assert world.statuses() == [outcome]
    if outcome[1].endswith("D"):
        assert client.read().endswith(b"ab")
        assert client.ended()
    else:
        assert client.read().startswith(b"HTTP/1.1 %d " % outcome[0])


def test_no_slot_within_the_time_is_503(world: "HttpWorld") -> None:
    upstream = world.upstream(maxconn=1)
    frontend = world.frontend(world.backend(upstream, queue=2.0))
    first, second = world.client(frontend), world.client(frontend)
    first.send(GET)
    second.send(GET)
    world.wait(2.1)
    assert second.read().startswith(b"HTTP/1.1 503 ")
    assert world.statuses() == [(503, "sQ")]
    assert world.records[0].queue_ms >= 2000


def test_no_connection_within_the_time_is_503(world: "HttpWorld") -> None:
    upstream = world.upstream(behaviour="silence")
    client = world.client(world.frontend(world.backend(upstream, connect=2.0, retries=0)))
    client.send(GET)
    world.wait(2.1)
    assert client.read().startswith(b"HTTP/1.1 503 ")
    assert world.statuses() == [(503, "sC")]
    assert not client.ended(), "the client may ask again"


def test_who_leaves_the_tarpit_is_ct(world: "HttpWorld") -> None:
    _, client = world.site(tarpit=5.0, policies=[TarpitsAll()])
    client.send(GET)
    world.wait(1)
    client.leave()
    world.wait(0.1)
    if world.kind == "transports":
        assert world.statuses() == [(0, "CT")]


# The request's head


def test_a_client_that_trickles_a_head_is_not_given_more_time(world: "HttpWorld") -> None:
    _, client = world.site(http_request=2.0, client=1.0)
    for _ in range(30):
        if world.records:
            break
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" if not client.read() and _ == 0 else b"X: y\r\n")
        world.wait(0.1)
    assert world.statuses() == [(408, "cR")]
    assert world.records[0].total_ms <= 2100


def test_the_head_of_a_later_request_has_its_time_from_its_first_byte(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=2.0, http_keep_alive=10.0)
    world.ask(client, upstream).send(OK)
    world.wait(5)
    client.send(GET[:5])
    world.wait(1.9)
    assert len(world.records) == 1
    world.wait(0.3)
    assert world.statuses()[1:] == [(408, "cR")]
    assert 1900 <= world.records[1].total_ms <= 2200, "the time without a byte is nobody's request"


def test_the_beginning_of_a_pipelined_request_has_the_time_of_a_head(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=2.0, http_keep_alive=10.0)
    world.ask(client, upstream, GET + GET[:5]).send(OK)
    world.wait(2.2)
    assert world.statuses() == [(200, "--"), (408, "cR")]


def test_a_client_that_asks_no_more_is_closed_without_a_word(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=5.0, http_keep_alive=2.0)
    world.ask(client, upstream).send(OK)
    world.wait(1.9)
    assert not client.ended()
    world.wait(0.3)
    assert client.read() == OK
    assert client.ended()
    assert world.statuses() == [(200, "--")]


def test_empty_lines_keep_no_connection_open(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=5.0, http_keep_alive=2.0)
    world.ask(client, upstream).send(OK)
    world.wait(1)
    client.send(b"\r")
    world.wait(0.5)
    client.send(b"\n")
    world.wait(0.8)
    assert client.read() == OK
    assert client.ended()
    assert world.statuses() == [(200, "--")]


def test_a_request_behind_an_empty_line_is_served(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=5.0, http_keep_alive=2.0)
    world.ask(client, upstream).send(OK)
    client.send(b"\r\n")
    world.wait(1)
    world.ask(client, upstream).send(OK)
    assert client.read() == OK + OK
    assert world.records[1].total_ms < 100


def test_timers_of_one_request_do_not_count_in_the_next(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=1.0, http_keep_alive=1.0, client=1.0, server=1.0)
    for _ in range(10):
        server = world.ask(client, upstream)
        world.wait(0.6)
        server.send(OK)
        world.wait(0.6)
    assert world.statuses() == [(200, "--")] * 10


# Back-pressure


def fill(world: "HttpWorld", sender: "Peer", data: bytes) -> int:
    """Send as much as is taken; returns how much."""
    sent = 0
    while sent < len(data):
        taken = sender.send(data[sent : sent + 65536])
        if not taken or (world.kind == "transports" and sender.near.unsent):  # type: ignore[union-attr]
            return sent + taken
        sent += taken
    return sent


SIZE = 3_000_000


def test_a_client_that_takes_nothing_is_timed_and_its_server_is_not(world: "HttpWorld") -> None:
    upstream, client = world.site(client=4.0, server=1.0)
    server = world.ask(client, upstream)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
    assert fill(world, server, head + b"x" * SIZE) < SIZE
    world.wait(3.5)
    assert world.records == []
    world.wait(1)
    assert world.statuses() == [(200, "cD")]


def test_back_pressure_that_ends_leaves_the_server_all_its_time(world: "HttpWorld") -> None:
    upstream, client = world.site(client=9.0, server=1.0)
    server = world.ask(client, upstream)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE
    sent = fill(world, server, data)
    world.wait(3)
    client.read()
    world.wait(0.8)
    assert world.records == []
    if world.kind == "transports":
        return
    while sent < len(data):
        sent += server.send(data[sent : sent + 65536])
        client.read()
    assert world.statuses() == [(200, "--")]


def test_a_client_that_takes_a_little_now_and_then_is_not_idle(world: "HttpWorld") -> None:
    if world.kind == "transports":
        return  # how much these have sent is not known: there the client's timer alone counts
    upstream, client = world.site(client=1.0)
    server = world.ask(client, upstream)
    fill(world, server, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE)
    assert hasattr(client, "_sock")
    for _ in range(12):
        client._sock.recv(20_000)
        world.wait(0.3)
    assert world.records == []


def test_a_server_that_takes_nothing_of_a_body_is_timed_and_the_client_is_not(world: "HttpWorld") -> None:
    _, client = world.site(client=1.0, server=3.0)
    fill(world, client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE)
    world.wait(2.8)
    assert world.records == []
    world.wait(0.5)
    assert world.statuses() == [(504, "sH")]


def test_who_does_not_take_the_answers_is_not_asked_for_more_and_times_out(world: "HttpWorld") -> None:
    frontend = world.frontend(world.backend(world.upstream(weight=0)), client=2.0, http_keep_alive=1.0)
    client = world.client(frontend)
    fill(world, client, b"GET / HTTP/1.1\r\nHost:x\r\n\r\n" * 5000)
    answered = len(world.records)
    assert 0 < answered < 5000
    world.wait(1.8)
    assert world.process.sessions, "it is not the timer of clients who ask nothing that counts"
    world.wait(0.5)
    assert not world.process.sessions
    assert len(world.records) == answered


# Stopping


def test_a_stop_closes_who_waits_and_lets_finish_who_is_under_way(world: "HttpWorld") -> None:
    upstream, busy = world.site()
    idle = world.client(world.frontend(world.backends[0]))
    world.ask(idle, upstream).send(OK)
    server = world.ask(busy, upstream)
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    assert idle.read() == OK
    assert idle.ended()
    assert not busy.ended()
    server.send(OK)
    assert busy.read() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert busy.ended()
    busy.finish()
    assert not world.process.sessions
    assert world.statuses() == [(200, "--")] * 2


def test_who_has_just_connected_may_still_ask_for_a_moment(world: "HttpWorld") -> None:
    upstream, client = world.site(http_request=10.0)
    silent = world.client(world.frontend(world.backends[0]))
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    world.wait(0.5)
    world.ask(client, upstream).send(OK)
    assert b"Connection: close\r\n" in client.read()
    world.wait(0.7)
    assert silent.read() == b""
    assert silent.ended()
    client.finish()
    assert world.statuses() == [(200, "--"), (0, "KR")]


def test_a_stop_during_a_response_closes_behind_it(world: "HttpWorld") -> None:
    upstream, client = world.site()
    server = world.ask(client, upstream)
    server.send(HEAD_OF_4 + b"ab")
    world.process.stopping = True
    for session in list(world.process.sessions):
        session.wind_down()
    server.send(b"cd")
    assert client.read() == HEAD_OF_4 + b"abcd"
    assert client.ended()


def test_an_answer_of_ours_during_a_stop_says_that_it_is_the_last(world: "HttpWorld") -> None:
    client = world.client(world.frontend(world.backend(world.upstream(weight=0))))
    client.send(GET[:5])
    world.process.stopping = True
    client.send(GET[5:])
    assert b"Connection: close\r\n" in client.read()
    assert client.ended()
    client.finish()
