"""What stands on either side of a comparison: fixed values, and facts with what is known of their values."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeAlias

from twisted_lb.conditions import Get
from twisted_lb.config.hints import nearest
from twisted_lb.declared import Fact, FactType
from twisted_lb.facts import Facts

Place: TypeAlias = Literal["whole", "start", "end"]
"""Which part of a value a text is compared with."""
FindFault: TypeAlias = Callable[[str, Place], str]
"""Says why no value is that text, or begins or ends with it; empty if one may."""

_NO_HOST = re.compile(r"[^a-z0-9._~!$&'()*+;=:\[\]-]")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that stands in the rule itself, from character ``start`` to ``end``."""

    value: str | int | bool
    start: int
    end: int


def _no_fault(text: str, place: Place) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class FactUse:
    """A fact as a rule uses it. ``name``: as it is spelt; ``get``: its value, as it is to be compared.

    ``fault``: why a text can never be what it is compared with.
    """

    name: str
    fact: Fact
    get: Get
    fault: FindFault = _no_fault
    start: int = 0
    end: int = 0

    @property
    def type(self) -> FactType:
        """The type of its values."""
        return self.fact.type

    def lowered(self) -> "FactUse":
        """Return this fact in small letters."""
        get, fault = self.get, self.fault

        def lowered(facts: Facts) -> Any:
            value = get(facts)
            if value is None:
                return None
            return value.lower() if isinstance(value, str) else tuple([one.lower() for one in value])

        def small_only(text: str, place: Place) -> str:
            return "" if text == text.lower() else "there are no capital letters behind .lower()"

        name = f"{self.name}.lower()"
        # What the text must look like otherwise, such as that methods are in capitals, does not matter any more.
        return replace(self, name=name, get=lowered, fault=fault if self.fact.host else small_only)


def use_of(name: str, fact: Fact, fault: FindFault | None = None) -> FactUse:
    """Make the use of a fact; names of hosts are folded, and no value can then be what is spelt otherwise."""
    get = fact.get if fact.get is not None else learnt(name)
    if not fact.host:
        return FactUse(name, fact, get, fault or (_one_of(fact.values) if fact.values else _no_fault))

    def folded(facts: Facts) -> str | None:
        value = get(facts)
        return None if value is None else value.lower().removesuffix(".")

    return FactUse(name, fact, get if fact.folded else folded, host_fault)


def _one_of(values: tuple[str, ...]) -> FindFault:
    def fault(text: str, place: Place) -> str:
        for value in values:
            if text == value or (place == "start" and value.startswith(text)):
                return ""
            if place == "end" and value.endswith(text):
                return ""
        near = nearest(text, values)
        return f"here it is {' or '.join(values)}" + (f'; did you mean "{near}"?' if near else "")

    return fault


@cache
def learnt(name: str) -> Get:
    """Return what looks a fact up among those that were learnt; for the same fact the same."""
    return lambda facts: facts.learnt.get(name)


def host_fault(text: str, place: Place) -> str:
    """Say why no host is spelt like ``text``; see ``FindFault``."""
    if text != text.lower():
        return f"hosts are compared in small letters: write '{text.lower()}'"
    if not text.isascii():
        return "hosts are spelt in ASCII, as DNS has them: xn--..."
    if "*" in text:
        return "no host has a * in it: write in ['*.example.org'], or .endswith('.example.org')"
    if not text:
        return "no host is empty" if place == "whole" else ""
    if place != "start" and text.endswith("."):
        return f"hosts are compared without their final dot: write '{text[:-1]}'"
    if ":" in text and "[" not in text and "]" not in text:
        return "hosts are compared without their port, and IPv6 addresses stand in brackets"
    return "no host is spelt like that" if _NO_HOST.search(text) else ""
