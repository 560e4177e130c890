"""Validators: all of them must allow, and none can let a connection on by failing."""

from asyncio import CancelledError
from typing import Any

import pytest
from zope.interface import implementer

from twisted_lb.api import IValidator
from twisted_lb.errors import PluginError
from twisted_lb.plugin_host import Built
from twisted_lb.stages.validation import PEEK_LIMIT, validate
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, NEED_MORE, Deny, NeedMore

DENY = Deny("not ours")


@implementer(IValidator)
class Validator:
    """Answers what it is told to; an exception is raised."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.seen: list[bytes] = []

    def validate(self, data: bytes, facts: Any) -> Any:
        self.seen.append(data)
        facts.learnt["asked"] = facts.learnt.get("asked", 0) + 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def built(*answers: Any) -> list[Built[Any]]:
    return [Built(f"plugin_{number}", f"v{number}", Validator(answer)) for number, answer in enumerate(answers)]


def test_all_must_allow() -> None:
    validators = built(ALLOW, ALLOW)
    assert validate(validators, b"data", facts := make_facts()) == ALLOW
    assert [one.object.seen for one in validators] == [[b"data"], [b"data"]]
    assert facts.learnt == {"asked": 2}, "what one learns the next one sees"


@pytest.mark.parametrize("verdict", [DENY, NEED_MORE, NeedMore(100)])
def test_the_first_that_does_not_allow_decides(verdict: Any) -> None:
    validators = built(ALLOW, verdict, ALLOW)
    expected = Deny("validator v1: not ours") if verdict is DENY else verdict
    assert validate(validators, b"data", make_facts()) == expected
    assert validators[2].object.seen == []


def test_one_that_stays_undecided_is_a_denial_at_the_limit() -> None:
    for verdict in (NEED_MORE, NeedMore(PEEK_LIMIT)):
        assert isinstance(validate(built(verdict), bytes(PEEK_LIMIT - 1), make_facts()), NeedMore)
        denial = validate(built(verdict), bytes(PEEK_LIMIT), make_facts())
        assert isinstance(denial, Deny)
        assert "validator v0: undecided" in denial.reason


def test_one_that_asks_for_more_than_the_limit_is_a_denial_at_once() -> None:
    assert isinstance(validate(built(NeedMore(PEEK_LIMIT + 1)), b"x", make_facts()), Deny)


@pytest.mark.parametrize(
    "error", [ValueError("boom"), SystemExit("boom"), GeneratorExit("boom"), CancelledError("boom")]
)
def test_one_that_raises_is_to_blame(error: BaseException) -> None:
    with pytest.raises(PluginError, match=r"validator 'v1' raised \w+\('boom'\)") as caught:
        validate(built(ALLOW, error), b"x", make_facts())
    assert caught.value.plugin == "plugin_1"


def test_an_interrupt_is_nobody_s_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        validate(built(KeyboardInterrupt()), b"x", make_facts())


@pytest.mark.parametrize("nonsense", [None, True, "allow", Deny, 5])
def test_one_that_answers_no_verdict_is_to_blame(nonsense: Any) -> None:
    with pytest.raises(PluginError, match="no verdict"):
        validate(built(nonsense), b"x", make_facts())
