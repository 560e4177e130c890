"""What ``in`` looks values up in: integers with ranges, and hosts with wildcards; networks are ``Networks``."""

import re
from bisect import bisect_right
from collections.abc import Iterable

from twisted_lb.rules.values import host_fault

_RANGE = re.compile(r"(-?[0-9]{1,19})\s*-\s*(-?[0-9]{1,19})")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


def read_integers(text: str) -> range:
    """Read ``"7000"``, or ``"7000-7099"`` with both ends. Raises ValueError that says what is wrong."""
    if _INTEGER.fullmatch(text):
        return range(int(text), int(text) + 1)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is neither a whole number nor a range such as 7000-7099')
    low, high = int(match[1]), int(match[2])
    if low > high:
        raise ValueError(f'"{text}" is empty: its end is before its beginning')
    return range(low, high + 1)


class Integers:
    """A set of whole numbers, made of ranges. Cost of a question: logarithmic in how many there are."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[range]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for one in sorted(ranges, key=lambda one: one.start):
            if self._ends and one.start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], one.stop)
            else:
                self._starts.append(one.start)
                self._ends.append(one.stop)

    def contains(self, number: int | None) -> bool:
        """Whether the number is in the set."""
        if number is None:
            return False
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._ends[at]


def host_entry_fault(text: str) -> str:
    """Say why ``text`` is neither a host as they are compared, nor ``*.`` and a host; empty if it is one."""
    name = text.removeprefix("*.")
    if name.startswith("."):
        return f"write '*{name}' for all hosts below it"
    return host_fault(name, "whole")


class Hosts:
    """A set of names of hosts, in small letters and without final dot, and of ``*.`` with a name.

    ``*.example.org`` stands for all below ``example.org``, at any depth, but not for that itself, as in routes.
    Cost of a question: one look-up, and one for each label that the longest wildcard has.
    """

    __slots__ = ("_below", "_deepest", "_names")

    def __init__(self, entries: Iterable[str]) -> None:
        names = frozenset(entries)
        self._below = frozenset(one[2:] for one in names if one.startswith("*."))
        self._names = frozenset(one for one in names if not one.startswith("*."))
        self._deepest = max((one.count(".") + 1 for one in self._below), default=0)

    def contains(self, host: str | None) -> bool:
        """Whether the host, as it is compared, is in the set."""
        if host is None:
            return False
        if host in self._names:
            return True
        if self._deepest:
            labels = host.rsplit(".", self._deepest)
            name = ""
            while len(labels) > 1:
                name = f"{labels.pop()}.{name}" if name else labels.pop()
                if name in self._below:
                    return True
        return False
