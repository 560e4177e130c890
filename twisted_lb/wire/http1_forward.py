"""What goes upstream and downstream: hop-by-hop fields removed, one Host, one framing, and who speaks for the client.

Three steps, so that a request costs little: a ``ForwardPlan`` per frontend and backend, a ``Forwarder`` per client
connection, and per message the untouched bytes of its head before a constant end.

Source: RFC 9110, sections 7.2, 7.6 and 7.8; RFC 9112, sections 3.2.2, 6 and 9.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from twisted_lb.wire.http1_framing import Framing
from twisted_lb.wire.http1_headers import field_line, without
from twisted_lb.wire.http1_request import REQUEST_FIELDS, Form, RequestHead
from twisted_lb.wire.http1_response import RESPONSE_FIELDS, ResponseHead
from twisted_lb.wire.http1_sifted import Mark
from twisted_lb.wire.http1_speak import LISTS, SPOKEN, Speaker, Speaking
from twisted_lb.wire.http1_target import read_authority

CONNECTION_ONLY = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"http2-settings", b"te", b"transfer-encoding")
)
"""Fields that belong to one connection; what of them goes on is written anew."""
NOT_NAMES = CONNECTION_ONLY | {b"close", b"trailers", b"trailer"}
"""Options of Connection that ask for no field to be removed, or for one that is anyway."""
KEPT = frozenset(
    (
        *(b"host", b"content-length", b"content-type", b"content-encoding", b"content-range", b"cache-control"),
        *(b"authorization", b"cookie", b"set-cookie", b"date", b"expect", b"via", b"x-real-ip", *SPOKEN),
    )
)
"""What Connection cannot have removed: meant for the server, or for us to speak in. RFC 9110, section 7.6.1, forbids to
name such fields; who does wants a server to miss what decides on access."""


_UNTOUCHED = frozenset((b"via", b"sec-websocket-key", b"sec-websocket-accept"))


_REPEATED = frozenset((b"host", b"transfer-encoding"))
"""What is always said, and so written anew where it is not passed on as it came."""
_LENGTH = frozenset((b"content-length",))


class Edit(NamedTuple):
    """A change that a setting makes to every message. ``value`` is not used by ``remove``."""

    action: Literal["set", "add", "remove"]
    name: bytes
    value: bytes = b""


class ForwardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``ForwardPlan`` is made from."""

    speaking: Speaking = Speaking()
    via: bytes = b""
    """The pseudonym for Via in both directions; empty for none."""
    default_host: bytes = b""
    """Host for HTTP/1.0 requests that name none."""
    close_server: bool = False
    """Ask the server to close after each response."""
    request_edits: Sequence[Edit] = ()
    response_edits: Sequence[Edit] = ()


class _Edits:
    """The changes of one direction: which fields go, and the lines that come."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self.removed: list[bytes] = []
        lines: list[tuple[bytes, bytes]] = []
        for action, name, value in edits:
            if action != "add":
                self.removed.append(name)
                lines = [line for line in lines if line[0].lower() != name.lower()]
            if action != "remove":
                lines.append((name, field_line(name, value)))
        self.lines = b"".join(line for _, line in lines)


class ForwardPlan:
    """Settings, compiled once at start-up or reload. Raises ValueError for an edit that is no field."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.settings = settings
        hosts = [edit for edit in settings.request_edits if edit.action == "set" and edit.name.lower() == b"host"]
        self.host = hosts[-1].value if hosts else b""
        """What Host is to say in place of what the client said; it is not said beside that one."""
        self.request = _Edits(edit for edit in settings.request_edits if edit not in hosts)
        self.response = _Edits(settings.response_edits)
        via = settings.via
        self.via = {version: field_line(b"Via", b"%b %b" % (version, via)) if via else b"" for version in _VERSIONS}

    def connection(
        self, client: bytes, port: int, *, secure: bool = False, excepted: bool = False, here: bytes = b""
    ) -> "Forwarder":
        """Compile what is constant for a connection; the arguments are those of ``Speaker``, and ``here``."""
        return Forwarder(self, Speaker(self.settings.speaking, client, port, secure=secure, excepted=excepted), here)


_NOTHING_BEFORE: dict[bytes, Sequence[bytes]] = {}
_VERSIONS = (b"1.0", b"1.1")


