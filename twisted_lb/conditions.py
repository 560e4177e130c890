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

    ``get``: conditions with the same one ask about the same fact. ``lasting``: the value is a text, of which ``test``
    always says the same.
    """

    __slots__ = ("get", "lasting", "test")

    def __init__(self, get: Get, test: Callable[[Any], object], lasting: bool = False) -> None:
        self.get = get
        self.test = test
        self.lasting = lasting

    def __call__(self, facts: Facts) -> bool:
        """Whether it holds."""
        value = self.get(facts)
        return value is not None and bool(self.test(value))


REMEMBERED_VALUES = 1024
"""For each fact that several conditions in a row ask about."""
LONGEST_REMEMBERED = 256
"""Characters of such a value; clients choose them, and must not fill the memory."""
_NONE = -1
Tests: TypeAlias = Sequence[tuple[int, Callable[[Any], object]]]


class FirstOf:
    """Conditions, asked in their order until one holds.

    What several in a row say of the same text is remembered: there are many connections, but few names.
    """

    __slots__ = ("_count", "_groups")

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._count = len(conditions)
        made = [_as_test(condition) for condition in conditions]
        groups: list[tuple[Get, dict[str, int] | None, Tests]] = []
        for (get, lasting), group in groupby(enumerate(made), key=lambda pair: (pair[1].get, pair[1].lasting)):
            tests = tuple([(number, one.test) for number, one in group])
            groups.append((get, {} if lasting and len(tests) > 1 else None, tests))
        self._groups = tuple(groups)

    def __len__(self) -> int:
        """How many they are; ``find`` returns that if none holds."""
        return self._count

    def find(self, facts: Facts) -> int:
        """Return how many of them do not hold before the first that does. Raises: what a condition raises."""
        for get, known, tests in self._groups:
            value = get(facts)
            if value is not None:
                if known is None:
                    for number, test in tests:
                        if test(value):
                            return number
                else:
                    met = known.get(value)
                    if met is None:
                        met = _learn(known, value, tests)
                    if met != _NONE:
                        return met
        return self._count


def _learn(known: dict[str, int], value: Any, tests: Tests) -> int:
    met = next((number for number, test in tests if test(value)), _NONE)
    if type(value) is str and len(value) <= LONGEST_REMEMBERED:
        if len(known) >= REMEMBERED_VALUES:
            known.clear()
        known[value] = met
    return met


def _as_test(condition: Condition) -> FactTest:
    return condition if isinstance(condition, FactTest) else FactTest(condition, operator.truth)
