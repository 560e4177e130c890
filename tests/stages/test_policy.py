"""Policies: whatever one answers, or fails to, the connection is let on only by an Allow."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_lb.api import IPolicy
from twisted_lb.endings import Stage
from twisted_lb.errors import PluginError
from twisted_lb.facts import Facts
from twisted_lb.plugin_host import Built
from twisted_lb.stages.policy import Entry, Questions, decide, in_asking_order, past_rules, settle
from twisted_lb.testing import make_facts
from twisted_lb.verdicts import ALLOW, ALLOW_FINALLY, NEED_MORE, Answer, Decision, Deny, Redirect, Tarpit

DENY = Deny("no")
FACTS = make_facts()


@implementer(IPolicy)
class Policy:
    """Answers what it is told to; an exception is raised."""

    stage = Stage.POLICY

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def decide(self, facts: object) -> Any:
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


class Owner:
    """Notes what the policies said later."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def policies_answered(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


def built(answer: Any, number: int = 1, **attributes: Any) -> Any:
    made = Policy(answer)
    vars(made).update(attributes)
    return Entry("plugin_x", "x", made, number)


async def coroutine(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


# One policy


@pytest.mark.parametrize("verdict", [ALLOW, DENY])
def test_an_answer_may_come_in_any_form(verdict: Any) -> None:
    for answer in (verdict, lambda: succeed(verdict), lambda: coroutine(verdict)):
        assert decide(built(answer), FACTS) == verdict


@pytest.mark.parametrize(
    "answer",
    [ValueError("boom"), lambda: fail(ValueError("boom")), lambda: coroutine(ValueError("boom"))],
    ids=["raised", "failed", "raised in a coroutine"],
)
def test_a_policy_that_raises_is_to_blame(answer: Any) -> None:
    with pytest.raises(PluginError, match=r"policy 'x' raised ValueError\('boom'\) in decide") as caught:
        decide(built(answer), FACTS)
    assert caught.value.plugin == "plugin_x"


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError, CancelledError])
def test_whatever_a_policy_raises_it_is_to_blame(error: type[BaseException]) -> None:
    for answer in (error("boom"), lambda: fail(error("boom")), lambda: coroutine(error("boom"))):
        with pytest.raises(PluginError, match=r"policy 'x' raised \w+\('boom'\) in decide"):
            decide(built(answer), FACTS)


def test_an_interrupt_is_not_a_policy_s_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        decide(built(KeyboardInterrupt()), FACTS)


@pytest.mark.parametrize("nonsense", [None, True, "allow", NEED_MORE, object])
def test_an_answer_that_is_no_decision_is_to_blame(nonsense: Any) -> None:
    for answer in (lambda: nonsense, lambda: succeed(nonsense), lambda: coroutine(nonsense)):
        with pytest.raises(PluginError, match="neither Allow, Deny nor Tarpit"):
            decide(built(answer), FACTS)


def test_about_a_request_more_is_possible_and_the_message_says_so() -> None:
    with pytest.raises(PluginError, match="none of Allow, Deny, Answer, Redirect and Tarpit"):
        decide(built(NEED_MORE), REQUEST)


