"""One comparison: its two sides checked against each other, and compiled.

Every comparison with a fact that is not known is false, ``!=`` and ``not in`` too. One that can never hold, or holds
whatever the value, is a mistake.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from twisted_lb.conditions import Condition, FactTest
from twisted_lb.declared import FactType
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.networks import Networks
from twisted_lb.rules.text import Mistake
from twisted_lb.rules.values import FactUse, Fixed

Side: TypeAlias = Fixed | FactUse

SYMBOLS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def compare(symbol: str, left: Side, right: Side) -> Condition:
    """Compile ``left symbol right``. Raises Mistake."""
    if isinstance(left, Fixed):
        if isinstance(right, Fixed):
            raise Mistake("compares two fixed values, and no fact", left.start, right.end)
        left, right, symbol = right, left, _TURNED[symbol]
    if symbol in _ORDERED and left.type is not FactType.INTEGER:
        raise Mistake(f"{left.name} is {left.type.value}: only whole numbers have an order", left.start, left.end)
    if left.type is FactType.STRINGS and symbol == "!=":
        what = f"{left.name} has several values: write not {left.name} == ... for none of them"
        raise Mistake(what, left.start, left.end)
    if isinstance(right, FactUse):
        return _of_two_facts(symbol, left, right)
    expect(left, right)
    match left.type:
        case FactType.ADDRESS:
            return member_of(left, single_address(right).contains, symbol == "==", lasting=True)
        case FactType.INTEGER:
            return _of_integer(symbol, left, right)
        case FactType.STRINGS:
            check_text(left, right)
            return has(left, right.value)
        case FactType.STRING:
            check_text(left, right)
    compared = partial(operator.eq if symbol == "==" else operator.ne, right.value)
    return FactTest(left.get, compared, lasting=left.type is FactType.STRING)


_PYTHON: Mapping[FactType, type] = {
    FactType.STRING: str,
    FactType.STRINGS: str,
    FactType.ADDRESS: str,
    FactType.INTEGER: int,
    FactType.BOOLEAN: bool,
}
_INSTEAD = {str: "a string", int: "a whole number", bool: "true or false"}


def expect(left: FactUse, right: Fixed) -> None:
    """Make sure that a fixed value has the type of the fact's. Raises Mistake."""
    if type(right.value) is not _PYTHON[left.type]:
        what = f"{left.name} is {left.type.value}, and this is {_INSTEAD[type(right.value)]}"
        raise Mistake(what, right.start, right.end)


def check_text(left: FactUse, right: Fixed) -> None:
    """Make sure that the fact could be that text. Raises Mistake."""
    fault = left.fault(str(right.value), "whole")
    if fault:
        raise Mistake(f"{left.name} is never that: {fault}", right.start, right.end)


def single_address(right: Fixed) -> Networks:
    """Read an address. Raises Mistake for a network: a client never has one."""
    try:
        networks = Networks.parse([str(right.value)])
    except ConfigError as error:
        raise Mistake(error.problems[0], right.start, right.end) from None
    if "/" in str(right.value):
        raise Mistake(f"this is a network: write in '{right.value}'", right.start, right.end)
    return networks


def _of_integer(symbol: str, left: FactUse, right: Fixed) -> Condition:
    wanted = int(right.value)
    least, most = left.fact.least, left.fact.most
    # What each comparison says about the ends of what is possible, for both of which it would have to be the same.
    ends = [end for end in (least, most) if end is not None]
    outside = bool(ends) and ((least is not None and wanted < least) or (most is not None and wanted > most))
    compared = _ORDERED.get(symbol)
    constant = len(ends) == 2 and compared is not None and compared(ends[0], wanted) == compared(ends[1], wanted)
    if outside or constant:
        low, high = ("..." if end is None else str(end) for end in (least, most))
        holds = symbol == "!=" or (compared is not None and bool(ends) and compared(ends[0], wanted))
        what = f"this {'holds always' if holds else 'can never hold'}: {left.name} is {low} to {high}"
        raise Mistake(what, min(left.start, right.start), max(left.end, right.end))
    if compared is None:
        return FactTest(left.get, partial(operator.eq if symbol == "==" else operator.ne, wanted))
    return FactTest(left.get, partial(_ORDERED[_TURNED[symbol]], wanted))


def _of_two_facts(symbol: str, left: FactUse, right: FactUse) -> Condition:
    one, other = left.get, right.get
    if left.type is not right.type or left.type is FactType.STRINGS:
        what = f"{left.name} is {left.type.value}, and {right.name} is {right.type.value}"
        if left.type is right.type:
            what = f"{left.name} and {right.name} are lists: compare with a string"
        raise Mistake(what, min(left.start, right.start), max(left.end, right.end))
    if left.name == right.name:
        raise Mistake("compares a fact with itself", min(left.start, right.start), max(left.end, right.end))
    same: Callable[[Any, Any], bool] = operator.eq if left.type is not FactType.ADDRESS else same_address
    if symbol in _ORDERED:
        same = _ORDERED[symbol]
    wanted = symbol != "!="

    def holds(facts: Facts) -> bool:
        first, second = one(facts), other(facts)
        return first is not None and second is not None and same(first, second) is wanted

    return holds


def same_address(one: str, other: str) -> bool:
    """Whether two hosts are one address, however they are spelt."""
    if one == other:
        return True
    number = Networks.number(one)
    return number is not None and number >= 0 and number == Networks.number(other)


# Closures: what runs per connection


def has(left: FactUse, wanted: object) -> Condition:
    """Compile ``wanted in left``, a list of values."""
    return FactTest(left.get, lambda values: wanted in values)


def member_of(left: FactUse, contains: Callable[[Any], object], wanted: bool, lasting: bool) -> Condition:
    """Compile ``left in`` (or, if not ``wanted``, ``left not in``) what ``contains`` looks up; of a list: any value.

    ``lasting``: what it is looked up in never changes.
    """
    if left.type is FactType.STRINGS:
        return FactTest(left.get, lambda values: any(contains(one) for one in values))
    lasting = lasting and left.type in (FactType.STRING, FactType.ADDRESS)
    return FactTest(left.get, contains if wanted else lambda value: not contains(value), lasting)
