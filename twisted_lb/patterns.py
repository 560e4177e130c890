"""Regular expressions that take linear time, whatever they are and whatever they are matched with.

Python's own try one way after the other, and a few bytes of a client's can have them try for hours. These are read by
Python's parser, and so are written as Python's, but followed in all ways at once: Glushkov's automaton, its sets of
positions kept as integers, the steps between them remembered. What needs memory of what was matched (back references,
looking ahead and behind, possessive groups) is refused.

Source: Glushkov, "The abstract theory of automata", 1961; https://swtch.com/~rsc/regexp/regexp1.html.
"""

import re
from collections.abc import Iterable
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from twisted_lb.errors import ConfigError

MOST_POSITIONS = 500
"""So many places for a byte a pattern may have when its repeats with a count are written out."""
REMEMBERED_STEPS = 20_000

_ALL = frozenset(range(256))
_CATEGORIES: dict[Any, frozenset[int]] = {
    getattr(_constants, name): frozenset(byte for byte in _ALL if re.fullmatch(pattern, bytes((byte,))))
    for name, pattern in {
        "CATEGORY_DIGIT": rb"\d",
        "CATEGORY_NOT_DIGIT": rb"\D",
        "CATEGORY_SPACE": rb"\s",
        "CATEGORY_NOT_SPACE": rb"\S",
        "CATEGORY_WORD": rb"\w",
        "CATEGORY_NOT_WORD": rb"\W",
    }.items()
}
_CALLED = {
    _constants.ASSERT: "look-around",
    _constants.ASSERT_NOT: "look-around",
    _constants.GROUPREF: "a back reference",
    _constants.GROUPREF_EXISTS: "a back reference",
}
"""What people call the parser's operations."""
_BEGINNING = (_constants.AT_BEGINNING, _constants.AT_BEGINNING_STRING)
_END = (_constants.AT_END, _constants.AT_END_STRING)


class _Part(NamedTuple):
    """Where a part of a pattern begins and ends, as sets of positions; ``empty``: it may match nothing at all."""

    first: int = 0
    last: int = 0
    empty: bool = True


