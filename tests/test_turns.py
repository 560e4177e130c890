"""Turns go by weight, smoothly, whoever is there."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twisted_lb.turns import Turns


def servers(**weights: int) -> list[Any]:
    return [SimpleNamespace(name=name, weight=weight) for name, weight in weights.items()]


def take(turns: Turns, candidates: list[Any], count: int) -> str:
    return "".join(turns.next(candidates).name for _ in range(count))


def test_turns_are_spread_smoothly() -> None:
    assert take(Turns(), servers(a=5, b=1, c=1), 14) == "aabacaa" * 2


def test_the_one_that_is_returned_is_one_of_those_given() -> None:
    candidates = servers(a=1, b=1)
    assert any(Turns().next(candidates) is one for one in candidates)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_over_a_full_round_each_has_as_many_turns_as_its_weight(weights: list[int]) -> None:
    candidates = servers(**{"abcdef"[number]: weight for number, weight in enumerate(weights)})
    assert Counter(take(Turns(), candidates, sum(weights))) == {one.name: one.weight for one in candidates}


def test_one_that_was_missing_for_a_while_is_neither_flooded_nor_forgotten() -> None:
    turns, candidates = Turns(), servers(a=1, b=1, c=1)
    take(turns, candidates, 4)
    take(turns, candidates[:2], 100)
    back = Counter(take(turns, candidates, 30))
    assert all(9 <= back[name] <= 11 for name in "abc"), back
