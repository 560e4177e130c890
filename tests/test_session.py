"""The order of the stages. What each of them does to a connection is in ``tests/sessions``."""

import itertools

import pytest

from twisted_lb.endings import Stage
from twisted_lb.session import TRANSITIONS, Event, Session

PAIRS = list(itertools.product(Stage, Event))


@pytest.mark.parametrize(("stage", "event"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_a_connection_only_ever_goes_down_the_walk(stage: Stage, event: Event) -> None:
    assert TRANSITIONS[stage, event] > stage


@pytest.mark.parametrize(("stage", "event"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_what_is_not_listed_cannot_happen(stage: Stage, event: Event) -> None:
    session = Session.__new__(Session)
    session.stage = stage
    with pytest.raises(KeyError):
        session.advance(event)
    assert session.stage is stage


@pytest.mark.parametrize("stage", [stage for stage in Stage if Stage.ACCEPT < stage < Stage.ACCESS_LOG])
def test_every_stage_between_accept_and_access_log_can_end_the_connection(stage: Stage) -> None:
    assert TRANSITIONS[stage, Event.ENDED] is Stage.ACCESS_LOG


def test_every_stage_can_be_reached() -> None:
    reached = {Stage.ACCEPT}
    for stage in Stage:
        if stage in reached:
            reached |= {to for (start, _), to in TRANSITIONS.items() if start is stage}
    assert reached == set(Stage)


def test_only_a_full_backend_leads_into_the_queue() -> None:
    assert [pair for pair, to in TRANSITIONS.items() if to is Stage.QUEUE] == [(Stage.BALANCE, Event.FULL)]


def test_nothing_follows_the_access_log() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] is Stage.ACCESS_LOG]


def test_the_longest_way_down_passes_every_stage_but_the_queue() -> None:
    stage, way = Stage.ACCEPT, [Stage.ACCEPT]
    while (stage, Event.PASSED) in TRANSITIONS:
        stage = TRANSITIONS[stage, Event.PASSED]
        way.append(stage)
    assert way == [one for one in Stage if one not in (Stage.QUEUE, Stage.ACCESS_LOG)]
