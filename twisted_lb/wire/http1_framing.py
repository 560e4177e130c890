"""How the end of a body is found, from the fields that say so; every way to say it twice or unclearly is refused.

Source: RFC 9112, sections 6.1 to 6.3; RFC 9110, section 8.6.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from twisted_lb.wire.http1_grammar import IS_TOKEN


class Framing(IntEnum):
    """How the end of a body is found."""

    NONE = 0
    """There is no body."""
    LENGTH = 1
    """After ``content_length`` bytes; these may be 0."""
    CHUNKED = 2
    UNTIL_CLOSE = 3
    """At the end of the connection; only a response's."""


class FieldLine(NamedTuple):
    """One field of a head. ``name``: as it was spelt. ``offset``: of its line."""

    name: bytes
    value: bytes
    offset: int


REGISTERED = frozenset((b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"))
"""Transfer codings beside chunked. Source: RFC 9112, section 12.3."""
MAX_LENGTH_DIGITS = 18
"""Below 2^63, in which many servers count. HAProxy takes 2^64 - 1."""


def length_rule(lines: Sequence[FieldLine]) -> tuple[str, int]:
    """Return the rule that Content-Length breaks, and where; empty if none.

    RFC 9112, section 6.3, lets a recipient take equal values for one. Nobody sends them but by mistake or to smuggle.
    """
    for line in lines:
        if len(lines) > 1 or b"," in line.value:
            return "http1-length-twice", lines[-1].offset
        if not line.value.isdigit() or len(line.value.lstrip(b"0")) > MAX_LENGTH_DIGITS:
            return "http1-length", line.offset
    return "", 0


def coding_rule(lines: Sequence[FieldLine], version: bytes) -> tuple[str, int]:
    """Return the rule that Transfer-Encoding breaks, and where; empty if none."""
    for line in lines:
        if len(lines) > 1:
            return "http1-coding-twice", lines[-1].offset
        if version == b"1.0":  # section 6.1: its framing is faulty
            return "http1-coding-version", line.offset
        if rule := _codings_rule(line.value):
            return rule, line.offset
    return "", 0


def _codings_rule(value: bytes) -> str:
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if not all(IS_TOKEN.fullmatch(coding) for coding in codings):
        return "http1-coding"
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        return "http1-coding"
    if len(codings) == 1:
        return ""
    return "http1-coding-known" if REGISTERED.issuperset(codings[:-1]) else "http1-coding-unknown"
