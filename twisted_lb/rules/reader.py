"""From a rule's syntax tree to closures: what may stand where, and what it means."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import methodcaller

from twisted_lb.conditions import Condition, FactTest
from twisted_lb.declared import FactType
from twisted_lb.errors import ConfigError
from twisted_lb.facts import Facts
from twisted_lb.patterns import LinearPattern
from twisted_lb.rules.comparisons import SYMBOLS, Side, compare
from twisted_lb.rules.http_facts import HEADERS, PATH
from twisted_lb.rules.inclusion import is_in
from twisted_lb.rules.scope import Scope
from twisted_lb.rules.text import DEEPEST, Mistake, Text, mistake_at, span
from twisted_lb.rules.values import FactUse, Fixed, Place

_METHODS = (".startswith('...')", ".endswith('...')", ".matches('...')", ".lower()")
_BOTH_TEXTS = (FactType.STRING, FactType.STRINGS)


class Reading:
    """The reading of a path that a condition is asked about at the moment; ``None`` if there is no path."""

    __slots__ = ("path",)

    def __init__(self) -> None:
        self.path: str | None = None

    def get(self, facts: Facts) -> str | None:
        """Return it in place of the path as it was sent."""
        return self.path


class Reader:
    """Reads one text. ``used``: the facts that it uses, by name. ``reading``: if it looks at the path.

    ``as_sent``: it is no condition, and a path is simply the one that was sent.
    """

    def __init__(self, text: Text, scope: Scope, as_sent: bool = False) -> None:
        self._as_sent = as_sent
        self.text = text
        self.mistakes: list[Mistake] = []
        self.used: dict[str, FactUse] = {}
        self.reading: Reading | None = None
        self._scope = scope
        self._depth = 0

    # Conditions

    def condition(self, node: ast.expr) -> Condition:
        """Compile what is true or false. Raises Mistake; those of several operands are in ``mistakes``."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise mistake_at(f"is nested more than {DEEPEST} deep", node)
        try:
            return self._condition(node)
        finally:
            self._depth -= 1

    def _condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(ast.And(), operands):
                return _all([self._collected(one) for one in operands])
            case ast.BoolOp(_, operands):
                return _any([self._collected(one) for one in operands])
            case ast.UnaryOp(ast.Not(), operand):
                inner = self.condition(operand)
                return lambda facts: not inner(facts)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(ast.Name()):
                return self._known(node)
            case ast.Call(ast.Attribute() as func) if self.text.attribute(func) != "lower":
                return self._method(node, func)
        side = self.side(node)
        if isinstance(side, Fixed) and isinstance(side.value, bool):
            value = side.value
            return lambda facts: value
        if isinstance(side, FactUse) and side.type is FactType.BOOLEAN:
            get = side.get
            return lambda facts: get(facts) is True
        if isinstance(side, Fixed):
            raise mistake_at("this is neither true nor false: compare it with a fact", node)
        what = f"{side.name} is {side.type.value}, and not true or false: compare it, or write known({side.name})"
        raise mistake_at(what, node)

    def _collected(self, node: ast.expr) -> Condition:
        try:
            return self.condition(node)
        except Mistake as mistake:
            self.mistakes.append(mistake)
            return lambda facts: False

    def _comparison(self, node: ast.Compare) -> Condition:
        conditions = []
        left = node.left
        for operation, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operation, ast.In | ast.NotIn):
                of_left = self.side(left)
                wanted = isinstance(operation, ast.In)
                conditions.append(is_in(self.text, self._scope, of_left, right, wanted, self.side))
            elif type(operation) in SYMBOLS:
                conditions.append(compare(SYMBOLS[type(operation)], self.side(left), self.side(right)))
            else:
                raise mistake_at("write ==, !=, <, <=, >, >=, in or not in", node)
            left = right
        self._check_chain(node)
        return _all(conditions)

    def _check_chain(self, node: ast.Compare) -> None:
        """A number between two others: is there any?"""
        if len(node.ops) != 2 or not all(isinstance(one, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for one in node.ops):
            return
        ends = [self.side(node.left), self.side(node.comparators[1])]
        values = [one.value for one in ends if isinstance(one, Fixed) and isinstance(one.value, int)]
        up = [isinstance(one, ast.Lt | ast.LtE) for one in node.ops]
        if len(values) != 2 or up[0] != up[1]:
            return
        low, high = values if up[0] else values[::-1]
        strict = sum(isinstance(one, ast.Lt | ast.Gt) for one in node.ops)
        if high - low < strict:
            raise mistake_at("this can never hold: there is no number in between", node)

    def _known(self, node: ast.Call) -> Condition:
        name = self.text.of(node.func)
        if name != "known":
            raise mistake_at(f'there is no "{name}(...)" here; there is known(FACT)', node.func)
        if len(node.args) != 1 or node.keywords:
            raise mistake_at("known takes one fact", node)
        fact = self.side(node.args[0])
        if isinstance(fact, Fixed):
            raise mistake_at("known takes a fact", node.args[0])
        get = fact.get
        return lambda facts: get(facts) is not None

    def _method(self, node: ast.Call, func: ast.Attribute) -> Condition:
        name = self.text.attribute(func)
        if name not in ("startswith", "endswith", "matches"):
            raise self._no_method(func)
        fact = self.side(func.value)
        if isinstance(fact, Fixed) or fact.type not in _BOTH_TEXTS:
            kind = "fixed" if isinstance(fact, Fixed) else fact.type.value
            raise mistake_at(f".{name} asks for a fact that is a string, and this is {kind}", func.value)
        wanted = self.side(node.args[0]) if len(node.args) == 1 and not node.keywords else None
        if not isinstance(wanted, Fixed) or not isinstance(wanted.value, str):
            raise mistake_at(f".{name} takes one string", node)
        return _tested(fact, _test(name, fact, wanted))

    def _no_method(self, func: ast.Attribute) -> Mistake:
        name = self.text.attribute(func)
        what = f'there is no ".{name}(...)"; there are {", ".join(_METHODS)}'
        if name in ("contains", "includes", "find"):
            what = f"there is no .{name}(...): write .matches('.*...*')"
        if name in ("startswith", "endswith", "matches"):
            what = f".{name}(...) is true or false, and cannot be compared"
        return Mistake(what, span(func)[1] - len(name), span(func)[1])

    # Sides

    def side(self, node: ast.expr) -> Side:
        """Read what may be compared: a fixed value, or a fact. Raises Mistake."""
        start, end = span(node)
        match node:
            case ast.Constant(str()):
                return Fixed(self.text.string(node), start, end)
            case ast.Constant(int(value)) if type(value) is int:
                return Fixed(value, start, end)
            case ast.Constant(float()):
                raise mistake_at(f"numbers are whole; what looks like this is a text: '{self.text.of(node)}'", node)
            case ast.UnaryOp(ast.USub(), ast.Constant(int(value))):
                return Fixed(-value, start, end)
            case ast.Name() if self.text.list_name(node) is not None:
                raise mistake_at("a named list stands behind in, and nowhere else", node)
            case ast.Name() if self.text.of(node) in ("true", "false"):
                return Fixed(self.text.of(node) == "true", start, end)
            case ast.Name() | ast.Attribute():
                return self._fact(self._dotted(node), node)
            case ast.Subscript(of, ast.Constant(str()) as index):
                if self._dotted(of) != HEADERS:
                    raise mistake_at("only http.headers has an index: http.headers['name']", node)
                return self._fact(self.text.string(index), node, self._scope.header)
            case ast.Call(ast.Attribute(of) as func, [], []) if self.text.attribute(func) == "lower":
                return self._lowered(of, func)
            case ast.Call(ast.Attribute() as func):
                raise self._no_method(func)
            case ast.BinOp():
                raise mistake_at("nothing is calculated here; a range is written '7000-7099', in quotes", node)
            case ast.List() | ast.Tuple():
                raise mistake_at("a list stands behind in, and nowhere else", node)
        raise mistake_at("here stands a fact, such as source, or a fixed value, such as 'text' or 443", node)

    def _lowered(self, of: ast.expr, func: ast.Attribute) -> Side:
        fact = self.side(of)
        if isinstance(fact, Fixed) or fact.type not in _BOTH_TEXTS:
            kind = "fixed" if isinstance(fact, Fixed) else fact.type.value
            raise mistake_at(f".lower() asks for a fact that is a string, and this is {kind}", of)
        return replace(fact.lowered(), start=fact.start, end=span(func)[1] + 2)

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self.text.of(node)
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{self.text.attribute(node)}"
        raise mistake_at("here stands the name of a fact, such as tls.sni", node)

    def _fact(self, name: str, node: ast.expr, find: Callable[[str], FactUse] | None = None) -> FactUse:
        try:
            found = (find or self._scope.fact)(name)
        except ValueError as error:
            raise mistake_at(str(error), node) from None
        self.used.setdefault(found.name, found)
        get = found.get
        if found.name == PATH and not self._as_sent:
            self.reading = self.reading or Reading()
            get = self.reading.get
        start, end = span(node)
        return replace(found, get=get, start=start, end=end)


# Closures: what runs per connection


def _all(conditions: Sequence[Condition]) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    if len(conditions) == 2:
        one, other = conditions
        return lambda facts: one(facts) and other(facts)

    def holds(facts: Facts) -> bool:
        for condition in conditions:  # noqa: SIM110  all() costs twice as much
            if not condition(facts):
                return False
        return True

    return holds


def _any(conditions: Sequence[Condition]) -> Condition:
    if len(conditions) == 2:
        one, other = conditions
        return lambda facts: one(facts) or other(facts)

    def holds(facts: Facts) -> bool:
        for condition in conditions:  # noqa: SIM110  any() costs twice as much
            if condition(facts):
                return True
        return False

    return holds


def _test(name: str, fact: FactUse, wanted: Fixed) -> Callable[[str], bool]:
    """Return what tells whether one text is what a method asks for. Raises Mistake."""
    text = str(wanted.value)
    if not text:
        raise Mistake("this is empty, and so says nothing", wanted.start, wanted.end)
    if name == "matches":
        try:
            pattern = LinearPattern(text)
        except ConfigError as error:
            raise Mistake(error.problems[0], wanted.start, wanted.end) from None
        return lambda value: pattern.matches(value.encode("utf-8", "backslashreplace"))
    place: Place = "start" if name == "startswith" else "end"
    fault = fact.fault(text, place)
    if fault:
        raise Mistake(f"{fact.name} never {place}s with that: {fault}", wanted.start, wanted.end)
    return methodcaller(name, text)


def _tested(fact: FactUse, test: Callable[[str], bool]) -> Condition:
    if fact.type is FactType.STRINGS:
        return FactTest(fact.get, lambda values: any(test(one) for one in values))
    return FactTest(fact.get, test, lasting=True)
