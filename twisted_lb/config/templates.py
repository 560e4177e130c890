"""Texts with fields in them, such as ``"{source} by {learnt.tls.sni}"``; nothing in them is ever evaluated.

A field is one of ``FIELDS``, or ``learnt.`` and the dotted name of what a validator learns. ``{{`` and ``}}`` stand for
the braces themselves.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from twisted_lb.config.hints import unknown_name
from twisted_lb.errors import ConfigError

FIELDS = (
    "source",
    "source_port",
    "destination",
    "destination_port",
    "peer",
    "peer_port",
    "frontend",
    "bind",
)
"""The fields that every connection has."""

LEARNT = "learnt."
"""What the name of any other field begins with; the rest is a key of ``Facts.learnt``."""

_PIECE = re.compile(r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}")
_LEARNT_FIELD = re.compile(r"learnt\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Field:
    """A place for a value. ``name``: one of ``FIELDS``, or ``learnt.NAME``."""

    name: str


Template: TypeAlias = Sequence[str | Field]
"""What a text consists of, in order; never two strings in a row."""


def parse_template(text: str) -> Template:
    """Take a text apart.

    Raises: ConfigError with one problem for each unknown field, or for the first brace that has no partner.
    """
    parts: list[str | Field] = []
    problems: list[str] = []
    place = 0
    while place < len(text):
        piece = _PIECE.match(text, place)
        if piece is None:
            raise ConfigError(f'"{text}": the "{text[place]}" has no partner; for the brace itself write it twice')
        place = piece.end()
        name = piece["field"]
        if name is not None:
            problems += _problems(name, text)
            parts.append(Field(name))
            continue
        literal = piece["text"] or piece["brace"][0]
        if parts and isinstance(last := parts[-1], str):
            parts[-1] = last + literal
        else:
            parts.append(literal)
    if problems:
        raise ConfigError(*problems)
    return tuple(parts)


def render(template: Template, value_of: Callable[[str], object]) -> str:
    """Fill a template in; ``value_of`` is called with the name of each field, and decides what a missing one gives."""
    return "".join([part if isinstance(part, str) else str(value_of(part.name)) for part in template])


def _problems(name: str, text: str) -> Sequence[str]:
    if name in FIELDS or _LEARNT_FIELD.fullmatch(name):
        return ()
    if name.startswith(LEARNT):
        return (f'"{text}": "{name}" is no field: behind "learnt." comes a dotted name, such as "learnt.tls.sni"',)
    return (f'"{text}": there is no field "{name}"{unknown_name(name, (*FIELDS, "learnt.NAME"))}',)
