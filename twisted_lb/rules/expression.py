"""A rule's condition: its text checked against the facts that are declared, and compiled to closures.

A path that servers may read in several ways is asked about in all its readings: where their answers differ, the
condition raises WireError, and so it does for one that makes no sense. Source: ``wire.http1_path``.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from twisted_lb.conditions import Condition
from twisted_lb.endings import Stage
from twisted_lb.errors import WireError
from twisted_lb.facts import Facts
from twisted_lb.rules.http_facts import text_of
from twisted_lb.rules.reader import Reader, Reading
from twisted_lb.rules.scope import Scope
from twisted_lb.rules.text import Mistake, Text, complaint, mistake_at
from twisted_lb.rules.values import FactUse
from twisted_lb.wire.http1_path import path_readings

T = TypeVar("T")

REMEMBERED_BYTES = 128
"""The readings of the last paths are remembered, but not of long ones: what clients send must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition. ``condition``: whether it holds; raises WireError for a path that could be read both ways.

    ``stage``: the first that knows all its facts. ``facts``: those that it uses, each once, in their order.
    ``readable``: it asks about no path, and so always has an answer.
    """

    text: str
    condition: Condition
    stage: Stage
    facts: Sequence[FactUse]
    readable: bool = True


def compile_expression(text: str, scope: Scope) -> Compiled:
    """Compile a condition. Raises ConfigError with every mistake in it, each with the place marked in the text."""
    return _read(text, scope, _compiled)


def parse_fact(text: str, scope: Scope) -> FactUse:
    """Find the fact that a text names, such as ``tls.sni`` or ``http.headers['x-user'].lower()``.

    Raises: ConfigError, with the place marked in the text.
    """
    return _read(text, scope, _fact, as_sent=True)


def _read(text: str, scope: Scope, read: Callable[[Reader, ast.expr], T], as_sent: bool = False) -> T:
    try:
        reader = Reader(Text(text), scope, as_sent)
        result = read(reader, reader.text.tree)
        mistakes = reader.mistakes
        if not mistakes:
            return result
    except Mistake as mistake:
        mistakes = [mistake]
    except RecursionError:
        mistakes = [Mistake("is nested too deeply", 0, 0)]
    raise complaint(text, mistakes)


def _compiled(reader: Reader, tree: ast.expr) -> Compiled:
    condition = reader.condition(tree)
    if reader.reading is not None:
        condition = _in_all_readings(condition, reader.reading)
    used = tuple(reader.used.values())
    stage = max((one.fact.stage for one in used), default=Stage.ADMISSION)
    return Compiled(reader.text.text, condition, max(stage, Stage.ADMISSION), used, reader.reading is None)


def _fact(reader: Reader, tree: ast.expr) -> FactUse:
    side = reader.side(tree)
    if not isinstance(side, FactUse):
        raise mistake_at("here stands a fact, such as source or tls.sni", tree)
    return side


def _in_all_readings(condition: Condition, reading: Reading) -> Condition:
    def holds(facts: Facts) -> bool:
        path = b"" if facts.http is None else facts.http.path
        if not path:
            reading.path = None
            return condition(facts)
        readings = _remembered_readings(path) if len(path) <= REMEMBERED_BYTES else _readings(path)
        if not readings:
            raise WireError("path-senseless")
        reading.path = readings[0]
        answer = condition(facts)
        for reading.path in readings[1:]:
            if condition(facts) is not answer:
                raise WireError("path-ambiguous")
        return answer

    return holds


def _readings(path: bytes) -> tuple[str, ...]:
    return tuple([text_of(one) for one in path_readings(path) or ()])


_remembered_readings = lru_cache(1024)(_readings)