class Forwarder:
    """What is constant for one client's connection.

    ``here``: the address that it came to. Requests of HTTP/1.0 that name no host are for that: RFC 9112, section 3.2,
    would have an empty Host, which nginx refuses.
    """

    __slots__ = ("_request_tail", "_responses_pass", "here", "plan", "speaker")

    def __init__(self, plan: ForwardPlan, speaker: Speaker, here: bytes = b"") -> None:
        self.here = here
        self.plan = plan
        self.speaker = speaker
        request, response, via = plan.request, plan.response, plan.via[b"1.1"]
        close = b"Connection: close\r\n" if plan.settings.close_server else b""
        self._request_tail = None if request.removed or plan.host else via + request.lines + close
        """What plain requests end with, behind what is said about the client; ``None``: they are edited otherwise."""
        self._responses_pass = not (response.removed or response.lines or via)

    def plain_end(self, authority: bytes) -> bytes | None:
        """Return what plain requests for ``authority`` are to end with, before their empty line.

        ``None``: they are edited otherwise, or the responses are.
        """
        if self._request_tail is None or not self._responses_pass:
            return None
        return self.speaker.lines(authority, _NOTHING_BEFORE) + self._request_tail

    def request_upstream(
        self, head: RequestHead, *, framing: Framing | None = None, content_length: int = 0, expect: bool = True
    ) -> bytes:
        """Return the head to send to the server; always HTTP/1.1, and the target as a server expects it.

        ``framing``, ``content_length``: those of the body as it will be sent; ``None``: as the client sent it.
        ``expect``: pass ``Expect: 100-continue`` on if the client sent it.
        """
        headers, raw, fields_at, marks = head.edited_headers, head.raw, head.fields_at, head.marks
        if head.plain and headers is None and framing is None and self._request_tail is not None:
            end = self.speaker.lines(head.authority, _NOTHING_BEFORE) + self._request_tail
            if marks:
                mark = marks[0]
                return b"%b%b%b\r\n" % (raw[: mark.start], raw[mark.end : -2], end)
            return b"%b%b\r\n" % (raw[:-2], end) if end else raw
        anew = framing is not None or head.form is not Form.ORIGIN or not head.authority or headers is not None
        anew = anew or bool(self.plan.host) or (bool(marks) and _is_oddly_spelt(marks))
        if anew:
            if headers is not None:
                raw = b"%b%b\r\n" % (raw[:fields_at], bytes(headers))
            marks = _all_marks(REQUEST_FIELDS.findall, raw, fields_at)
        cuts, before, host = self._request_cuts(head, raw, marks, expect)
        end = b""
        if anew:
            host = host or head.authority or self.plan.settings.default_host
            end = b"Host: %b\r\n" % (self.plan.host or host or self.here)
            end += _framing_line(head.framing if framing is None else framing, head, framing, content_length)
        elif marks and head.content_length >= 0 and _is_oddly_spelt(marks, _LENGTH):
            end = b"Content-Length: %d\r\n" % head.content_length
        removed = (*self.plan.request.removed, *_named(head.options)) if head.options else self.plan.request.removed
        if removed:
            cuts += _spans_of(head, removed)
        end += self.speaker.lines(host or head.authority, before) + self.plan.via[head.version]
        end += self.plan.request.lines + self._request_connection(head)
        if head.version == b"1.1" and head.origin is head.target:
            start, line = 0, b""
        else:
            start, line = fields_at, b"%b %b HTTP/1.1\r\n" % (head.method, head.origin)
        return b"%b%b%b\r\n" % (line, _cut(raw, cuts, start), end)

    def _request_cuts(
        self, head: RequestHead, raw: bytes, marks: list[Mark], expect: bool
    ) -> tuple[list[tuple[int, int]], dict[bytes, Sequence[bytes]], bytes]:
        """Return what is cut, what came in fields that are added to, and the host that edits have named."""
        cuts: list[tuple[int, int]] = []
        before: dict[bytes, Sequence[bytes]] = {}
        host = b""
        for name, start, end, alias in map(msgspec.structs.astuple, marks):
            mode = self.speaker.modes.get(name, "")
            if mode == "pass" or (name in _UNTOUCHED and not alias):
                continue
            if name == b"expect" and not alias and expect and head.expect_continue:
                continue
            cuts.append((start, end))
            value = raw[start + len(name) + 1 : end].strip(b" \t\r\n")
            if mode == "append" and name in LISTS and not alias:
                before[name] = (*before.get(name, ()), value)
            elif name == b"host" and head.edited_headers is not None and read_authority(value):
                host = value
        return cuts, before, host

    def _request_connection(self, head: RequestHead) -> bytes:
        options = [b"close"] if self.plan.settings.close_server and not head.upgrade else []
        line = b""
        if head.upgrade:
            options.append(b"upgrade")
            line = b"Upgrade: %b\r\n" % head.upgrade
        if b"te" in head.options and _accepts_trailers(head):
            options.append(b"TE")
            line += b"TE: trailers\r\n"
        return b"Connection: %b\r\n%b" % (b", ".join(options), line) if options else b""

    def response_downstream(
        self,
        head: ResponseHead,
        request: RequestHead,
        *,
        framing: Framing | None = None,
        content_length: int = 0,
        keep_alive: bool = True,
    ) -> bytes:
        """Return the head to send to the client, always HTTP/1.1.

        ``framing``, ``content_length``: those of the body as it will be sent; ``None``: ``downstream_framing``, with
        the length that the server named. ``keep_alive``: the connection to the client stays open.
        """
        headers, raw, fields_at, marks = head.edited_headers, head.raw, head.fields_at, head.marks
        plain = head.plain and self._responses_pass and keep_alive
        if plain and headers is None and framing is None and request.version == b"1.1":
            return raw[: marks[0].start] + raw[marks[0].end :] if marks else raw
        sent = downstream_framing(head, request) if framing is None else framing
        end = b""
        anew = framing is not None or headers is not None or sent is not head.framing
        if anew or _has_odd_framing(head) or (marks and _is_oddly_spelt(marks)):
            if headers is not None:
                raw = b"%b%b\r\n" % (raw[:fields_at], bytes(headers))
            marks = _all_marks(RESPONSE_FIELDS.findall, raw, fields_at)
            end = _framing_line(sent, head, framing, content_length, head.status == 304 or request.method == b"HEAD")
        elif marks and head.content_length >= 0 and _is_oddly_spelt(marks, _LENGTH):
            end = b"Content-Length: %d\r\n" % head.content_length
        cuts = [(mark.start, mark.end) for mark in marks if mark.name not in _UNTOUCHED and not mark.alias]
        removed = (*self.plan.response.removed, *_named(head.options)) if head.options else self.plan.response.removed
        if removed:
            cuts += _spans_of(head, removed)
        end += self.plan.via[head.version] + self.plan.response.lines
        if head.is_tunnel and head.status == 101:
            end += b"Connection: upgrade\r\nUpgrade: %b\r\n" % head.upgrade
        elif not head.is_interim and not head.is_tunnel:
            if not keep_alive or sent is Framing.UNTIL_CLOSE:
                end += b"Connection: close\r\n"
            elif request.version == b"1.0":
                end += b"Connection: keep-alive\r\n"
        line = b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)
        return b"%b%b%b\r\n" % (line, _cut(raw, cuts, fields_at), end)


