"""What is told of requests and of their connection. Which ending each has is in ``tests/http_sessions``."""

from typing import Any

import pytest

from tests.http_sessions.conftest import GET, OK, HttpWorld, post, world
from twisted_lb.api import HttpRecord, SessionRecord

__all__ = ["world"]


class Watches:
    """An observer."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def session_opened(self, facts: Any) -> None:
        self.told.append(("opened", facts))

    def session_routed(self, facts: Any, backend: str, server: Any) -> None:
        self.told.append(("routed", facts.http.method))

    def request_closed(self, facts: Any, record: HttpRecord) -> None:
        self.told.append(("request", record))

    def session_closed(self, facts: Any, record: SessionRecord) -> None:
        self.told.append(("closed", record))


def test_observers_hear_of_each_request_and_once_of_the_connection(world: HttpWorld) -> None:
    watches = Watches()
    upstream, client = world.site(observers=[watches])
    world.ask(client, upstream).send(OK)
    world.ask(client, upstream, post(b"body")).send(OK)
    world.wait(1)
    client.read()
    client.finish()
    world.turn()
    assert [what for what, _ in watches.told] == ["opened", "routed", "request", "routed", "request", "closed"]
    closed = watches.told[-1][1]
    requests = [record for what, record in watches.told if what == "request"]
    assert [record.requests for record in requests] == [1, 2]
    assert closed.bytes_in == sum(record.bytes_in for record in requests) == len(GET) + len(post(b"body"))
    assert closed.bytes_out == sum(record.bytes_out for record in requests) == 2 * len(OK)
    assert closed.ending == "--"
    assert closed.total_ms >= 1000


def test_a_connection_that_ends_before_its_first_request_is_closed_once_too(world: HttpWorld) -> None:
    watches = Watches()
    _, client = world.site(observers=[watches])
    client.finish()
    world.turn()
    assert [what for what, _ in watches.told] == ["opened", "request", "closed"]
    assert watches.told[-1][1].ending == "CR"


def test_the_times_of_a_record_are_those_of_its_request(world: HttpWorld) -> None:
    upstream, client = world.site()
    for _ in range(2):
        world.wait(3)
        client.send(GET[:10])
        world.wait(0.5)
        client.send(GET[10:])
        server = upstream.peers[-1]
        world.wait(0.25)
        server.send(OK[:-2])
        world.wait(1)
        server.send(OK[-2:])
        client.read()
    for record in world.records:
        assert record.request_ms == pytest.approx(500, abs=20)
        assert (record.queue_ms, record.connect_ms) == (0, 0)
        assert record.response_ms == pytest.approx(250, abs=20)
        assert record.total_ms == pytest.approx(1750, abs=20)


@pytest.mark.parametrize("whole", [True, False])
def test_the_bytes_of_all_requests_add_up(world: HttpWorld, whole: bool) -> None:
    upstream, client = world.site()
    world.ask(client, upstream, post(b"body")).send(OK)
    (session,) = world.process.sessions
    client.send(GET if whole else GET[:-1])
    if whole:
        upstream.peers[-1].send(OK)
    client.finish()
    answer = client.read()
    assert session.bytes_in == len(post(b"body")) + len(GET) - (not whole)  # type: ignore[attr-defined]
    assert not world.process.sessions
    if whole:
        assert session.bytes_out == len(answer)  # type: ignore[attr-defined]
