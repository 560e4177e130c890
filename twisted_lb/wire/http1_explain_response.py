"""The careful reading of a response's head: why it is refused, or what of it is let through.

Source: RFC 9112, sections 4, 5 and 6.3; RFC 9110, section 15.
"""

import hashlib
from base64 import b64encode

from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_explain import Explained
from twisted_lb.wire.http1_framing import FieldLine, coding_rule, length_rule
from twisted_lb.wire.http1_grammar import IS_VALUE
from twisted_lb.wire.http1_lines import SP, LineReader, OutOfBytesError, Relaxed
from twisted_lb.wire.http1_request import RequestHead
from twisted_lb.wire.http1_settings import Http1Settings
from twisted_lb.wire.http1_target import offers_websocket, read_options, read_protocols


def explain_response(data: bytes, start: int, request: RequestHead, settings: Http1Settings) -> Explained | None:
    """Read a head slowly; ``None`` while it is not whole and nothing in it is wrong yet.

    Raises: Http1Error, its offset counts from ``start``.
    """
    limit = settings.max_head_bytes
    relaxed: list[Relaxed] | None = [] if settings.accept_invalid else None
    reader = LineReader(data[start : start + limit], relaxed, response=True)
    try:
        line, following = _status_line(reader)
        fields, end = reader.fields(following, settings.max_fields)
    except OutOfBytesError:
        if len(data) - start < limit:
            return None
        raise Http1Error("http1-head-long", limit, response=True) from None
    version, status = line[5:8], int(line[9:12])
    _judge(reader, version, status, fields, request)
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value, _ in fields)
    return Explained(b"%b\r\n%b\r\n" % (line, lines), end, tuple(relaxed or ()))


def _status_line(reader: LineReader) -> tuple[bytes, int]:
    """Return the line without its end, and where the next one begins."""
    for offset, wanted in enumerate(b"HTTP/0.0 000"):
        byte = reader.at(offset)
        if byte != wanted and not (wanted == 0x30 and 0x30 <= byte <= 0x39):
            raise reader.refuse("http1-status-line", offset)
    version = reader.text[5:8]
    if version not in (b"1.0", b"1.1"):
        if not version.startswith(b"1."):
            raise reader.refuse("http1-version", 5)
        reader.violate("http1-version", 5)
        version = b"1.1"
    status = reader.text[9:12]
    if status[:1] == b"0":
        raise reader.refuse("http1-status", 9)
    end = 12
    if reader.at(12) == SP:
        match = IS_VALUE.match(reader.text, 13)
        end = 13 if match is None else match.end()
    following = reader.line_end(end)
    if following is None:
        raise reader.refuse("http1-status-line" if end == 12 else "http1-reason-phrase", end)
    if status >= b"600":
        reader.violate("http1-status", 9)
    return b"HTTP/%b %b%b" % (version, status, reader.text[12:end]), following


def _judge(reader: LineReader, version: bytes, status: int, fields: list[FieldLine], request: RequestHead) -> None:
    """Ask the rules that need the whole head."""
    named: dict[bytes, list[FieldLine]] = {}
    for field in fields:
        named.setdefault(field.name.lower(), []).append(field)
    for rule, offset in (
        length_rule(named.get(b"content-length", [])),
        coding_rule(named.get(b"transfer-encoding", []), version),
    ):
        if rule:
            raise reader.refuse(rule, offset)
    options: set[bytes] = set()
    for field in named.get(b"connection", []):
        options |= read_options(field.value)
        if not options.isdisjoint((b"content-length", b"transfer-encoding")):
            raise reader.refuse("http1-connection-names", field.offset)
    if status == 101:
        _judge_upgrade(reader, named, options, request)


def _judge_upgrade(
    reader: LineReader, named: dict[bytes, list[FieldLine]], options: set[bytes], request: RequestHead
) -> None:
    upgrades = named.get(b"upgrade", [])
    chosen = read_protocols(b", ".join(field.value for field in upgrades)).lower()
    if not chosen or b"upgrade" not in options or chosen not in request.upgrade.lower().split(b", "):
        raise reader.refuse("http1-upgrade", upgrades[0].offset if upgrades else 9)
    accepts = named.get(b"sec-websocket-accept", [])
    if offers_websocket(chosen) and (len(accepts) != 1 or accepts[0].value != websocket_accept(request.websocket_key)):
        reader.violate("http1-websocket-accept", (accepts or upgrades)[-1].offset)


_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_accept(key: bytes) -> bytes:
    """Return the answer to a Sec-WebSocket-Key. Source: RFC 6455, section 4.2.2."""
    return b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
