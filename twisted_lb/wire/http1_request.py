"""A request's head: bytes in; a ``RequestHead``, ``NeedMore`` or an ``Http1Error`` out.

The usual head is read by two regular expressions: one validates it whole, one finds the few fields that matter. All
others stay the slice of bytes that they are. Where anything is unusual, ``http1_explain`` reads again, carefully; the
two must come to one result, and a head that only one of them accepts is refused.

Source: RFC 9112, sections 2, 3, 5 and 6; RFC 9110, sections 7.2, 8.6 and 10.1.1.
"""

import re

import msgspec

from twisted_lb.verdicts import NEED_MORE, NeedMore
from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_explain import FRAMING_NAMES, WITHOUT_BODY_IN_HTTP10, explain_request
from twisted_lb.wire.http1_framing import Framing
from twisted_lb.wire.http1_grammar import LENIENT_TARGET, fields_pattern, partial_request_pattern, request_pattern
from twisted_lb.wire.http1_headers import HasHeaders, Headers
from twisted_lb.wire.http1_plain import PLAIN_REQUEST
from twisted_lb.wire.http1_settings import STRICT, Http1Settings
from twisted_lb.wire.http1_sifted import Mark, Sifted, sift
from twisted_lb.wire.http1_target import (
    IS_WEBSOCKET_KEY,
    Authority,
    Form,
    agree,
    offers_websocket,
    read_authority,
    read_protocols,
    read_target,
)

