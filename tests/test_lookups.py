"""What others are asked is asked once, remembered for a while, and bounded in every way."""

from time import process_time
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from twisted_lb.lookups import WAITING, Lookups, SeldomWarning, UnansweredError


class Somebody:
    """Who is asked; ``asked``: questions and their answers' Deferreds. ``cancelled``: those that are of no use."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[tuple[str, float]]]] = []
        self.cancelled: list[str] = []

    def ask(self, key: str) -> Deferred[tuple[str, float]]:
        answer: Deferred[tuple[str, float]] = Deferred(lambda _: self.cancelled.append(key))
        self.asked.append((key, answer))
        return answer

    def answer(self, value: str, holds_s: float = 0.0) -> None:
        self.asked.pop(0)[1].callback((value, holds_s))

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.asked]


def made(somebody: Somebody, at_once: int = 10, remembered: int = 100) -> tuple[Clock, Lookups[str, str]]:
    clock = Clock()
    return clock, Lookups(clock, somebody.ask, 2.0, at_once, remembered)


def result(answer: Any) -> Any:
    """What has come by now: a value, the exception of a failure, or ``None``."""
    if not isinstance(answer, Deferred):
        return answer
    results: list[Any] = []
    answer.addBoth(results.append)
    return getattr(results[0], "value", results[0]) if results else None


def test_several_who_want_to_know_ask_once() -> None:
    somebody = Somebody()
    _, lookups = made(somebody)
    first, second = lookups.get("a"), lookups.get("a")
    assert somebody.keys == ["a"]
    somebody.answer("yes")
    assert (result(first), result(second)) == ("yes", "yes")


def test_an_answer_holds_as_long_as_it_says() -> None:
    somebody = Somebody()
    clock, lookups = made(somebody)
    lookups.get("a")
    somebody.answer("yes", 5.0)
    clock.advance(4.9)
    assert lookups.get("a") == "yes"
    clock.advance(0.2)
    assert result(lookups.get("a")) is None
    assert somebody.keys == ["a"]


def test_an_answer_that_does_not_hold_is_not_remembered() -> None:
    somebody = Somebody()
    _, lookups = made(somebody)
    lookups.get("a")
    somebody.answer("yes", 0.0)
    lookups.get("a")
    assert somebody.keys == ["a"]


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    somebody = Somebody()
    _, lookups = made(somebody, remembered=2)
    for key in "ab":
        lookups.get(key)
        somebody.answer(key, 60.0)
    assert lookups.get("a") == "a"
    lookups.get("c")
    somebody.answer("c", 60.0)
    assert (lookups.get("a"), lookups.get("c")) == ("a", "c")
    assert result(lookups.get("b")) is None


def test_no_more_are_under_way_than_may_be_and_the_rest_has_its_turn() -> None:
    somebody = Somebody()
    _, lookups = made(somebody, at_once=2)
    answers = [lookups.get(key) for key in "abcd"]
    assert somebody.keys == ["a", "b"]
    somebody.answer("1")
    assert somebody.keys == ["b", "c"]
    for value in "234":
        somebody.answer(value)
    assert [result(answer) for answer in answers] == ["1", "2", "3", "4"]


def test_the_wait_for_a_turn_counts_and_ends() -> None:
    somebody = Somebody()
    clock, lookups = made(somebody, at_once=1)
    first, second = lookups.get("a"), lookups.get("b")
    clock.advance(2.1)
    assert [str(result(one)) for one in (first, second)] == ["no answer within 2 s"] * 2
    assert somebody.cancelled[0] == "a"
    assert not clock.getDelayedCalls()


def test_too_many_waiting_is_no_answer() -> None:
    somebody = Somebody()
    _, lookups = made(somebody, at_once=1)
    answers = [lookups.get(str(number)) for number in range(WAITING + 2)]
    assert isinstance(result(answers[-1]), UnansweredError)
    assert result(answers[-2]) is None


def test_when_the_last_one_has_left_the_question_is_cancelled_and_makes_room() -> None:
    somebody = Somebody()
    clock, lookups = made(somebody, at_once=1)
    first, second, other = lookups.get("a"), lookups.get("a"), lookups.get("b")
    for one in (first, second):
        assert isinstance(one, Deferred)
        one.addErrback(lambda _: None)
    first.cancel()  # type: ignore[union-attr]
    assert somebody.cancelled == []
    second.cancel()  # type: ignore[union-attr]
    assert somebody.cancelled == ["a"]
    assert somebody.keys == ["a", "b"]
    somebody.asked[1][1].callback(("yes", 0.0))
    assert result(other) == "yes"
    assert not clock.getDelayedCalls()


def test_one_who_leaves_while_it_waits_for_its_turn_is_not_asked_about() -> None:
    somebody = Somebody()
    _, lookups = made(somebody, at_once=1)
    lookups.get("a")
    waiting = lookups.get("b")
    assert isinstance(waiting, Deferred)
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    somebody.answer("yes")
    assert somebody.keys == []


@pytest.mark.parametrize("raising", [True, False])
def test_a_failure_is_everybody_s_and_is_not_remembered(raising: bool) -> None:
    calls = []

    def ask(key: str) -> Deferred[tuple[str, float]]:
        calls.append(key)
        if raising:
            raise OSError("down")
        return fail(OSError("down"))

    lookups: Lookups[str, str] = Lookups(Clock(), ask, 2.0, 1, 10)
    assert [str(result(lookups.get("a"))) for _ in range(2)] == ["down", "down"]
    assert calls == ["a", "a"]


def test_many_that_are_answered_at_once_do_not_pile_up() -> None:
    held: list[Deferred[tuple[str, float]]] = []

    def ask(key: str) -> Deferred[tuple[str, float]]:
        if not held:
            held.append(Deferred())
            return held[0]
        return succeed((key, 0.0))

    lookups: Lookups[str, str] = Lookups(Clock(), ask, 2.0, 1, 10)
    answers = [lookups.get(str(number)) for number in range(WAITING)]
    held[0].callback(("first", 0.0))
    assert [result(answer) for answer in answers[1:]] == [str(number) for number in range(1, WAITING)]


def test_one_who_makes_another_leave_does_no_harm() -> None:
    somebody = Somebody()
    _, lookups = made(somebody)
    first, second, third = (lookups.get("a") for _ in range(3))
    assert isinstance(first, Deferred)
    assert isinstance(second, Deferred)
    second.addErrback(lambda _: "left")

    def leave(value: str) -> str:
        second.cancel()
        return value

    first.addCallback(leave)
    somebody.answer("yes")
    assert (result(first), result(second), result(third)) == ("yes", "left", "yes")


def test_many_who_wait_for_one_answer_may_leave_at_once() -> None:
    """20,000 clients of one address took 20 s to leave, in which the reactor did nothing else."""
    _, lookups = made(Somebody())
    waiters = [lookups.get("a") for _ in range(20_000)]
    began = process_time()
    for waiter in reversed(waiters):
        assert isinstance(waiter, Deferred)
        waiter.addErrback(lambda _: None)
        waiter.cancel()
    assert process_time() - began < 5


def test_what_goes_wrong_is_logged_seldom_and_counted(logged: list[LogEvent]) -> None:
    clock = Clock()
    warn = SeldomWarning(clock, "policy x")
    for _ in range(5):
        warn("nobody answers")
    clock.advance(60)
    warn("still nobody")
    said = [formatEvent(event) for event in logged]
    assert said == [
        "policy x: nobody answers (1 since the last such line)",
        "policy x: still nobody (5 since the last such line)",
    ]