class LinearPattern:
    """A pattern that is matched with the whole of a text. Raises ConfigError, with the position of what is wrong."""

    __slots__ = ("_accepting", "_by_byte", "_folds", "_follow", "_steps", "text")

    def __init__(self, text: str) -> None:
        self._compile(text, stream=False)

    def _compile(self, text: str, *, stream: bool) -> None:
        self.text = text
        if not text.isascii():
            raise ConfigError(f"only ASCII can stand in a regular expression: {text!r}")
        try:
            tree = _parser.parse(text.encode())
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(f"no regular expression: {error}: {text!r}") from None
        self._folds = bool(tree.state.flags & re.IGNORECASE)
        self._by_byte = [0] * 256
        self._follow = [0]  # position 0 is the beginning
        items = list(tree)
        tied = not stream or bool(items and items[0][0] is _constants.AT and items[0][1] in _BEGINNING)
        while items and items[0][0] is _constants.AT and items[0][1] in _BEGINNING:
            del items[0]
        while not stream and items and items[-1][0] is _constants.AT and items[-1][1] in _END:
            del items[-1]
        if stream and items and items[-1][0] is _constants.AT:
            raise ConfigError(f"where a stream ends is not known: {text!r}")
        whole = self._sequence(items)
        if stream and whole.empty:
            raise ConfigError(f"this finds nothing everywhere: {text!r}")
        if not tied:
            whole = self._joined(self._repeat(0, _constants.MAXREPEAT, [(_constants.ANY, None)]), whole)
        self._follow[0] = whole.first
        self._accepting = whole.last | whole.empty
        self._steps: dict[tuple[int, int], int] = {}

    def matches(self, text: bytes) -> bool:
        """Whether the whole of ``text`` is what the pattern describes."""
        steps, state = self._steps, 1
        for byte in text:
            after = steps.get((state, byte))
            if after is None:
                after = self._step(state, byte)
            if not after:
                return False
            state = after
        return bool(state & self._accepting)

    def _step(self, state: int, byte: int) -> int:
        after, rest = 0, state
        while rest:
            lowest = rest & -rest
            after |= self._follow[lowest.bit_length() - 1]
            rest ^= lowest
        after &= self._by_byte[byte]
        if len(self._steps) >= REMEMBERED_STEPS:
            self._steps.clear()
        self._steps[state, byte] = after
        return after

    # From Python's tree to positions

    def _sequence(self, items: Iterable[Any]) -> _Part:
        whole = _Part()
        for operation, argument in items:
            whole = self._joined(whole, self._item(operation, argument))
        return whole

    def _joined(self, one: _Part, other: _Part) -> _Part:
        self._lead(one.last, other.first)
        first = one.first | other.first if one.empty else one.first
        last = one.last | other.last if other.empty else other.last
        return _Part(first, last, one.empty and other.empty)

    def _lead(self, from_positions: int, to_positions: int) -> None:
        while from_positions:
            lowest = from_positions & -from_positions
            self._follow[lowest.bit_length() - 1] |= to_positions
            from_positions ^= lowest

    def _item(self, operation: Any, argument: Any) -> _Part:
        if operation is _constants.LITERAL:
            return self._byte(frozenset((argument,)))
        if operation is _constants.NOT_LITERAL:
            return self._byte(_ALL - self._folded(frozenset((argument,))))
        if operation is _constants.ANY:
            return self._byte(_ALL)
        if operation is _constants.IN:
            return self._byte(self._set(argument))
        if operation is _constants.SUBPATTERN and not argument[1] and not argument[2]:
            return self._sequence(argument[3])
        if operation is _constants.BRANCH:
            parts = [self._sequence(branch) for branch in argument[1]]
            first = last = 0
            for part in parts:
                first, last = first | part.first, last | part.last
            return _Part(first, last, any(part.empty for part in parts))
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            return self._repeat(*argument)
        what = _CALLED.get(operation) or str(operation).lower().replace("_", " ")
        raise ConfigError(f'"{what}" cannot be matched in linear time, or not in the middle: {self.text!r}')

    def _repeat(self, least: int, most: int, items: Any) -> _Part:
        whole, endless = _Part(), most == _constants.MAXREPEAT
        for number in range(max(least, 1) if endless else most):
            part = self._sequence(items)
            if not part.first:
                break  # nothing, however often
            if endless and number + 1 >= least:
                self._lead(part.last, part.first)
            if number >= least:
                part = part._replace(empty=True)
            whole = self._joined(whole, part)
        return whole

    def _set(self, items: Iterable[Any]) -> frozenset[int]:
        found: frozenset[int] = frozenset()
        negated = False
        for operation, argument in items:
            if operation is _constants.NEGATE:
                negated = True
            elif operation is _constants.LITERAL:
                found |= {argument}
            elif operation is _constants.RANGE:
                found |= set(range(argument[0], argument[1] + 1))
            else:
                found |= _CATEGORIES[argument]
        return _ALL - self._folded(found) if negated else found

    def _byte(self, allowed: frozenset[int]) -> _Part:
        position = len(self._follow)
        if position > MOST_POSITIONS:
            raise ConfigError(f"more than {MOST_POSITIONS} places when its counts are written out: {self.text!r}")
        self._follow.append(0)
        for byte in self._folded(allowed):
            self._by_byte[byte] |= 1 << position
        return _Part(1 << position, 1 << position, empty=False)

    def _folded(self, allowed: frozenset[int]) -> frozenset[int]:
        if not self._folds:
            return allowed
        return frozenset(other for byte in allowed for other in (bytes((byte,)).lower()[0], bytes((byte,)).upper()[0]))


class StreamPattern(LinearPattern):
    """A pattern that is looked for in a stream whose end is not known: anywhere, or only at its beginning with ``^``.

    Raises ConfigError as ``LinearPattern`` does, and for a ``$`` and what matches nothing at all.
    """

    __slots__ = ()

    def __init__(self, text: str) -> None:
        self._compile(text, stream=True)

    def found_in(self, data: bytes) -> bool | None:
        """Whether it is in ``data``, the first bytes of the stream; ``None`` if more of them may have it.

        The answer is the same for every continuation of what got one, so cuts cannot matter.
        """
        steps, state = self._steps, 1
        for byte in data:
            after = steps.get((state, byte))
            if after is None:
                after = self._step(state, byte)
            if not after:
                return False
            if after & self._accepting:
                return True
            state = after
        return None