REQUEST_FIELDS = fields_pattern(
    (
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"),
        *(b"upgrade", b"http2-settings", b"te", b"expect", b"sec-websocket-key", b"forwarded", b"via"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"),
    )
)
"""What decides on framing and routing, belongs to one connection only, or speaks for the client."""
BLANK = (b"", b"\r", b"\r\n")
"""What may come before a request line without being the beginning of a request. Source: RFC 9112, section 2.2."""
_ODD_NAME = re.compile(rb"\n[0-9A-Za-z\-]*+[^0-9A-Za-z\-:\r]")
_NO_OPTIONS: frozenset[bytes] = frozenset()
_KEEP_ALIVE = frozenset((b"keep-alive",))
_NO_HOST = Authority(b"", 0, b"")
# Looking a member up on its Enum is a call of a Python function on 3.11.
_ORIGIN, _AUTHORITY = Form.ORIGIN, Form.AUTHORITY
_NO_BODY, _LENGTH, _CHUNKED = Framing.NONE, Framing.LENGTH, Framing.CHUNKED


class RequestHead(HasHeaders, msgspec.Struct, gc=False):
    """A request's head that broke no rule."""

    raw: bytes
    """The head from its first line to its empty line, both included; with ``accept_invalid`` what was let through."""
    method: bytes
    target: bytes
    """As it was sent."""
    version: bytes
    """``b"1.0"`` or ``b"1.1"``."""
    form: Form
    origin: bytes
    """The target without scheme and host, as a server is to see it; that of CONNECT as it was sent."""
    authority: bytes
    """Host in small letters, or what an absolute target or CONNECT names instead; empty if HTTP/1.0 named none."""
    host: bytes
    """That in small letters, without port and final dot, IPv6 in brackets; empty if there is none."""
    port: int
    """The one that Host or the target names; 0 if they name none."""
    framing: Framing
    content_length: int
    """-1 without Content-Length."""
    keep_alive: bool
    """The client wants to send another request on this connection."""
    options: frozenset[bytes]
    """What Connection names, in small letters."""
    upgrade: bytes
    """The protocols that the client offers to change to, as a list; empty if none that may be passed on."""
    websocket_key: bytes
    expect_continue: bool
    """The client waits for a 100 before it sends the body."""
    length: int
    """How many bytes of what was given this head took, empty lines before it included."""
    marks: list[Mark]
    """For forwarding: the lines that do not simply pass. Host and a plain framing field do."""
    fields_at: int
    """For forwarding: where the fields begin in ``raw``."""
    _folded: bytes = b""
    violations: tuple[tuple[str, int], ...] = ()
    """Rule and offset of what ``accept_invalid`` let through."""
    plain: bool = False
    """For forwarding: nothing in it needs to be changed, but for ``marks``; see ``http1_plain``."""
    _headers: Headers | None = None

    @property
    def path(self) -> bytes:
        """The target's path as it was sent, without query; ``*`` for that target, empty for CONNECT."""
        return b"" if self.form is _AUTHORITY else self.origin.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first ``?`` of the target; empty if nothing does."""
        return self.origin.partition(b"?")[2]


def parse_request(data: bytes, start: int = 0, settings: Http1Settings = STRICT) -> RequestHead | NeedMore:
    """Read the head of the request that begins at ``start``.

    Returns: ``NeedMore`` while the head is not whole and nothing in it is wrong yet. What follows the head is the
        caller's.
    Raises: Http1Error, and nothing else, whatever the bytes; its offset counts from ``start``.
    Cost: linear in the head's length. Keeps no state, so cuts cannot matter.
    """
    match = PLAIN_REQUEST.match(data, start)
    if match is not None and settings.odd_names == "preserve":
        plain = _read_plain(data, match, start, settings)
        if plain is not None:
            return plain
    match = request_pattern(settings.max_empty_lines).match(data, start)
    if match is not None:
        first, end = match.start(1), match.end()
        if settings.allows(data, first, end):
            raw = data if end - first == len(data) else data[first:end]
            head = _read(raw, match, first, end - start, settings)
            if head is not None:
                return head
    elif len(data) - start < settings.max_head_bytes:
        partial = partial_request_pattern(settings.max_fields, settings.max_empty_lines)
        if partial.match(data, start) is not None:
            return NEED_MORE
    return _read_carefully(data, start, settings)


def _read_plain(data: bytes, match: re.Match[bytes], start: int, settings: Http1Settings) -> RequestHead | None:
    """Read a head that ``PLAIN_REQUEST`` has matched; ``None`` if it is too long, or Host turns out to be none."""
    end = match.end()  # ``settings.allows`` is written out here, as each call would be felt
    length, lines = end - start, settings.max_fields + 2
    if length > settings.max_head_bytes or (length >= 4 * lines and data.count(b"\n", start, end) > lines):
        return None
    method, target, _, host = match.group(1, 2, 3, 4)
    authority = read_authority(host.lower())
    if authority is None:
        return None
    marks: list[Mark] = []
    options = _NO_OPTIONS
    first, last = match.span(5)
    if first >= 0:
        marks = [Mark(b"connection", first - start, last - start)]
        options = _KEEP_ALIVE
    return RequestHead(
        data if length == len(data) else data[start:end],
        method,
        target,
        b"1.1",
        _ORIGIN,
        target,
        authority.text,
        authority.host,
        authority.port,
        _NO_BODY,
        -1,
        True,
        options,
        b"",
        b"",
        False,
        length,
        marks,
        match.start(3) - start,
        b"",
        (),
        True,
    )


def _read_carefully(data: bytes, start: int, settings: Http1Settings) -> RequestHead | NeedMore:
    explained = explain_request(data, start, settings)
    if explained is None:
        return NEED_MORE
    raw = explained.raw
    match = request_pattern(0, LENIENT_TARGET).fullmatch(raw)
    changed = bool(explained.violations) or settings.odd_names == "delete"
    head = _read(raw, match, 0, explained.length, settings, lenient=True) if match is not None and changed else None
    if head is None:
        raise Http1Error("http1-disagreement")
    head.violations = explained.violations
    return head


def _read(
    raw: bytes, match: re.Match[bytes], first: int, length: int, settings: Http1Settings, *, lenient: bool = False
) -> RequestHead | None:
    """Read what the first pattern has let through; ``None`` where anything is unusual.

    ``lenient``: the careful reading has let it pass, so only what could change its meaning is asked again.
    """
    method, target, version = match.group(1, 2, 3)
    fields_at = match.start(4) - first
    folded = raw.lower()
    modern = version == b"1.1"
    said = sift(raw, folded, fields_at - 1, REQUEST_FIELDS, modern)
    if said is None:
        return None
    options = said.options
    framing = _framing(method, modern, said, settings) if said.chunked or said.content_length > 0 else _NO_BODY
    upgrade = _upgrade(said, modern, lenient) if said.upgrade else b""
    if framing is None or upgrade is None or (modern and said.host is None) or not options.isdisjoint(FRAMING_NAMES):
        return None
    if not lenient and settings.odd_names != "preserve" and _ODD_NAME.search(raw, fields_at - 1, len(raw) - 2):
        return None
    form, origin, host = _ORIGIN, target, said.host
    if target[0] != 0x2F or method == b"CONNECT":
        asked = _target(method, target, host, modern, lenient)
        if asked is None:
            return None
        form, origin, host = asked
    hostname, port, authority = host or _NO_HOST
    return RequestHead(
        raw,
        method,
        target,
        version,
        form,
        origin,
        authority,
        hostname,
        port,
        framing,
        said.content_length,
        b"close" not in options if modern else b"keep-alive" in options and b"close" not in options,
        options,
        upgrade,
        said.key,
        said.expect and modern and framing is not _NO_BODY,
        length,
        said.marks,
        fields_at,
        folded,
    )


def _framing(method: bytes, modern: bool, said: Sifted, settings: Http1Settings) -> Framing | None:
    """Tell how the end of a body is found; ``None`` if that is not certain."""
    chunked = said.chunked
    if (chunked and said.content_length >= 0) or method == b"CONNECT" or method == b"TRACE":
        return None
    if not modern and method in WITHOUT_BODY_IN_HTTP10 and not settings.body_with_any_method:
        return None
    return _CHUNKED if chunked else _LENGTH


def _upgrade(said: Sifted, modern: bool, lenient: bool) -> bytes | None:
    """Tell which protocols may be offered to the server; ``None`` where that is unusual."""
    if not modern or b"upgrade" not in said.options:
        return b""
    upgrade = read_protocols(said.upgrade)
    if not lenient and offers_websocket(upgrade) and not IS_WEBSOCKET_KEY.fullmatch(said.key):
        return None
    return upgrade


def _target(
    method: bytes, target: bytes, host: Authority | None, modern: bool, lenient: bool
) -> tuple[Form, bytes, Authority | None] | None:
    """Read a target that is no path, or CONNECT's: its form, what a server sees of it, and the host that counts."""
    asked = read_target(method, target)
    if asked.rule or ((asked.userinfo or (host is not None and not agree(asked, host))) and not lenient):
        return None
    if asked.authority is not None and (host is not None or not modern):
        host = asked.authority
    return asked.form, asked.origin or target, host


__all__ = ["BLANK", "Form", "Framing", "RequestHead", "parse_request"]
