"""Of several conditions the first that holds is found, and a fact that several ask about is looked up once."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.conditions import LONGEST_REMEMBERED, REMEMBERED_VALUES, Condition, FactTest, FirstOf
from twisted_lb.facts import Facts
from twisted_lb.testing import make_facts

GETS = {name: partial(lambda name, facts: facts.learnt.get(name), name) for name in "abc"}
ASKED = st.tuples(st.sampled_from("abc-"), st.integers(0, 3))


def condition(name: str, wanted: int) -> Condition:
    """That the fact ``name`` is ``wanted``; ``-`` is a condition of another kind, which holds for odd ones."""
    return (lambda facts: wanted % 2 == 1) if name == "-" else FactTest(GETS[name], lambda value: value == wanted)


@given(st.lists(ASKED, max_size=6), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)))
def test_the_first_that_holds_is_the_one_that_asking_one_by_one_finds(
    asked: list[tuple[str, int]], learnt: dict[str, int]
) -> None:
    facts = make_facts()
    facts.learnt.update(learnt)
    conditions = [condition(name, wanted) for name, wanted in asked]
    found = [number for number, one in enumerate(conditions) if one(facts)]
    assert FirstOf(conditions).find(facts) == (found[0] if found else len(asked))


def test_a_fact_is_looked_up_once_for_all_that_follow_one_another() -> None:
    looked: list[str] = []

    def get(facts: Facts) -> str:
        looked.append("up")
        return "value"

    tests = [FactTest(get, lambda value: value == "other"), FactTest(get, lambda value: value == "value")]
    assert FirstOf(tests).find(make_facts()) == 1
    assert looked == ["up"]


def test_nothing_holds_for_a_fact_that_is_not_known() -> None:
    test = FactTest(GETS["a"], lambda value: True)
    assert test(make_facts()) is False
    assert FirstOf([test]).find(make_facts()) == 1


def test_an_error_is_passed_on() -> None:
    facts = make_facts()
    facts.learnt["a"] = 1
    with pytest.raises(ZeroDivisionError):
        FirstOf([FactTest(GETS["a"], lambda value: value / 0)]).find(facts)


def asked_about(name: str, *tests: Any, lasting: bool = True) -> tuple[FirstOf, Facts]:
    return FirstOf([FactTest(GETS[name], test, lasting) for test in tests]), make_facts()


def test_what_several_say_of_a_text_is_remembered() -> None:
    asked: list[str] = []

    def ends(value: str, wanted: str) -> bool:
        asked.append(wanted)
        return value.endswith(wanted)

    first_of, facts = asked_about("a", *[partial(ends, wanted=one) for one in "xyz"])
    for value, met, looks in (("y", 1, "xy"), ("y", 1, ""), ("q", 3, "xyz"), ("q", 3, ""), ("x", 0, "x"), ("y", 1, "")):
        asked.clear()
        facts.learnt["a"] = value
        assert first_of.find(facts) == met
        assert "".join(asked) == looks


@pytest.mark.parametrize("lasting", [False, True])
def test_what_may_say_something_else_is_asked_each_time(lasting: bool) -> None:
    answers = [False, False]
    tests = [FactTest(GETS["a"], lambda value: answers[0], lasting=False)]
    tests += [FactTest(GETS["a"], lambda value: False, lasting)]
    tests += [FactTest(GETS["a"], lambda value: answers[1], lasting=False)]
    first_of, facts = FirstOf(tests), make_facts()
    facts.learnt["a"] = "value"
    found = []
    for answers[:] in ([False, False], [True, False], [False, True], [False, False]):
        found.append(first_of.find(facts))
    assert found == [3, 0, 2, 3]


def test_what_is_remembered_has_a_bound() -> None:
    first_of, facts = asked_about("a", str.isdigit, str.isupper)
    for number in range(3 * REMEMBERED_VALUES):
        facts.learnt["a"] = f"{number}"
        assert first_of.find(facts) == 0
    long = "x" * (LONGEST_REMEMBERED + 1)
    for value in (long, long.upper(), long):
        facts.learnt["a"] = value
        assert first_of.find(facts) == (1 if value.isupper() else 2)
    ((_, known, _),) = first_of._groups
    assert known is not None
    assert 0 < len(known) <= REMEMBERED_VALUES
    assert long not in known


def test_a_value_that_is_no_text_is_asked_about_each_time_or_refused() -> None:
    first_of, facts = asked_about("a", lambda value: value == 1, lambda value: value == 2)
    for value, met in ((1, 0), (2, 1), (1.0, 0), (True, 0), (3, 2)):
        facts.learnt["a"] = value
        assert first_of.find(facts) == met
    facts.learnt["a"] = [1]
    with pytest.raises(TypeError, match="unhashable"):
        first_of.find(facts)
