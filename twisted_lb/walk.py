"""The order of the stages: which of them follows which, and what enters it; the only file that knows it.

A stage answers its entry with an event, or with ``None`` when it has to wait, or has ended the connection.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Final, TypeAlias

from twisted_lb.endings import Stage


class Event(IntEnum):
    """What a stage says when it is done with a connection."""

    PASSED = 0
    FULL = 1
    """Every usable server has all the connections that it may have."""
    ENDED = 2
    AGAIN = 3
    """HTTP: this request has been answered, and another one may follow."""
    LATER = 4
    """It is refused, but the client has to wait for that."""
    RETRY = 5
    """HTTP: a connection that was used before turned out to be gone, and another one may serve."""


# Looking a member up on its Enum is a call of a Python function on 3.11, a dozen of them per connection.
PASSED, FULL, ENDED, AGAIN, LATER, RETRY = Event

TRANSITIONS: Final[dict[tuple[Stage, Event], Stage]] = {
    (Stage.ACCEPT, Event.PASSED): Stage.ADMISSION,
    (Stage.ADMISSION, Event.PASSED): Stage.PROXY_HEADER,
    (Stage.ADMISSION, Event.LATER): Stage.TARPIT,
    (Stage.ADMISSION, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.PROXY_HEADER, Event.PASSED): Stage.VALIDATION,
    (Stage.PROXY_HEADER, Event.LATER): Stage.TARPIT,
    (Stage.PROXY_HEADER, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.VALIDATION, Event.PASSED): Stage.POLICY,
    (Stage.VALIDATION, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.POLICY, Event.PASSED): Stage.BALANCE,
    (Stage.POLICY, Event.LATER): Stage.TARPIT,
    (Stage.POLICY, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.TARPIT, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.BALANCE, Event.PASSED): Stage.CONNECT,
    (Stage.BALANCE, Event.FULL): Stage.QUEUE,
    (Stage.BALANCE, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.QUEUE, Event.PASSED): Stage.CONNECT,
    (Stage.QUEUE, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.CONNECT, Event.PASSED): Stage.RELAY,
    (Stage.CONNECT, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.RELAY, Event.ENDED): Stage.ACCESS_LOG,
}
"""From which stage which event leads where in TCP mode; what is not here cannot happen."""

HTTP_TRANSITIONS: Final[dict[tuple[Stage, Event], Stage]] = {
    **TRANSITIONS,
    (Stage.VALIDATION, Event.AGAIN): Stage.VALIDATION,
    (Stage.POLICY, Event.AGAIN): Stage.VALIDATION,
    (Stage.TARPIT, Event.AGAIN): Stage.VALIDATION,
    (Stage.POLICY, Event.PASSED): Stage.BODY,
    (Stage.BODY, Event.PASSED): Stage.BALANCE,
    (Stage.BODY, Event.AGAIN): Stage.VALIDATION,
    (Stage.BODY, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.BALANCE, Event.AGAIN): Stage.VALIDATION,
    (Stage.QUEUE, Event.AGAIN): Stage.VALIDATION,
    (Stage.CONNECT, Event.PASSED): Stage.RESPONSE,
    (Stage.CONNECT, Event.AGAIN): Stage.VALIDATION,
    (Stage.RESPONSE, Event.PASSED): Stage.RELAY,
    (Stage.RESPONSE, Event.AGAIN): Stage.VALIDATION,
    (Stage.RESPONSE, Event.RETRY): Stage.CONNECT,
    (Stage.RESPONSE, Event.ENDED): Stage.ACCESS_LOG,
    (Stage.RELAY, Event.AGAIN): Stage.VALIDATION,
}
"""In HTTP mode each request walks anew from validation on, until the connection ends."""


Steps: TypeAlias = list[dict[Event, tuple[Stage, Callable[[Any], Event | None]]]]
"""``TRANSITIONS`` and what enters each stage, in the form that is looked up seven times per connection."""

_ENTER: dict[Stage, str] = {
    Stage.ADMISSION: "_enter_admission",
    Stage.PROXY_HEADER: "_enter_proxy_header",
    Stage.VALIDATION: "_enter_validation",
    Stage.POLICY: "_enter_policy",
    Stage.TARPIT: "_enter_tarpit",
    Stage.BODY: "_enter_body",
    Stage.BALANCE: "_enter_balance",
    Stage.QUEUE: "_enter_queue",
    Stage.CONNECT: "_enter_connect",
    Stage.RESPONSE: "_enter_response",
    Stage.RELAY: "_enter_relay",
}


def steps_of(session_class: type[Any], transitions: Mapping[tuple[Stage, Event], Stage] = TRANSITIONS) -> Steps:
    """Work out the steps of a kind of session."""
    return [
        {
            event: (to_stage, getattr(session_class, _ENTER[to_stage]))
            for (from_stage, event), to_stage in transitions.items()
            if from_stage is stage and to_stage in _ENTER
        }
        for stage in Stage
    ]


@cache
def way(session_class: type[Any], empty: frozenset[Stage] = frozenset()) -> Steps:
    """Work out the steps of a kind of session, with ``transitions`` of its own, past stages with nothing to do."""
    steps = steps_of(session_class, session_class.transitions)
    past = [dict(step) for step in steps]
    for step in past:
        for event, (stage, enter) in step.items():
            while stage in empty:
                stage, enter = steps[stage][PASSED]
            step[event] = stage, enter
    return past
