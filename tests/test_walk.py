"""The order of the stages. What each of them does to a connection is in ``tests/sessions``."""

import itertools
from typing import Any

import pytest

from twisted_lb.endings import Stage
from twisted_lb.walk import HTTP_TRANSITIONS, TRANSITIONS, Event, steps_of, way

PAIRS = list(itertools.product(Stage, Event))
MODES = pytest.mark.parametrize("transitions", [TRANSITIONS, HTTP_TRANSITIONS], ids=["tcp", "http"])
BACK = {Event.AGAIN: Stage.VALIDATION, Event.RETRY: Stage.CONNECT}
"""Which events lead up again, and where to; all others lead down."""
Transitions = dict[tuple[Stage, Event], Stage]


class Walker:
    """Whoever enters a stage has a method of that stage's name."""

    transitions = TRANSITIONS

    def __getattr__(self, name: str) -> str:
        return name


def stages_of(transitions: Transitions) -> list[Stage]:
    """All that a walk may pass."""
    return sorted({Stage.ACCEPT, *transitions.values()})


@pytest.mark.parametrize(("stage", "event"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_a_connection_only_ever_goes_down_the_walk(stage: Stage, event: Event) -> None:
    assert TRANSITIONS[stage, event] > stage


def test_a_request_goes_down_until_it_is_answered_or_sent_anew() -> None:
    for (stage, event), to_stage in HTTP_TRANSITIONS.items():
        assert to_stage is BACK[event] if event in BACK else to_stage > stage


def test_in_http_mode_every_stage_that_a_request_passes_can_be_followed_by_the_next_request() -> None:
    answered = {stage for stage, event in HTTP_TRANSITIONS if event is Event.AGAIN}
    assert answered == {stage for stage in Stage if Stage.VALIDATION <= stage <= Stage.RELAY}


@MODES
def test_every_stage_between_accept_and_access_log_can_end_the_connection(transitions: Transitions) -> None:
    for stage in stages_of(transitions)[1:-1]:
        assert transitions[stage, Event.ENDED] is Stage.ACCESS_LOG


@MODES
def test_every_stage_can_be_reached(transitions: Transitions) -> None:
    reached = {Stage.ACCEPT}
    for stage in Stage:
        if stage in reached:
            reached |= {to for (start, _), to in transitions.items() if start is stage}
    only_http = {Stage.BODY, Stage.RESPONSE}
    assert reached == (set(Stage) if transitions is HTTP_TRANSITIONS else set(Stage) - only_http)


@MODES
def test_only_a_full_backend_leads_into_the_queue(transitions: Transitions) -> None:
    assert [pair for pair, to in transitions.items() if to is Stage.QUEUE] == [(Stage.BALANCE, Event.FULL)]


@MODES
def test_nothing_follows_the_access_log(transitions: Transitions) -> None:
    assert not [pair for pair in transitions if pair[0] is Stage.ACCESS_LOG]


@MODES
def test_the_longest_way_down_passes_every_stage_but_the_queue_and_the_tarpit(transitions: Transitions) -> None:
    stage, way = Stage.ACCEPT, [Stage.ACCEPT]
    while (stage, Event.PASSED) in transitions:
        stage = transitions[stage, Event.PASSED]
        way.append(stage)
    assert way == [one for one in stages_of(transitions) if one not in (Stage.QUEUE, Stage.TARPIT, Stage.ACCESS_LOG)]


@MODES
def test_every_stage_that_a_walk_can_enter_has_a_method_of_its_own(transitions: Transitions) -> None:
    steps = steps_of(Walker(), transitions)  # type: ignore[arg-type]
    entered = {there: enter for step in steps for there, enter in step.values()}
    assert set(entered) == {*transitions.values()} - {Stage.ACCESS_LOG}
    assert len(set(entered.values())) == len(entered)


@pytest.mark.parametrize(
    "empty", [set(), {Stage.ADMISSION}, {Stage.ADMISSION, Stage.PROXY_HEADER}, {Stage.VALIDATION, Stage.POLICY}]
)
def test_a_way_leads_past_empty_stages_and_else_where_the_transitions_lead(empty: set[Stage]) -> None:
    found: Any = way(Walker(), frozenset(empty))
    for stage, step in zip(Stage, found, strict=True):
        for event, (to_stage, enter) in step.items():
            wanted = TRANSITIONS[stage, event]
            while wanted in empty:
                wanted = TRANSITIONS[wanted, Event.PASSED]
            assert to_stage is wanted
            assert enter == f"_enter_{wanted.name.lower()}"
