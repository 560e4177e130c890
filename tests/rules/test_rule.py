"""A rule is a policy that is asked as early as its facts are known."""

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from tests.rules.compiled import HTTP, TCP
from twisted_lb.api import ALLOW, ALLOW_FINALLY, ConfigError, Deny, IPolicy, Stage
from twisted_lb.config.policies import Rule
from twisted_lb.rules.rule import RulePolicy, build_rule
from twisted_lb.testing import make_facts


def built(rule: Rule, http: bool = False) -> RulePolicy:
    policy = build_rule(rule, HTTP if http else TCP)
    assert isinstance(policy, RulePolicy)
    verifyObject(IPolicy, policy)
    return policy


def acting(action: str, text: str) -> Rule:
    given: dict[str, Any] = {action: text}
    return Rule(**given)


def test_who_meets_the_condition_gets_the_verdict_and_all_others_go_on() -> None:
    policy = built(Rule(deny="source in '192.0.2.0/24'"))
    assert policy.decide(make_facts("192.0.2.1")) == Deny("", how="close")
    assert policy.decide(make_facts("198.51.100.1")) is ALLOW
    assert built(Rule(allow="true")).decide(make_facts()) is ALLOW_FINALLY


@pytest.mark.parametrize(
    ("rule", "http", "stage"),
    [
        (Rule(deny="source in '192.0.2.0/24'"), False, Stage.ADMISSION),
        (Rule(deny="tls.sni == 'x'"), False, Stage.POLICY),
        (Rule(tarpit="source.port == 1"), False, Stage.ADMISSION),
        (Rule(tarpit="source.port == 1"), True, Stage.POLICY),
        (Rule(deny="source.port == 1"), True, Stage.ADMISSION),
        (Rule(deny="source.port == 1", status=403), True, Stage.POLICY),
        (Rule(redirect="true", location="/"), True, Stage.POLICY),
    ],
)
def test_it_is_asked_as_early_as_it_can_be(rule: Rule, http: bool, stage: Stage) -> None:
    assert built(rule, http).stage is stage


@pytest.mark.parametrize(
    ("action", "refuses"), [("deny", True), ("reject", True), ("drop", True), ("tarpit", False), ("allow", False)]
)
def test_it_says_what_it_is_and_whether_it_only_refuses(action: str, refuses: bool) -> None:
    policy = built(acting(action, "source.port == 1"))
    assert (policy.label, policy.only_refuses) == (action, refuses)


def test_a_path_that_can_be_read_both_ways_is_refused_whatever_the_rule_would_do() -> None:
    for action in ("allow", "deny"):
        policy = built(acting(action, "http.path.startswith('/admin')"), http=True)
        request = make_facts(request=b"GET //admin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert policy.decide(request) == Deny("path-ambiguous", 400)


def test_problems_begin_with_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        build_rule(Rule(deny="tls.snl == 'x'"), TCP)
    assert caught.value.problems[0].startswith('deny: there is no fact "tls.snl"')
