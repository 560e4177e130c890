"""A response's head: bytes in; a ``ResponseHead``, ``NeedMore`` or an ``Http1Error`` out.

Read like a request's (see ``http1_request``): two regular expressions, and a careful reading where they refuse.

Source: RFC 9112, sections 4 and 6.3; RFC 9110, sections 7.8 and 15.
"""

import re

import msgspec

from twisted_lb.verdicts import NEED_MORE, NeedMore
from twisted_lb.wire.http1_errors import Http1Error
from twisted_lb.wire.http1_explain_response import explain_response, websocket_accept
from twisted_lb.wire.http1_framing import Framing
from twisted_lb.wire.http1_grammar import fields_pattern, partial_response_pattern, response_pattern
from twisted_lb.wire.http1_headers import HasHeaders, Headers
from twisted_lb.wire.http1_plain import PLAIN_RESPONSE
from twisted_lb.wire.http1_request import RequestHead
from twisted_lb.wire.http1_settings import STRICT, Http1Settings
from twisted_lb.wire.http1_sifted import Mark, Sifted, sift
from twisted_lb.wire.http1_target import offers_websocket, read_protocols

RESPONSE_FIELDS = fields_pattern(
    (
        *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection"),
        *(b"upgrade", b"te", b"http2-settings", b"sec-websocket-accept"),
    )
)
_NO_OPTIONS: frozenset[bytes] = frozenset()
_KEEP_ALIVE = frozenset((b"keep-alive",))
_NONE, _LENGTH, _CHUNKED, _UNTIL_CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.UNTIL_CLOSE
_WITHOUT_PLAIN = frozenset((b"HEAD", b"CONNECT"))
"""Methods whose responses have no body, or need not have one."""
_FRAMING_NAMES = frozenset((b"content-length", b"transfer-encoding"))


class ResponseHead(HasHeaders, msgspec.Struct, gc=False):
    """A response's head that broke no rule."""

    raw: bytes
    """The head, empty line included; with ``accept_invalid`` what was let through."""
    version: bytes
    """``b"1.0"`` or ``b"1.1"``."""
    status: int
    reason: bytes
    """The reason phrase; may be empty."""
    framing: Framing
    content_length: int
    """-1 without Content-Length. With ``Framing.NONE`` (HEAD, 304) it says what a body would have had."""
    keep_alive: bool
    """The server's connection can be used again once this response has been read."""
    is_interim: bool
    """1xx but 101: another head follows for the same request."""
    is_tunnel: bool
    """The upgrade was accepted, or CONNECT was: what follows in either direction is no longer HTTP."""
    options: frozenset[bytes]
    """What Connection names, in small letters."""
    upgrade: bytes
    """The protocols that Upgrade names: with 101 the one that was changed to."""
    length: int
    """How many bytes of what was given this head took."""
    marks: list[Mark]
    """For forwarding: the lines that do not simply pass."""
    fields_at: int
    """For forwarding: where the fields begin in ``raw``."""
    _folded: bytes = b""
    violations: tuple[tuple[str, int], ...] = ()
    """Rule and offset of what ``accept_invalid`` let through."""
    plain: bool = False
    """For forwarding: nothing in it needs to be changed, but for ``marks``; see ``http1_plain``."""
    _headers: Headers | None = None


