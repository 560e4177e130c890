"""The careful reading of a request's head: why it is refused, or what of it is let through.

Rules are asked in one order, whatever the cuts: byte by byte as they come, then those that need the whole head.

Source: RFC 9112, sections 2, 3, 5 and 6; RFC 9110, sections 7.2, 7.6.1, 7.8 and 10.1.1.
"""

import re
from typing import NamedTuple

from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_framing import FieldLine, coding_rule, length_rule
from twisted_lb.wire.http1_grammar import ODD_NAME, TARGET
from twisted_lb.wire.http1_lines import CR, LF, SP, LineReader, OutOfBytesError, Relaxed
from twisted_lb.wire.http1_settings import Http1Settings
from twisted_lb.wire.http1_target import (
    IS_WEBSOCKET_KEY,
    agree,
    offers_websocket,
    read_authority,
    read_options,
    read_protocols,
    read_target,
)

_TARGET = re.compile(TARGET)


class RequestLine(NamedTuple):
    """The first line of a request, and where the next one begins."""

    method: bytes
    target: bytes
    version: bytes
    end: int


class Explained(NamedTuple):
    """A head that may pass. ``raw``: it, without what is not let through. ``length``: what it took in what came."""

    raw: bytes
    length: int
    violations: tuple[Relaxed, ...]


def explain_request(data: bytes, start: int, settings: Http1Settings) -> Explained | None:
    """Read a head slowly; ``None`` while it is not whole and nothing in it is wrong yet.

    Raises: Http1Error, its offset counts from ``start``.
    """
    empty = _empty_lines(data, start, settings.max_empty_lines)
    limit = empty + settings.max_head_bytes
    relaxed: list[Relaxed] | None = [] if settings.accept_invalid else None
    reader = LineReader(data[start : start + limit], relaxed)
    line: RequestLine | None = None
    try:
        line = _request_line(reader, empty)
        fields, end = reader.fields(line.end, settings.max_fields)
    except OutOfBytesError:
        if len(data) - start < limit:
            return None
        raise Http1Error("http1-target-long" if line is None else "http1-head-long", limit) from None
    fields = _odd_names(reader, fields, settings)
    _judge(reader, line, fields, settings)
    head = b"%b %b HTTP/%b\r\n" % line[:3]
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value, _ in fields)
    return Explained(b"%b%b\r\n" % (head, lines), end, tuple(relaxed or ()))


def _empty_lines(data: bytes, start: int, most: int) -> int:
    """Count the bytes of the empty lines before a head."""
    end = start
    while data.startswith(b"\r\n", end):
        if end - start == 2 * most:
            raise Http1Error("http1-empty-lines", end - start)
        end += 2
    return end - start


def _request_line(reader: LineReader, start: int) -> RequestLine:
    reader.line_end(start)  # neither CR nor LF may come alone; whole empty lines are behind us
    space = reader.token_end(start)
    method = reader.text[start:space]
    if reader.at(space) != SP or not method:
        raise reader.refuse("http1-method", space)
    if method == b"PRI":
        raise reader.refuse("http1-method-reserved", start)
    end = _target_end(reader, space + 1)
    version, following = _version(reader, end + 1)
    return RequestLine(method, reader.text[space + 1 : end], version, following)


def _target_end(reader: LineReader, start: int) -> int:
    offset = start
    while True:
        match = _TARGET.match(reader.text, offset)
        offset = offset if match is None else match.end()
        byte = reader.at(offset)
        if byte != 0x23 and byte < 0x80:
            break
        reader.violate("http1-target-bytes", offset)
        offset += 1
    if byte in (CR, LF) and reader.line_end(offset) is not None and offset > start:
        raise reader.refuse("http1-version-missing", offset)
    if byte != SP or offset == start:
        raise reader.refuse("http1-target", offset)
    return offset


def _version(reader: LineReader, start: int) -> tuple[bytes, int]:
    for offset, wanted in enumerate(b"HTTP/0.0", start):
        byte = reader.at(offset)
        if byte != wanted and not (wanted == 0x30 and 0x30 <= byte <= 0x39):
            raise reader.refuse("http1-version-malformed", offset)
    end = reader.line_end(start + 8)
    if end is None:
        raise reader.refuse("http1-version-malformed", start + 8)
    version = reader.text[start + 5 : start + 8]
    if version in (b"1.0", b"1.1"):
        return version, end
    if not version.startswith(b"1."):
        raise reader.refuse("http1-version", start + 5)
    reader.violate("http1-version", start + 5)
    return b"1.1", end


