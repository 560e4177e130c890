"""A session goes the way that ``walk`` knows. What each stage does to it is in ``tests/sessions``."""

import itertools

import pytest

from twisted_lb.endings import Stage
from twisted_lb.session import Session
from twisted_lb.walk import TRANSITIONS, Event, way

PAIRS = list(itertools.product(Stage, Event))


@pytest.mark.parametrize(("stage", "event"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_what_is_not_listed_cannot_happen(stage: Stage, event: Event) -> None:
    session = Session.__new__(Session)
    session.stage, session._way = stage, way(Session)
    with pytest.raises(KeyError):
        session.advance(event)
    assert session.stage is stage
