"""Every cause in every stage has a two-letter code, those that HAProxy has too are the same."""

import itertools
import re

import pytest

from twisted_lb.endings import NORMAL, Cause, Ending, Stage


@pytest.mark.parametrize(("cause", "stage"), list(itertools.product(Cause, Stage)))
def test_every_ending_has_a_code(cause: Cause, stage: Stage) -> None:
    assert re.fullmatch(r"--|[CSPLRIKcs][RTQCHD-]", Ending(cause, stage).code)


@pytest.mark.parametrize(
    ("cause", "stage", "code"),
    [
        (Cause.CLIENT, Stage.POLICY, "CR"),
        (Cause.CLIENT, Stage.QUEUE, "CQ"),
        (Cause.CLIENT, Stage.CONNECT, "CC"),
        (Cause.CLIENT, Stage.RELAY, "CD"),
        (Cause.CLIENT_TIMEOUT, Stage.VALIDATION, "cR"),
        (Cause.CLIENT_TIMEOUT, Stage.RELAY, "cD"),
        (Cause.SERVER, Stage.CONNECT, "SC"),
        (Cause.SERVER, Stage.RELAY, "SD"),
        (Cause.SERVER_TIMEOUT, Stage.QUEUE, "sQ"),
        (Cause.SERVER_TIMEOUT, Stage.CONNECT, "sC"),
        (Cause.SERVER_TIMEOUT, Stage.RELAY, "sD"),
        (Cause.PROXY, Stage.ADMISSION, "PR"),
        (Cause.RESOURCE, Stage.CONNECT, "RC"),
        (Cause.KILLED, Stage.RELAY, "KD"),
        (Cause.NORMAL, Stage.RELAY, "--"),
        (Cause.CLIENT, Stage.TARPIT, "CT"),
        (Cause.CLIENT, Stage.RESPONSE, "CH"),
        (Cause.CLIENT_TIMEOUT, Stage.RESPONSE, "cH"),
        (Cause.SERVER, Stage.RESPONSE, "SH"),
        (Cause.SERVER_TIMEOUT, Stage.RESPONSE, "sH"),
        (Cause.PROXY, Stage.TARPIT, "PT"),
        (Cause.PROXY, Stage.RESPONSE, "PH"),
        (Cause.PROXY, Stage.RELAY, "PD"),
        (Cause.LOCAL, Stage.POLICY, "LR"),
    ],
)
def test_the_codes_are_those_that_haproxy_logs(cause: Cause, stage: Stage, code: str) -> None:
    assert Ending(cause, stage).code == code


def test_the_normal_ending_blames_nobody() -> None:
    assert (NORMAL.code, NORMAL.reason, NORMAL.plugin) == ("--", "", "")


def test_the_stages_are_in_the_order_of_the_walk() -> None:
    assert [stage.name for stage in sorted(Stage)] == [
        "ACCEPT",
        "ADMISSION",
        "PROXY_HEADER",
        "VALIDATION",
        "POLICY",
        "TARPIT",
        "BODY",
        "BALANCE",
        "QUEUE",
        "CONNECT",
        "RESPONSE",
        "RELAY",
        "ACCESS_LOG",
    ]


@pytest.mark.parametrize(
    ("cause", "stage", "refused"),
    [
        (Cause.PROXY, Stage.ADMISSION, True),
        (Cause.PROXY, Stage.TARPIT, True),
        (Cause.PROXY, Stage.BODY, True),
        (Cause.PROXY, Stage.RESPONSE, False),
        (Cause.CLIENT, Stage.POLICY, False),
    ],
)
def test_refused_is_what_we_turned_away(cause: Cause, stage: Stage, refused: bool) -> None:
    assert Ending(cause, stage).refused is refused