def _odd_names(reader: LineReader, fields: list[FieldLine], settings: Http1Settings) -> list[FieldLine]:
    if settings.odd_names == "preserve":
        return fields
    kept = []
    for field in fields:
        if not ODD_NAME.search(field.name):
            kept.append(field)
        elif settings.odd_names == "reject":
            raise reader.refuse("http1-field-name-odd", field.offset)
    return kept


def _judge(reader: LineReader, line: RequestLine, fields: list[FieldLine], settings: Http1Settings) -> None:
    """Ask the rules that need the whole head."""
    named: dict[bytes, list[FieldLine]] = {}
    for field in fields:
        named.setdefault(field.name.lower(), []).append(field)
    _judge_target(reader, line, named.get(b"host", []))
    _judge_framing(reader, line, named, settings)
    options: set[bytes] = set()
    for field in named.get(b"connection", []):
        options |= read_options(field.value)
        if not options.isdisjoint(FRAMING_NAMES):
            raise reader.refuse("http1-connection-names", field.offset)
    if line.version == b"1.1":
        _judge_expect(reader, named.get(b"expect", []))
        _judge_websocket(reader, named, options)


FRAMING_NAMES = frozenset((b"host", b"content-length", b"transfer-encoding"))
"""What Connection must not name: whoever follows it would see another message."""


def _judge_target(reader: LineReader, line: RequestLine, hosts: list[FieldLine]) -> None:
    target = read_target(line.method, line.target)
    at = line.end - 11 - len(line.target)
    if target.rule:
        raise reader.refuse(target.rule, at)
    if target.userinfo:
        reader.violate("http1-target-userinfo", at)
    if len(hosts) > 1:
        raise reader.refuse("http1-host-twice", hosts[1].offset)
    for field in hosts:
        host = read_authority(field.value)
        if host is None:
            raise reader.refuse("http1-host", field.offset)
        if not agree(target, host):
            reader.violate("http1-host-mismatch", field.offset)
    if not hosts and line.version == b"1.1":
        raise reader.refuse("http1-host-missing", line.end)


def _judge_framing(
    reader: LineReader, line: RequestLine, named: dict[bytes, list[FieldLine]], settings: Http1Settings
) -> None:
    lengths, codings = named.get(b"content-length", []), named.get(b"transfer-encoding", [])
    for rule, offset in (length_rule(lengths), coding_rule(codings, line.version)):
        if rule:
            raise reader.refuse(rule, offset)
    if codings and lengths:
        raise reader.refuse("http1-coding-and-length", max(codings[0].offset, lengths[0].offset))
    if not codings and not (lengths and lengths[0].value.strip(b"0")):
        return
    at = (codings or lengths)[0].offset
    if line.method in (b"CONNECT", b"TRACE"):
        raise reader.refuse("http1-body-not-allowed", at)
    if line.version == b"1.0" and line.method in WITHOUT_BODY_IN_HTTP10 and not settings.body_with_any_method:
        raise reader.refuse("http1-body-in-http10", at)


WITHOUT_BODY_IN_HTTP10 = frozenset((b"GET", b"HEAD", b"DELETE"))
"""Many HTTP/1.0 servers ignore a body here and take it for the next request; HAProxy refuses it too."""


def _judge_expect(reader: LineReader, fields: list[FieldLine]) -> None:
    for field in fields:
        if len(fields) > 1 or field.value.lower() != b"100-continue":
            raise reader.refuse("http1-expect", fields[-1].offset)


def _judge_websocket(reader: LineReader, named: dict[bytes, list[FieldLine]], options: set[bytes]) -> None:
    upgrades = named.get(b"upgrade", [])
    protocols = read_protocols(b", ".join(field.value for field in upgrades))
    if b"upgrade" not in options or not offers_websocket(protocols):
        return
    keys = named.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not IS_WEBSOCKET_KEY.fullmatch(keys[0].value):
        reader.violate("http1-websocket-key", (keys or upgrades)[-1].offset)