def parse_response(
    data: bytes, request: RequestHead, start: int = 0, settings: Http1Settings = STRICT
) -> ResponseHead | NeedMore:
    """Read the head at ``start``, which answers ``request``: its method and upgrade decide on framing.

    Returns: ``NeedMore`` while the head is not whole and nothing in it is wrong yet.
    Raises: Http1Error with status 502, and nothing else, whatever the bytes.
    """
    match = PLAIN_RESPONSE.match(data, start)
    if match is not None and request.method not in _WITHOUT_PLAIN:
        end = match.end()  # ``settings.allows`` is written out here, as each call would be felt
        length, lines = end - start, settings.max_fields + 2
        few = length < 4 * lines or data.count(b"\n", start, end) <= lines
        if few and length <= settings.max_head_bytes:
            code, reason, content_length = match.group(1, 2, 4)
            first, last = match.span(5)
            return ResponseHead(
                data if length == len(data) else data[start:end],
                b"1.1",
                int(code),
                reason,
                _LENGTH,
                int(content_length),
                True,
                False,
                False,
                _NO_OPTIONS if first < 0 else _KEEP_ALIVE,
                b"",
                length,
                [] if first < 0 else [Mark(b"connection", first - start, last - start)],
                match.start(3) - start,
                b"",
                (),
                True,
            )
    match = response_pattern().match(data, start)
    if match is not None:
        end = match.end()
        if settings.allows(data, start, end):
            raw = data if end - start == len(data) else data[start:end]
            head = _read(raw, match, start, end - start, request)
            if head is not None:
                return head
    elif len(data) - start < settings.max_head_bytes and partial_response_pattern(settings.max_fields).match(
        data, start
    ):
        return NEED_MORE
    return _read_carefully(data, start, request, settings)


def _read_carefully(data: bytes, start: int, request: RequestHead, settings: Http1Settings) -> ResponseHead | NeedMore:
    explained = explain_response(data, start, request, settings)
    if explained is None:
        return NEED_MORE
    match = response_pattern(rb"[1-9]").fullmatch(explained.raw)
    head = None
    if match is not None and explained.violations:
        head = _read(explained.raw, match, 0, explained.length, request, lenient=True)
    if head is None:
        raise Http1Error("http1-disagreement", response=True)
    head.violations = explained.violations
    return head


def _read(
    raw: bytes, match: re.Match[bytes], first: int, length: int, request: RequestHead, *, lenient: bool = False
) -> ResponseHead | None:
    """Read what the first pattern has let through; ``None`` where anything is unusual."""
    version, code, reason = match.group(1, 2, 3)
    fields_at = match.start(4) - first
    status = int(code)
    folded = raw.lower()
    modern = version == b"1.1"
    said = sift(raw, folded, fields_at - 1, RESPONSE_FIELDS, modern)
    if said is None or not said.options.isdisjoint(_FRAMING_NAMES):
        return None
    options = said.options
    tunnel = status == 101
    if tunnel and not _accepts(said, request, lenient):
        return None
    if request.method == b"CONNECT" and 200 <= status < 300:
        tunnel = True
    keep_alive = b"close" not in options if modern else b"keep-alive" in options and b"close" not in options
    if tunnel or status < 200 or status == 204 or status == 304 or request.method == b"HEAD":
        framing = _NONE
    elif said.chunked:
        framing = _CHUNKED
        if said.content_length >= 0:  # RFC 9112, section 6.3: chunked counts, and who sends both is not to be trusted
            keep_alive = False
    elif said.content_length >= 0:
        framing = _LENGTH
    else:
        framing, keep_alive = _UNTIL_CLOSE, False
    return ResponseHead(
        raw,
        version,
        status,
        reason or b"",
        framing,
        said.content_length,
        keep_alive and not tunnel,
        status < 200 and status != 101,
        tunnel,
        options,
        said.upgrade,
        length,
        said.marks,
        fields_at,
        folded,
    )


def _accepts(said: Sifted, request: RequestHead, lenient: bool) -> bool:
    """Tell whether a 101 changes to what was asked for, and to WebSocket as only a server of it can."""
    if not fits_upgrade(said.upgrade, said.options, request):
        return False
    if lenient or not offers_websocket(said.upgrade):
        return True
    return said.key == websocket_accept(request.websocket_key)


def fits_upgrade(upgrade: bytes, options: frozenset[bytes], request: RequestHead) -> bool:
    """Tell whether a 101 changes to a protocol that the request offered."""
    offered = request.upgrade.lower().split(b", ")
    chosen = read_protocols(upgrade).lower()
    return bool(chosen) and b"upgrade" in options and chosen in offered
