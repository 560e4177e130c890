"""The few lines of a head that decide something, found by one regular expression and read in one pass.

Source: RFC 9112, sections 3.2 and 6; RFC 9110, sections 7.6.1, 7.8 and 10.1.1; RFC 6455, section 4.
"""

import re

import msgspec

from twisted_lb.wire.http1_framing import MAX_LENGTH_DIGITS
from twisted_lb.wire.http1_target import Authority, read_authority, read_options

_NO_OPTIONS: frozenset[bytes] = frozenset()


class Mark(msgspec.Struct, gc=False):
    """A line of a head that is not simply passed on, and from where to where it goes in ``raw``.

    ``name``: in small letters. ``alias``: it was spelt with a ``_`` for a ``-``.
    """

    name: bytes
    start: int
    end: int
    alias: bool = False


class Sifted(msgspec.Struct, gc=False):
    """What those lines say. What they mean for the message, its head knows."""

    host: Authority | None
    content_length: int
    """-1 without Content-Length."""
    chunked: bool
    options: frozenset[bytes]
    """What Connection names, in small letters."""
    upgrade: bytes
    """What Upgrade names, as it was sent; several of them are one list."""
    expect: bool
    key: bytes
    """The value of Sec-WebSocket-Key or Sec-WebSocket-Accept; empty if there is none, or not one alone."""
    marks: list[Mark]
    """The lines that do not simply pass. Host and a plain framing field do."""


def sift(raw: bytes, folded: bytes, at: int, fields: re.Pattern[bytes], modern: bool) -> Sifted | None:
    """Read the lines that ``fields`` finds from ``at`` on; ``None`` where one is unusual.

    ``folded``: ``raw`` in small letters. ``at``: of the LF before the first field. ``modern``: HTTP/1.1. Long, for each
    call in its loop would be felt.
    """
    host: Authority | None = None
    content_length, chunked, expect, upgrade, options = -1, False, False, b"", _NO_OPTIONS
    key: bytes | None = None
    marks: list[Mark] = []
    for line in fields.findall(folded, at):
        name, _, spelt = line.partition(b":")
        value = spelt.strip(b" \t")
        if name == b"\nhost":
            if host is not None or (host := read_authority(value)) is None:
                return None
            if spelt == value or spelt == b" " + value:
                continue  # else it is written anew, as framing is: not all servers take a tab for a blank
        elif name == b"\ncontent-length":
            digits = value.lstrip(b"0") or b"0"  # some servers take leading zeros for octal
            if content_length >= 0 or not value.isdigit() or len(digits) > MAX_LENGTH_DIGITS:
                return None
            content_length = int(digits)
            if spelt == digits or spelt == b" " + digits:
                continue
        elif name == b"\ntransfer-encoding":
            if chunked or not modern or value != b"chunked":
                return None
            chunked = True
            if spelt == value or spelt == b" chunked":
                continue
        start = folded.index(line, at)
        at = start + len(line)
        if name == b"\nconnection":
            named = read_options(value)
            options = options | named if options else named
        elif name == b"\nupgrade":
            offered = raw[start + 9 : at].strip(b" \t")
            upgrade = upgrade + b", " + offered if upgrade else offered
        elif name == b"\nexpect":
            if modern and (expect or value != b"100-continue"):
                return None
            expect = True
        elif name in (b"\nsec-websocket-key", b"\nsec-websocket-accept"):
            key = raw[start + len(name) + 1 : at].strip(b" \t") if key is None else b""
            continue
        alias = b"_" in name
        marks.append(Mark(name[1:].replace(b"_", b"-") if alias else name[1:], start + 1, at + 2, alias))
    return Sifted(host, content_length, chunked, options, upgrade, expect, key or b"", marks)