@pytest.mark.parametrize("facts", [FACTS, make_facts(request=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")])
def test_whoever_asks_may_be_let_wait(facts: Facts) -> None:
    assert decide(built(Tarpit("slow down")), facts) == Tarpit("slow down")


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Deny("no", how="vanish"), "'vanish' is no way to end a connection"),  # type: ignore[arg-type]
        (Deny("no", farewell="bye"), "its farewell is not bytes"),  # type: ignore[arg-type]
        (Deny("no", farewell=bytes(4097)), "its farewell has more than 4096 bytes"),
    ],
)
def test_a_way_to_part_that_there_is_not_is_the_plugin_s_fault(verdict: Any, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        decide(built(verdict), FACTS)


def test_a_deferred_without_an_answer_is_handed_on() -> None:
    waiting: Deferred[Any] = Deferred()
    assert decide(built(waiting), FACTS) is waiting


def test_a_deferred_that_waits_for_another_is_handed_on() -> None:
    inner: Deferred[Any] = Deferred()
    outer = succeed(None).addCallback(lambda _: inner)
    assert decide(built(outer), FACTS) is outer
    results: list[Any] = []
    outer.addCallback(results.append)
    inner.callback(ALLOW)
    assert results == [ALLOW]


def test_settling_makes_a_decision_of_a_late_result() -> None:
    assert settle(built(None), DENY, FACTS) is DENY
    with pytest.raises(PluginError, match="boom"):
        settle(built(None), Failure(ValueError("boom")), FACTS)


# About requests

REQUEST = make_facts(request=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize("verdict", [Answer(body=b"x"), Redirect("/x"), Tarpit("slow down"), Deny("no", 429)])
def test_a_request_can_be_answered(verdict: Any) -> None:
    assert decide(built(verdict), REQUEST) is verdict


@pytest.mark.parametrize("verdict", [Answer(), Redirect("/x")])
def test_where_there_is_no_request_there_is_nothing_to_answer(verdict: Any) -> None:
    with pytest.raises(PluginError, match="there is no request to answer"):
        decide(built(verdict), FACTS)


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Deny("no", 200), "200 is no status"),
        (Deny("no", "403"), "'403' is no status"),  # type: ignore[arg-type]
        (Answer(100), "100 is no status"),
        (Answer(body="text"), "its body is not bytes"),  # type: ignore[arg-type]
        (Answer(fields=[("X-A", "1\r\nX-B: 2")]), "not the value of a field"),
        (Answer(fields=[("X A", "1")]), "not the name of a field"),
        (Answer(fields=[("Content-Length", "1")]), "Content-Length is not for it to say"),
        (Answer(fields=[("X-A", 1)]), "neither str nor bytes: 1"),  # type: ignore[list-item]
        (Redirect("/a\r\nSet-Cookie: b"), "not the value of a field"),
        (Redirect("/a", 200), "200 is no status"),  # type: ignore[arg-type]
        (Tarpit("slow", 302), "302 is no status"),
    ],
)
def test_what_cannot_be_sent_is_the_plugin_s_fault(verdict: Any, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        decide(built(verdict), REQUEST)
    assert says in str(caught.value)


def test_a_backend_that_does_not_exist_is_the_plugin_s_fault() -> None:
    def choosing(backend: Any) -> Any:
        facts = make_facts()

        def choose() -> Any:
            facts.backend = backend
            return ALLOW

        return Questions(Owner(), [built(choose)], facts, 0, {"app": None}).ask(1)

    assert choosing("app") is ALLOW
    wrong: Any
    for wrong in ("ap", "", 3, []):
        with pytest.raises(PluginError, match="which does not exist"):
            choosing(wrong)


# All policies of a frontend


def test_all_are_asked_in_order_up_to_the_first_that_denies() -> None:
    policies = [built(ALLOW), built(DENY), built(ALLOW)]
    questions = Questions(Owner(), policies, FACTS)
    assert questions.ask(3) is DENY
    assert [policy.object.asked for policy in policies] == [1, 1, 0]


def test_they_are_asked_in_two_portions_and_none_twice() -> None:
    policies = [built(ALLOW), built(ALLOW), built(ALLOW)]
    questions = Questions(Owner(), policies, FACTS)
    assert questions.ask(1) is ALLOW
    assert questions.asked == 1
    assert questions.ask(3) is ALLOW
    assert [policy.object.asked for policy in policies] == [1, 1, 1]


@pytest.mark.parametrize("late", [False, True])
def test_who_has_the_last_word_lets_it_past_all_that_follow(late: bool) -> None:
    answer: Deferred[Any] = Deferred()
    policies = [built(ALLOW), built(answer if late else ALLOW_FINALLY), built(DENY), built(DENY)]
    questions = Questions(owner := Owner(), policies, FACTS)
    outcome = questions.ask(3)
    if late:
        answer.callback(ALLOW_FINALLY)
        outcome = owner.outcomes[-1]
    assert outcome is ALLOW
    assert questions.asked == len(policies)
    assert questions.ask(4) is ALLOW
    assert [policy.object.asked for policy in policies] == [1, 1, 0, 0]


def test_the_record_names_the_entry_that_refused_and_its_reason_or_its_kind() -> None:
    questions = Questions(
        Owner(), [built(ALLOW, 1), built(DENY, 3), built(Deny(""), 7), built(Deny(""), 9, label="deny")], FACTS
    )
    assert questions.refusal(questions.ask(2) or ALLOW) == "policy 3: no"
    questions.asked = 2
    assert questions.refusal(Deny("")) == "policy 7: x"
    questions.asked = 3
    assert questions.refusal(Deny("")) == "policy 9: deny"


def test_a_late_answer_goes_on_with_the_next_policy() -> None:
    first: Deferred[Any] = Deferred()
    second: Deferred[Any] = Deferred()
    questions = Questions(owner := Owner(), [built(first), built(second), built(ALLOW)], FACTS)
    assert questions.ask(3) is None
    first.callback(ALLOW)
    assert owner.outcomes == [None], "the second one answers later too, under a deadline of its own"
    second.callback(ALLOW)
    assert owner.outcomes == [None, ALLOW]


def test_a_late_denial_is_the_end() -> None:
    waiting: Deferred[Any] = Deferred()
    questions = Questions(owner := Owner(), [built(waiting), last := built(ALLOW)], FACTS)
    questions.ask(2)
    waiting.callback(DENY)
    assert owner.outcomes == [DENY]
    assert last.object.asked == 0


@pytest.mark.parametrize("result", [Failure(ValueError("boom")), None, "yes"])
def test_a_late_failure_or_nonsense_is_blamed(result: Any) -> None:
    waiting: Deferred[Any] = Deferred()
    questions = Questions(owner := Owner(), [built(waiting), built(ALLOW)], FACTS)
    questions.ask(2)
    waiting.callback(result) if not isinstance(result, Failure) else waiting.errback(result)
    assert [type(outcome) for outcome in owner.outcomes] == [PluginError]


def test_one_that_raises_after_a_late_answer_is_blamed() -> None:
    waiting: Deferred[Any] = Deferred()
    questions = Questions(owner := Owner(), [built(waiting), built(ValueError("boom"))], FACTS)
    questions.ask(2)
    waiting.callback(ALLOW)
    assert [type(outcome) for outcome in owner.outcomes] == [PluginError]


def test_one_that_overruns_is_blamed_cancelled_and_not_heard_any_more() -> None:
    cancelled: list[Any] = []
    waiting: Deferred[Any] = Deferred(cancelled.append)
    questions = Questions(owner := Owner(), [built(waiting)], FACTS)
    questions.ask(1)
    error = questions.overrun()
    assert (error.plugin, "did not answer" in error.what) == ("plugin_x", True)
    assert cancelled == [waiting]
    assert owner.outcomes == []


def test_a_cancelled_question_that_answers_all_the_same_is_not_heard() -> None:
    late: Deferred[Any] = Deferred(lambda deferred: deferred.callback(ALLOW))
    questions = Questions(owner := Owner(), [built(late)], FACTS)
    questions.ask(1)
    questions.cancel()
    questions.cancel()
    assert owner.outcomes == []


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
def test_a_canceller_that_fails_is_logged_with_the_plugins_name(
    logged: list[LogEvent], error: type[BaseException]
) -> None:
    def fail_to_cancel(deferred: object) -> None:
        raise error

    waiting: Deferred[Any] = Deferred(fail_to_cancel)
    questions = Questions(Owner(), [built(waiting)], FACTS)
    questions.ask(1)
    questions.cancel()
    assert [(event["plugin"], event["log_failure"].type) for event in logged] == [("plugin_x", error)]


def test_a_coroutine_that_waits_is_ended_when_the_connection_is() -> None:
    outer: Deferred[Any] = Deferred()
    ended: list[type] = []

    async def wait() -> Any:
        try:
            return await outer
        except CancelledError:
            ended.append(CancelledError)
            raise

    questions = Questions(owner := Owner(), [built(wait)], FACTS)
    assert questions.ask(1) is None
    questions.cancel()
    assert ended == [CancelledError]
    assert owner.outcomes == []


# Who is asked when


@pytest.mark.parametrize(
    ("entries", "order", "at_admission"),
    [
        ("", "", 0),
        ("A", "1", 1),
        ("P", "1", 0),
        ("AAP", "123", 2),
        ("PA", "12", 0),
        ("APA", "123", 1),
        ("Pa", "12", 0),
        ("pa", "21", 1),
        ("ApaPa", "13245", 2),
        ("papa", "2413", 2),
        ("pAa", "123", 0),
        ("apAa", "1234", 1),
    ],
)
def test_what_needs_no_byte_is_asked_first_if_nobody_can_tell_the_difference(
    entries: str, order: str, at_admission: int
) -> None:
    """In small letters those that only refuse."""
    stages = {"a": Stage.ADMISSION, "p": Stage.POLICY}
    policies = [built(ALLOW, stage=stages[one.lower()], only_refuses=one.islower()) for one in entries]
    asked, early = in_asking_order(policies)
    assert ("".join(str(one.number) for one in asked), early) == (order, at_admission)


def test_what_a_policy_keeps_for_itself_under_the_name_condition_excuses_nobody() -> None:
    """A plugin's policy with a method of that name was asked of nobody for whom that said no."""
    policies, early = in_asking_order([built(DENY, condition=lambda facts: False)])
    assert Questions(Owner(), policies, FACTS).ask(1) is DENY
    assert early == 0


def test_rules_that_follow_one_another_are_looked_at_in_one_go_and_each_is_told() -> None:
    held: list[int] = []

    def rule(number: int, verdict: Decision | None) -> Built[Any]:
        def condition(facts: Any) -> bool:
            held.append(number)
            return verdict is not None

        one = SimpleNamespace(
            stage=Stage.POLICY, rule_condition=condition, decide=lambda facts: verdict, label="deny", verdict=verdict
        )
        return Built("rules", "rule", one)

    other: Built[Any] = Built("plugin", "other", SimpleNamespace(stage=Stage.POLICY, decide=lambda facts: ALLOW))
    entries, _ = in_asking_order([rule(1, None), rule(2, None), other, rule(4, ALLOW), rule(5, DENY), rule(6, DENY)])
    assert [entry.run is not None for entry in entries] == [True, False, False, True, False, False]
    questions = Questions(Owner(), entries, FACTS)
    assert questions.ask(len(entries)) is DENY
    assert (held, questions.asked) == ([1, 2, 4], 4)
    assert questions.refusal(DENY).startswith("policy 5: ")


def rule_of(condition: Callable[[Any], bool], verdict: Decision = DENY) -> Built[Any]:
    def decide(facts: Any) -> Decision:
        return verdict if condition(facts) else ALLOW

    one = SimpleNamespace(stage=Stage.POLICY, rule_condition=condition, decide=decide, label="rule", verdict=verdict)
    return Built("rules", "rule", one)


def met(facts: Any) -> bool:
    return True


def unmet(facts: Any) -> bool:
    return False


def broken(facts: Any) -> bool:
    raise ValueError("odd")


@pytest.mark.parametrize(
    ("entries", "after"),
    [
        ([rule_of(unmet), rule_of(unmet)], 2),
        ([rule_of(unmet), rule_of(met), rule_of(unmet)], 1),
        ([rule_of(unmet), rule_of(met, ALLOW_FINALLY), rule_of(met)], 3),
        ([rule_of(unmet), built(ALLOW), rule_of(unmet)], 1),
        ([built(ALLOW)], 0),
        ([rule_of(unmet), rule_of(broken), rule_of(unmet)], 0),
        ([rule_of(unmet), rule_of(broken, ALLOW_FINALLY)], 0),
        ([rule_of(broken, ALLOW_FINALLY)], 0),
    ],
)
def test_rules_alone_let_on_who_meets_none_of_them_or_one_that_lets_on(entries: list[Built[Any]], after: int) -> None:
    assert past_rules(in_asking_order(entries)[0], make_facts(), 0) == after


def test_a_rule_that_lets_on_behind_those_asked_at_admission_is_not_taken_for_met() -> None:
    """Seen: rules about the source, then an allow about TLS; all clients were let past everything."""
    early, late = rule_of(unmet), rule_of(unmet, ALLOW_FINALLY)
    early.object.stage = Stage.ADMISSION
    entries, at_admission = in_asking_order([early, late, rule_of(met)])
    assert (at_admission, past_rules(entries, make_facts(), 0)) == (1, 1)
    assert past_rules(entries, make_facts(), 1) == 2


def test_who_was_given_a_backend_is_let_on_by_asking_in_full() -> None:
    facts = make_facts()
    facts.backend = "somewhere"
    entries, _ = in_asking_order([rule_of(met, ALLOW_FINALLY), rule_of(met)])
    assert past_rules(entries, facts, 0) == 0


def test_a_rule_whose_condition_raises_is_named_and_lets_nobody_on() -> None:
    entries, _ = in_asking_order([rule_of(unmet), rule_of(broken, ALLOW_FINALLY), rule_of(unmet)])
    questions = Questions(Owner(), entries, make_facts())
    with pytest.raises(PluginError, match="odd"):
        questions.ask(3)
    assert questions.asked == 1
