"""How TCP mode fills the stages. What each of them does to a connection is in ``tests/sessions``."""

import pytest

from twisted_lb.endings import Stage
from twisted_lb.session import Session
from twisted_lb.tcp_session import TcpSession
from twisted_lb.walk import TRANSITIONS, Event, way


@pytest.mark.parametrize("stage", [Stage.VALIDATION, Stage.RELAY])
def test_what_depends_on_the_mode_is_filled_in_here_alone(stage: Stage) -> None:
    for (before, event), to_stage in TRANSITIONS.items():
        if to_stage is stage:
            assert way(TcpSession)[before][event] != way(Session)[before][event]


def test_every_transition_but_the_last_has_something_to_enter() -> None:
    for (before, event), to_stage in TRANSITIONS.items():
        if event is not Event.ENDED:
            assert way(TcpSession)[before][event][0] is to_stage


def test_a_walk_never_goes_back_to_a_stage_that_it_has_left() -> None:
    session = TcpSession.__new__(TcpSession)
    session.stage, session._way = Stage.RELAY, way(TcpSession)
    with pytest.raises(KeyError):
        session.advance(Event.PASSED)
