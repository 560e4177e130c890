"""Conditions on the facts of one connection, and which of several is the first that holds.

Rules are asked of each connection, and often several of them about the same fact: it is looked up once for all of them.
"""

import operator
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from twisted_lb.facts import Facts

Condition: TypeAlias = Callable[[Facts], bool]
Get: TypeAlias = Callable[[Facts], Any]
"""Returns a fact's value, ``None`` if it is not known."""


class FactTest:
    """The condition that a fact is known, and that ``test`` says yes to its value.

    ``get``: conditions with the same one ask about the same fact.
    """

    __slots__ = ("get", "test")

    def __init__(self, get: Get, test: Callable[[Any], object]) -> None:
        self.get = get
        self.test = test

    def __call__(self, facts: Facts) -> bool:
        """Whether it holds."""
        value = self.get(facts)
        return value is not None and bool(self.test(value))


class FirstOf:
    """Conditions, asked in their order until one holds."""

    __slots__ = ("_count", "_groups")

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._count = len(conditions)
        tests = [_as_test(condition) for condition in conditions]
        numbered = groupby(enumerate(tests), key=lambda pair: pair[1].get)
        self._groups = tuple([(get, tuple([(n, one.test) for n, one in group])) for get, group in numbered])

    def __len__(self) -> int:
        """How many they are; ``find`` returns that if none holds."""
        return self._count

    def find(self, facts: Facts) -> int:
        """Return how many of them do not hold before the first that does. Raises: what a condition raises."""
        for get, tests in self._groups:
            value = get(facts)
            if value is not None:
                for number, test in tests:
                    if test(value):
                        return number
        return self._count


def _as_test(condition: Condition) -> FactTest:
    return condition if isinstance(condition, FactTest) else FactTest(condition, operator.truth)
