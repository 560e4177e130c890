"""``in`` and ``not in``: what may stand behind it for which facts, and the look-up that it becomes."""

import ast
from collections.abc import Callable, Iterator
from typing import Any

from twisted_lb.conditions import Condition, FactTest
from twisted_lb.declared import FactType
from twisted_lb.errors import ConfigError
from twisted_lb.networks import Networks
from twisted_lb.rules.comparisons import Side, check_text, expect, has, member_of
from twisted_lb.rules.members import Hosts, Integers, host_entry_fault, read_integers
from twisted_lb.rules.scope import ListKind, Scope
from twisted_lb.rules.text import Mistake, Text, mistake_at, span
from twisted_lb.rules.values import FactUse, Fixed

_NO_LIST = "behind in stands a list: ['a', 'b'], @name, or for whole numbers range(7000, 7100)"


def is_in(text: Text, scope: Scope, left: Side, node: ast.expr, wanted: bool, read: Callable[[ast.expr], Side]) -> Any:
    """Compile ``left in node``, or ``left not in node`` if not ``wanted``. ``read``: reads sides. Raises Mistake."""
    if isinstance(left, Fixed):
        return _fixed_in(left, node, wanted, read)
    if left.type is FactType.STRINGS and not wanted:
        what = f"{left.name} has several values: write not {left.name} in ... for none of them"
        raise Mistake(what, left.start, left.end)
    if left.type is FactType.BOOLEAN:
        raise Mistake(f"{left.name} is true or false, and needs no list", left.start, left.end)
    return member_of(left, _lookup(text, scope, left, node, read), wanted, lasting=text.list_name(node) is None)


def _fixed_in(left: Fixed, node: ast.expr, wanted: bool, read: Callable[[ast.expr], Side]) -> Condition:
    """Compile ``'h2' in tls.alpn``."""
    right = None if isinstance(node, ast.List | ast.Tuple) else read(node)
    if not isinstance(right, FactUse):
        raise Mistake("compares two fixed values, and no fact", left.start, span(node)[1])
    if right.type is not FactType.STRINGS:
        what = f"{right.name} is {right.type.value}, and no list: write it before in"
        if right.type is FactType.STRING:
            what += ", or .startswith, .endswith or .matches behind it"
        raise Mistake(what, right.start, right.end)
    expect(right, left)
    check_text(right, left)
    text = left.value
    return has(right, text) if wanted else FactTest(right.get, lambda values: text not in values)


def _lookup(
    text: Text, scope: Scope, left: FactUse, node: ast.expr, read: Callable[[ast.expr], Side]
) -> Callable[[Any], Any]:
    name = text.list_name(node)
    if name is not None:
        try:
            view = scope.list_view(name, _kind_of(left))
        except ValueError as error:
            raise mistake_at(str(error), node) from None
        return lambda value: view.contains(value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and text.of(node.func) == "range":
        return Integers(_ranges(left, [_range(node, read)])).contains
    if isinstance(node, ast.List | ast.Tuple):
        if not node.elts:
            raise mistake_at("this list is empty, so nothing is ever in it", node)
        entries = [_entry(text, left, one, read) for one in node.elts]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and left.type is not FactType.STRING:
        entries = [_entry(text, left, node, read)]  # source in '10.0.0.0/8'
    else:
        raise mistake_at(_NO_LIST, node)
    return _fixed_set(left, entries)


def _kind_of(left: FactUse) -> ListKind:
    if left.type is FactType.ADDRESS:
        return "networks"
    if left.type is FactType.INTEGER:
        return "integers"
    if left.fact.host:
        return "hosts"
    return "small" if left.name.endswith(".lower()") else "strings"


def _range(node: ast.Call, read: Callable[[ast.expr], Side]) -> tuple[range, Fixed]:
    sides = [read(one) for one in node.args]
    ends = [one.value for one in sides if isinstance(one, Fixed) and type(one.value) is int]
    if len(ends) != len(sides) or len(ends) != 2 or node.keywords:
        raise mistake_at("range takes the first number, and the one behind the last: range(7000, 7100)", node)
    found = range(int(ends[0]), int(ends[1]))
    if not found:
        raise mistake_at("this range is empty: its end is not behind its beginning", node)
    return found, Fixed(0, *span(node))


def _entry(text: Text, left: FactUse, node: ast.expr, read: Callable[[ast.expr], Side]) -> Any:
    """Read one entry: a range with its place for whole numbers, else a ``Fixed``."""
    if text.list_name(node) is not None:
        raise mistake_at("a named list stands by itself: in @name, without brackets", node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and text.of(node.func) == "range":
        return _range(node, read)
    side = read(node)
    if not isinstance(side, Fixed):
        raise mistake_at("only fixed values stand in a list; compare facts with ==", node)
    if left.type is not FactType.INTEGER:
        expect(left, side)
        if left.type is not FactType.ADDRESS and not left.fact.host:
            check_text(left, side)
        return side
    if isinstance(side.value, str):
        try:
            return read_integers(side.value), side
        except ValueError as error:
            raise mistake_at(str(error), node) from None
    expect(left, side)
    return range(side.value, side.value + 1), side


def _fixed_set(left: FactUse, entries: list[Any]) -> Callable[[Any], Any]:
    if left.type is FactType.INTEGER:
        return Integers(_ranges(left, entries)).contains
    texts = [str(one.value) for one in entries]
    if left.type is FactType.ADDRESS:
        return _networks(entries).contains
    if left.fact.host:
        for one in entries:
            fault = host_entry_fault(str(one.value))
            if fault:
                raise Mistake(f"{left.name} is never that: {fault}", one.start, one.end)
        if any(text.startswith("*.") for text in texts):
            return Hosts(texts).contains
    return frozenset(texts).__contains__


def _networks(entries: list[Fixed]) -> Networks:
    for one in entries:
        try:
            Networks.parse([str(one.value)])
        except ConfigError as error:
            raise Mistake(error.problems[0], one.start, one.end) from None
    return Networks.parse([str(one.value) for one in entries])


def _ranges(left: FactUse, entries: list[tuple[range, Fixed]]) -> Iterator[range]:
    least, most = left.fact.least, left.fact.most
    for one, place in entries:
        if (least is not None and one.stop <= least) or (most is not None and one.start > most):
            low, high = ("..." if end is None else str(end) for end in (least, most))
            raise Mistake(f"{left.name} is never that: it is {low} to {high}", place.start, place.end)
        yield one
