"""Of several conditions the first that holds is found, and a fact that several ask about is looked up once."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.conditions import Condition, FactTest, FirstOf
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
