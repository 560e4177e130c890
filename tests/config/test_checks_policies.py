"""Rules among the policies: one action each, and only what belongs to it."""

from typing import Any

import pytest

from twisted_lb.config.checks_policies import SETTINGS
from twisted_lb.config.load import load_dict
from twisted_lb.config.policies import RULE_ACTIONS, Rule
from twisted_lb.config.uses import Use
from twisted_lb.errors import ConfigError


def entries(entry: Any, mode: str = "tcp") -> Any:
    frontend = {"bind": "*:80", "backend": "app", "mode": mode, "policies": [entry]}
    return load_dict({"frontends": {"web": frontend}, "backends": {"app": {"servers": {"a": "127.0.0.1:1"}}}}, "")


def problems(entry: Any, mode: str = "tcp") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        entries(entry, mode)
    return [problem.removeprefix(": ") for problem in caught.value.problems]


def test_an_entry_is_a_rule_or_uses_a_plugin() -> None:
    assert entries({"deny": "true"}).frontends["web"].policies == [Rule(deny="true")]
    used = entries({"use": "source", "deny": ["10.0.0.0/8"]}).frontends["web"].policies[0]
    assert isinstance(used, Use)
    assert used.options == {"deny": ["10.0.0.0/8"]}
    assert isinstance(entries("source").frontends["web"].policies[0], Use)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"denny": "true"}, '.denny: unknown key; did you mean "deny"?'),
        ({"uses": "source"}, ".use: is missing"),
        ({"status": 403}, ": what is it? it takes one of "),
        ({"deny": "true", "allow": "false"}, ': "allow", "deny" in one entry'),
        ({"deny": True}, '.deny: expected an expression as a string, such as "source in @bad" or "true", got true'),
        ({"deny": 5}, ".deny: expected an expression as a string"),
        ({"deny": ""}, ".deny: expected an expression as a string"),
        ({"allow": "true", "status": 403}, ".status: does not belong to allow"),
        ({"deny": "true", "location": "/"}, ".location: does not belong to deny, but to redirect"),
        ({"redirect": "true"}, ".location: is missing"),
        ({"redirect": "true", "location": "/", "status": 304}, ".status: a redirect has one of 301"),
        ({"deny": "true", "status": 200}, ".status: a refusal has a status from 400 to 599"),
        ({"tarpit": "true", "status": 200}, ".status: a refusal has a status from 400 to 599"),
        ({"deny": "true", "status": 700}, ".status: "),
        ({"deny": "true", "action": "reject"}, ".action: does not belong to deny"),
    ],
)
def test_what_does_not_belong_together_is_told(entry: dict[str, Any], what: str) -> None:
    (problem,) = problems(entry, "http")
    assert problem.startswith(f"frontends.web.policies[0]{what}")


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"deny": "true", "status": 403}, "status"),
        ({"deny": "true", "headers": {"X-A": "1"}}, "headers"),
        ({"redirect": "true", "location": "/"}, "location"),
        ({"answer": "true", "body": "x"}, "body"),
    ],
)
def test_what_answers_requests_is_only_for_http_mode(entry: dict[str, Any], key: str) -> None:
    assert entries(entry, "http")
    assert any(
        problem.startswith(f'frontends.web.policies[0].{key}: only in mode = "http"') for problem in problems(entry)
    )


@pytest.mark.parametrize("action", ["redirect", "answer"])
def test_actions_that_answer_requests_are_only_for_http_mode(action: str) -> None:
    settings = {"location": "/"} if action == "redirect" else {}
    assert f'frontends.web.policies[0].{action}: only in mode = "http"' in problems({action: "true", **settings})


def test_every_action_says_what_it_takes() -> None:
    assert set(SETTINGS) == set(RULE_ACTIONS)
