"""How HTTP mode fills the stages. What each of them does to a request is in ``tests/http_sessions``."""

import pytest

from tests.http_sessions.conftest import GET, HttpWorld, world
from twisted_lb.endings import Stage
from twisted_lb.http_session import HttpSession
from twisted_lb.session import Session
from twisted_lb.walk import HTTP_TRANSITIONS, Event, way

__all__ = ["world"]


def test_every_transition_but_the_last_has_something_to_enter() -> None:
    for (before, event), to_stage in HTTP_TRANSITIONS.items():
        if event is not Event.ENDED:
            assert way(HttpSession)[before][event][0] is to_stage


@pytest.mark.parametrize("stage", [Stage.VALIDATION, Stage.BODY, Stage.TARPIT, Stage.RESPONSE, Stage.RELAY])
def test_what_depends_on_the_mode_is_filled_in_here_alone(stage: Stage) -> None:
    for (before, event), to_stage in HTTP_TRANSITIONS.items():
        if to_stage is stage:
            assert way(HttpSession)[before][event] != way(Session)[before].get(event)


def test_nothing_of_a_request_is_seen_in_the_next(world: HttpWorld) -> None:
    upstream = world.upstream(weight=0)
    client = world.client(world.frontend(world.backend(upstream)))
    client.send(GET.replace(b"GET", b"OPTIONS") + b"GET / HTTP/9\r\n\r\n")
    client.read()
    client.finish()
    first, second = world.records
    assert (first.method, first.host, first.status) == ("OPTIONS", "x", 503)
    assert (second.method, second.target, second.host, second.server) == ("<BADREQ>", "", "", "<NOSRV>")
    assert (second.queue_ms, second.connect_ms, second.response_ms) == (-1, -1, -1)