def downstream_framing(response: ResponseHead, request: RequestHead) -> Framing:
    """Return how the body must be framed for this client: HTTP/1.0 knows no chunks, HTTP/1.1 need not close."""
    if response.framing is Framing.CHUNKED and request.version == b"1.0":
        return Framing.UNTIL_CLOSE
    if response.framing is Framing.UNTIL_CLOSE and request.version == b"1.1":
        return Framing.CHUNKED
    return response.framing


def _is_oddly_spelt(marks: list[Mark], names: frozenset[bytes] = _REPEATED) -> bool:
    """Tell whether one of these fields is spelt in a way that not everybody may read alike."""
    return any(mark.name in names and not mark.alias for mark in marks)


def _has_odd_framing(head: ResponseHead) -> bool:
    """Tell whether the fields of a response say more, or other, than its framing."""
    if head.framing is Framing.CHUNKED:
        return head.content_length >= 0
    if head.framing is not Framing.NONE:
        return False
    bare = head.status < 200 or head.status == 204 or head.is_tunnel
    return (bare and head.content_length >= 0) or b"\ntransfer-encoding:" in head.folded


def _framing_line(
    sent: Framing,
    head: RequestHead | ResponseHead,
    given: Framing | None,
    content_length: int,
    may_name_length: bool = False,
) -> bytes:
    if sent is Framing.CHUNKED:
        return b"Transfer-Encoding: chunked\r\n"
    if sent is Framing.LENGTH:
        return b"Content-Length: %d\r\n" % (head.content_length if given is None else content_length)
    empty = isinstance(head, RequestHead) and head.content_length == 0 and given is None
    if sent is Framing.NONE and (empty or (may_name_length and head.content_length >= 0)):
        return b"Content-Length: %d\r\n" % head.content_length
    return b""


def _named(options: frozenset[bytes]) -> list[bytes]:
    """Return the fields that Connection asks to remove and may."""
    return [option for option in options if option not in NOT_NAMES and option not in KEPT]


def _spans_of(head: RequestHead | ResponseHead, names: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return where in a head the fields of these names stand."""
    at, spans_of = head.fields_at, head.headers.spans
    return [(start + at, stop + at) for name in names for start, stop in spans_of(name)]


def _accepts_trailers(head: RequestHead) -> bool:
    values = b",".join(head.headers.get_all(b"te")).lower().split(b",")
    return any(value.partition(b";")[0].strip(b" \t") == b"trailers" for value in values)


def _all_marks(find: Callable[[bytes, int], list[bytes]], raw: bytes, fields_at: int) -> list[Mark]:
    """Return every line that matters, plain framing fields and Host included."""
    folded = raw.lower()
    marks: list[Mark] = []
    at = fields_at - 1
    for line in find(folded, at):
        at = folded.index(line, at)
        name = line[1 : line.index(b":")]
        marks.append(Mark(name.replace(b"_", b"-"), at + 1, at + len(line) + 2, b"_" in name))
        at += len(line)
    return marks


def _cut(raw: bytes, cuts: list[tuple[int, int]], start: int) -> bytes:
    """Return a head from ``start`` to before its empty line, without ``cuts``."""
    if not cuts:
        return raw[start:-2]
    return without(raw, sorted(set(cuts)), start)[:-2]
