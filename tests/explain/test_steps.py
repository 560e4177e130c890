"""What is told of a walk, and how."""

import json
from typing import Any

import pytest

from twisted_lb.api import Answer, Deny, Redirect, Tarpit
from twisted_lb.explain.steps import SHOWN, Explanation, Step, shown, told


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "unknown"), (True, "true"), (5, "5"), ("a\n", r"'a\n'"), (("a", "b"), "['a', 'b']"), ((), "[]")],
)
def test_values_are_shown_in_one_line(value: Any, text: str) -> None:
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == SHOWN + 3


@pytest.mark.parametrize(
    ("verdict", "to_request", "early", "text"),
    [
        (Deny("", how="close"), False, True, "a closed connection"),
        (Deny(""), False, True, "a reset connection"),
        (Deny(""), False, False, "a closed connection"),
        (Deny("", how="reset"), True, False, "a reset connection"),
        (Deny("", how="drop"), False, False, "nothing, not even an end"),
        (Deny("", how="close", farewell=b"1234567"), False, False, "a closed connection, after 7 last bytes"),
        (Deny("", 404, how="close"), True, False, "the answer 404 Not Found"),
        (Tarpit(""), False, True, "nothing for timeouts.tarpit, then a closed connection"),
        (Tarpit("", 429), True, False, "nothing for timeouts.tarpit, then the answer 429 Too Many Requests"),
        (Answer(200, b"abc"), True, False, "the answer 200 OK with 3 bytes"),
        (Redirect("/x"), True, False, "the answer 302 Found, to /x"),
        (Redirect(b"/x"), True, False, "the answer 302 Found, to /x"),
    ],
)
def test_what_the_client_gets_is_told_in_words(verdict: Any, to_request: bool, early: bool, text: str) -> None:
    assert told(verdict, to_request, early) == text


def test_it_is_told_for_people_and_for_programs() -> None:
    explanation = Explanation("web", "192.0.2.1:1", "192.0.2.2:80")
    explanation.steps.append(Step("policy 1", 'deny = "true"', "holds: deny", {"source": "'x'"}, decides=True))
    explanation.decided_by, explanation.result = "policy 1", "a closed connection"
    assert list(explanation.as_text()) == [
        "192.0.2.1:1 to 192.0.2.2:80, frontend web",
        "",
        'policy 1: deny = "true"',
        "    source is 'x'",
        "    => holds: deny",
        "",
        "refused by policy 1: a closed connection",
    ]
    said = json.loads(explanation.as_json())
    assert said["steps"] == [
        {
            "what": "policy 1",
            "text": 'deny = "true"',
            "outcome": "holds: deny",
            "facts": {"source": "'x'"},
            "decides": True,
        }
    ]
    assert (said["allowed"], said["backend"], said["decided_by"]) == (False, None, "policy 1")
