"""The regular expressions of HTTP/1, all linear: possessive, so nothing that matched is ever tried another way.

Source: RFC 9110, section 5.6; RFC 9112, sections 2 to 5.
"""

import re
from collections.abc import Iterable
from functools import cache

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
TARGET = rb"[\x21\x22\x24-\x7e]++"
"""A target's bytes; no ``#``, for a fragment is never sent. RFC 3986 forbids more, but browsers send it."""
LENIENT_TARGET = rb"[\x21-\x7e\x80-\xff]++"

IS_TOKEN = re.compile(TOKEN)
IS_VALUE = re.compile(VALUE)
ODD_NAME = re.compile(rb"[^0-9A-Za-z\-]")


@cache
def request_pattern(max_empty_lines: int, target: bytes = TARGET) -> re.Pattern[bytes]:
    """A whole head. Groups: method, target, version, fields; to count these here would cost a quarter more."""
    return re.compile(
        rb"(?:\r\n){0,%d}+(?!PRI )(%b) (%b) HTTP/(1\.[01])\r\n((?:%b:%b\r\n)*+)\r\n"
        % (max_empty_lines, TOKEN, target, TOKEN, VALUE)
    )


@cache
def response_pattern(first_digit: bytes = b"[1-5]") -> re.Pattern[bytes]:
    """A whole head. Groups: version, status, reason phrase, fields. The space before no reason phrase may lack."""
    return re.compile(
        rb"HTTP/(1\.[01]) (%b[0-9][0-9])(?: (%b))?+\r\n((?:%b:%b\r\n)*+)\r\n" % (first_digit, VALUE, TOKEN, VALUE)
    )


@cache
def partial_request_pattern(max_fields: int, max_empty_lines: int) -> re.Pattern[bytes]:
    """What may become a whole head, if more comes; only says that there is no need to look closely yet."""
    line_end = rb"\r(?:\Z|\n%b)"
    rest = _partial_fields(max_fields)
    for byte in reversed((b"H", b"T", b"T", b"P", b"/", b"1", rb"\.", b"[01]")):
        rest = rb"%b(?:\Z|%b)" % (byte, rest if byte != b"[01]" else line_end % rest)
    return re.compile(
        rb"(?:\r\n){0,%d}+(?:\r?+\Z|(?!PRI(?: |\Z))%b(?:\Z| (?:\Z|%b(?:\Z| (?:\Z|%b)))))"
        % (max_empty_lines, TOKEN, TARGET, rest)
    )


@cache
def partial_response_pattern(max_fields: int) -> re.Pattern[bytes]:
    """What may become a whole head, if more comes; a status line in pieces is left to the careful reading."""
    return re.compile(
        rb"HTTP/1\.[01] [1-5][0-9][0-9](?: %b)?+\r\n%b" % (VALUE, _partial_fields(max_fields)),
    )


def _partial_fields(max_fields: int) -> bytes:
    return rb"(?:%b:%b\r\n){0,%d}+(?:\r|%b(?::%b\r?+)?+)?+\Z" % (TOKEN, VALUE, max_fields, TOKEN, VALUE)


def fields_pattern(names: Iterable[bytes]) -> re.Pattern[bytes]:
    r"""Compile a search for the lines of some fields in a head *in small letters*: that is twice as fast.

    It matches from the LF before a line to the CR after it. A ``-`` also matches ``_``: many servers cannot tell the
    two apart. A tree of letters, for most lines are given up at their first byte.
    """
    return re.compile(rb"\n%b:[^\r\n]*+" % _branch(sorted(set(names)), 0))


def _branch(names: list[bytes], depth: int) -> bytes:
    branches: list[bytes] = []
    if len(names[0]) == depth:
        branches.append(b"(?=:)")
        names = names[1:]
    while names:
        byte = names[0][depth : depth + 1]
        same = [name for name in names if name[depth : depth + 1] == byte]
        names = names[len(same) :]
        branches.append((b"[-_]" if byte == b"-" else re.escape(byte)) + _branch(same, depth + 1))
    return branches[0] if len(branches) == 1 else b"(?:%b)" % b"|".join(branches)
