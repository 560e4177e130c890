"""What those get who meet a rule's condition."""

from typing import Any

import pytest

from twisted_lb.api import ALLOW_FINALLY, Answer, ConfigError, Deny, Redirect, Tarpit
from twisted_lb.config.policies import Rule
from twisted_lb.rules.actions import answers_request, verdict_of


@pytest.mark.parametrize(
    ("action", "settings", "verdict"),
    [
        ("allow", {}, ALLOW_FINALLY),
        ("deny", {}, Deny("", 403, (), "close")),
        ("deny", {"status": 429, "headers": {"Retry-After": "1"}}, Deny("", 429, (("Retry-After", "1"),), "close")),
        ("reject", {}, Deny("", how="reset")),
        ("drop", {}, Deny("", how="drop")),
        ("tarpit", {}, Tarpit("", 500)),
        ("tarpit", {"status": 429}, Tarpit("", 429)),
        ("redirect", {"location": "/x"}, Redirect("/x", 302, (), "")),
        ("redirect", {"location": "/x", "status": 308}, Redirect("/x", 308, (), "")),
        ("answer", {}, Answer(200, b"", (("Content-Type", "text/plain; charset=utf-8"),), "")),
        (
            "answer",
            {"status": 503, "body": "é", "content_type": "text/html"},
            Answer(503, "é".encode(), (("Content-Type", "text/html"),), ""),
        ),
    ],
)
def test_each_action_has_its_verdict(action: str, settings: dict[str, Any], verdict: Any) -> None:
    given: dict[str, Any] = {action: "true", **settings}
    assert verdict_of(action, Rule(**given)) == verdict


def test_what_cannot_be_sent_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError, match="Content-Length is not for it to say"):
        verdict_of("deny", Rule(deny="true", headers={"Content-Length": "5"}))
    with pytest.raises(ConfigError, match="not the value of a field"):
        verdict_of("redirect", Rule(redirect="true", location="/\n"))


def test_what_answers_a_request_waits_for_one() -> None:
    plain = Rule(deny="true")
    assert not answers_request("deny", plain)
    assert answers_request("deny", Rule(deny="true", status=404))
    assert answers_request("answer", plain)
    assert answers_request("tarpit", plain)
    assert not answers_request("tarpit", plain, "tcp")
