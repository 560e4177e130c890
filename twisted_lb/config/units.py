"""The small grammars of durations and sizes: a number with a unit, as in ``"250ms"``, ``"1m"`` or ``"4KiB"``."""

import re
from decimal import Decimal

from twisted_lb.errors import ConfigError

UNITS = {
    "us": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
"""Seconds in each unit; the letters are HAProxy's."""

OFF = "off"
"""How the file spells "for ever", where that is allowed."""

DURATION_PATTERN = r"^([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)$"

# HAProxy's own limit, about 24.8 days: it keeps times as signed 32-bit milliseconds. Longer is a slip or means "off".
_LONGEST = Decimal(2147483647) / 1000

SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
"""Bytes in each unit."""

SIZE_PATTERN = r"^([0-9]+)(B|KiB|MiB)$"

_EXPECTED = 'expected a number and a unit (us, ms, s, m, h or d), such as "250ms" or "5s"'
_EXPECTED_SIZE = 'expected a whole number and a unit (B, KiB or MiB), such as "512B" or "4KiB"'


class Duration(float):
    """A span of time in seconds; in the file a string with a unit."""

    __slots__ = ()


class Size(int):
    """A number of bytes; in the file a string with a unit."""

    __slots__ = ()


def parse_duration(value: object) -> Duration:
    """Parse what the file holds for a duration; ``"off"`` is the caller's business.

    Raises: ConfigError with one problem, whatever the value is.
    Source: HAProxy configuration.txt, section 2.5 "Time format"; decimals are our addition, bare numbers our refusal.
    """
    if isinstance(value, Duration):
        return value
    text = _text_of(value, (int, float, str), _EXPECTED)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ConfigError(f'{text} has no unit: write "{text}s"')
    match = re.fullmatch(DURATION_PATTERN, text)
    if match is None:
        raise ConfigError(f'"{text}" is not a duration: {_EXPECTED}')
    seconds = Decimal(match[1]) * UNITS[match[2]]
    if seconds > _LONGEST:
        raise ConfigError(f'"{text}" is too long: a duration is at most 2147483647ms, about 24 days')
    return Duration(seconds)


def _text_of(value: object, types: tuple[type, ...], expected: str) -> str:
    """Spell a value of one of these types. Raises: ConfigError that says what is expected."""
    if isinstance(value, bool) or not isinstance(value, types):
        raise ConfigError(expected)
    if isinstance(value, int) and value.bit_length() > 64:  # str() refuses integers of thousands of digits
        raise ConfigError(expected)
    return str(value)


def spell_duration(duration: Duration) -> str:
    """Write a duration as the file would, in seconds."""
    return f"{duration:f}".rstrip("0").rstrip(".") + "s"


def parse_size(value: object) -> Size:
    """Parse what the file holds for a size.

    Raises: ConfigError with one problem, whatever the value is.
    """
    if isinstance(value, Size):
        return value
    text = _text_of(value, (int, str), _EXPECTED_SIZE)
    if re.fullmatch(r"[0-9]+", text):
        raise ConfigError(f'{text} has no unit: write "{text}B"')
    match = re.fullmatch(SIZE_PATTERN, text)
    if match is None:
        raise ConfigError(f'"{text}" is not a size: {_EXPECTED_SIZE}')
    if len(match[1]) > 12:
        raise ConfigError(f'"{text}" is too much: a size has at most 12 digits')
    return Size(int(match[1]) * SIZE_UNITS[match[2]])


def spell_size(size: int) -> str:
    """Write a size as the file would, in the largest unit that divides it."""
    unit = max((unit for unit, bytes_ in SIZE_UNITS.items() if size % bytes_ == 0), key=SIZE_UNITS.__getitem__)
    return f"{size // SIZE_UNITS[unit]}{unit if size else 'B'}"
