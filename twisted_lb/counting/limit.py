"""The text of a ``limit`` rule: ``MEASURE per KEY > NUMBER in WINDOW``, such as ``connections per source > 20 in 10s``.

Without ``in`` it is about connections at the same time.
"""

import re
from dataclasses import dataclass
from typing import Literal

from twisted_lb.config.units import parse_duration, parse_size
from twisted_lb.errors import ConfigError
from twisted_lb.tables.counters import COUNTERS, Counter

Measure = Literal["connections", "requests", "errors", "bytes_in", "bytes_out"]
_RATES: dict[str, str] = {
    "connections": "connection_rate",
    "requests": "request_rate",
    "errors": "error_rate",
    "bytes_in": "bytes_in_rate",
    "bytes_out": "bytes_out_rate",
}
_SHAPE = re.compile(r"(\w+) +per +(\S(?:.*\S)?) *(>=?) *(\w+)(?: +in +(\S+))?", re.ASCII)
_EXPECTED = 'expected MEASURE per KEY > NUMBER in TIME, such as "connections per source > 20 in 10s"'


@dataclass(frozen=True, slots=True)
class LimitText:
    """A limit. ``most``: the highest value of ``counter`` that is still let on.

    ``window_s``: ``None`` for how many there are at the same time.
    """

    measure: str
    key: str
    most: int
    window_s: float | None
    counter: Counter


def parse_limit(text: str) -> LimitText:
    """Understand the text of a limit. Raises: ConfigError."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f'"{text}": {_EXPECTED}')
    measure, key, compared, number, window = match.groups()
    if measure not in _RATES:
        raise ConfigError(f'"{text}": "{measure}" cannot be limited; possible: {", ".join(_RATES)}')
    most = _number(measure, number) - (compared == ">=")
    if most < 0:
        raise ConfigError(f'"{text}": that lets nobody on')
    if window is None:
        if measure != "connections":
            raise ConfigError(f'"{text}": {measure} are limited within a time: write "in 10s" behind it')
        return LimitText(measure, key, most, None, COUNTERS["connections"])
    try:
        window_s = parse_duration(window)
    except ConfigError as error:
        raise ConfigError(f'"{text}": {error}') from None
    if window_s < LEAST_WINDOW_S:
        raise ConfigError(f'"{text}": the time is {LEAST_WINDOW_S * 1000:.0f}ms at least')
    return LimitText(measure, key, most, window_s, COUNTERS[_RATES[measure]])


LEAST_WINDOW_S = 0.1
"""Shorter, and the window is hardly longer than a batch of events."""


def _number(measure: str, text: str) -> int:
    if text.isdigit():
        return int(text) if len(text) <= 18 else 10**18
    if measure.startswith("bytes"):
        return int(parse_size(text))
    raise ConfigError(f'"{text}" is no whole number')
