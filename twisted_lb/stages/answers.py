"""Answers of ours: error pages, redirects, and whatever a policy answers with.

Stage: any of HTTP mode's, when a request ends without a server's response.
In: a status, and the request that it answers, if one could be read.
Out: the bytes of a whole response.
Never: repeats anything that a client sent, unless a policy does.
Source: RFC 9110, sections 12.5.1 and 15; HAProxy configuration.txt, "errorfile".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus

from twisted_lb.facts import Facts
from twisted_lb.verdicts import Answer, Deny, HttpFields, HttpVerdict, Redirect, Text
from twisted_lb.wire.http1 import Edit, RequestHead
from twisted_lb.wire.http1_headers import field_line

REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    422: "Unprocessable Content",
}
"""The reason phrase of each status. Source: RFC 9110, section 15."""

_SAYS = {
    400: "The request is not valid HTTP.",
    401: "This needs credentials.",
    403: "This request is not allowed.",
    404: "There is nothing here.",
    405: "This method is not allowed here.",
    408: "The request did not come in time.",
    413: "The request's body is too large.",
    414: "The request's target is too long.",
    417: "The request expects what cannot be done.",
    421: "This host is not served here.",
    422: "The request's body is encoded in a way that is not understood.",
    429: "Too many requests. Try again later.",
    431: "The request's fields are too large.",
    500: "Something went wrong here.",
    501: "This is not implemented.",
    502: "The server sent an invalid response.",
    503: "No server is available to handle this request.",
    504: "The server did not respond in time.",
    505: "This version of HTTP is not supported.",
}


_NOT_FOR_POLICIES = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer", b"te", b"date")
)
"""Fields that are written here."""
_STATUSES: dict[type, range | tuple[int, ...]] = {
    Answer: range(200, 600),
    Redirect: (301, 302, 303, 307, 308),
}
_ERRORS = range(400, 600)


def as_bytes(text: Text) -> bytes:
    """Return a text as it is sent."""
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes):
        return text
    raise TypeError(f"neither str nor bytes: {text!r}")


def fault_in(verdict: Deny | HttpVerdict) -> str:
    """Say why a verdict cannot be sent as a response; empty if it can."""
    if verdict.status not in _STATUSES.get(type(verdict), _ERRORS):
        return f"{verdict.status!r} is no status for it"
    if isinstance(verdict, Answer) and not isinstance(verdict.body, bytes):
        return "its body is not bytes"
    if isinstance(verdict, Deny) and (verdict.how is not None or verdict.farewell):
        fault = fault_in_parting(verdict)
        if fault:
            return fault
    if not verdict.fields and not isinstance(verdict, Redirect):
        return ""
    try:
        fields = _fields(verdict.fields)
        if isinstance(verdict, Redirect):
            fields.append((b"Location", as_bytes(verdict.location)))
        for name, value in fields:
            field_line(name, value)
    except (TypeError, ValueError) as error:
        return str(error)
    wrong = [name.decode() for name, _ in fields if name.lower() in _NOT_FOR_POLICIES]
    return f"{wrong[0]} is not for it to say" if wrong else ""


MOST_FAREWELL = 4096
"""Bytes that a client may be told at most when it is refused; a TLS alert has seven."""


def fault_in_parting(verdict: Deny) -> str:
    """Say why a client cannot be parted from in that way; empty if it can."""
    if verdict.how not in (None, "close", "reset", "drop"):
        return f"{verdict.how!r} is no way to end a connection"
    if not isinstance(verdict.farewell, bytes):
        return "its farewell is not bytes"
    if len(verdict.farewell) > MOST_FAREWELL:
        return f"its farewell has more than {MOST_FAREWELL} bytes"
    return ""


def with_last_words(verdict: Deny, facts: Facts) -> Deny:
    """Return a refusal that says what the client's protocol has to say then, if it says nothing itself."""
    if verdict.farewell or verdict.how not in (None, "close") or not facts.farewell:
        return verdict
    speaking = replace(verdict, farewell=facts.farewell)
    return verdict if fault_in_parting(speaking) else speaking


def _fields(fields: HttpFields) -> list[tuple[bytes, bytes]]:
    return [(as_bytes(name), as_bytes(value)) for name, value in fields]


class Answers:
    """What one frontend answers by itself.

    ``pages``: whole bodies and their types by status, in place of ours. ``json``: answer in JSON whom JSON suits better
    than HTML. ``edits``: those of every response.
    """

    def __init__(
        self,
        pages: Mapping[int, tuple[bytes, bytes]] = {},
        json: bool = False,
        edits: Sequence[Edit] = (),
    ) -> None:
        self._pages = dict(pages)
        self._json = json
        self._removed = frozenset(edit.name.lower() for edit in edits if edit.action != "add")
        self._more = tuple((edit.name, edit.value) for edit in edits if edit.action != "remove")

    def verdict(self, verdict: Deny | HttpVerdict, request: RequestHead | None, keep_alive: bool) -> bytes:
        """Return what a policy answers; ``fault_in`` has found nothing in it."""
        fields = _fields(verdict.fields)
        if isinstance(verdict, Answer):
            return response(verdict.status, self._edited(fields), verdict.body, request, keep_alive)
        if isinstance(verdict, Redirect):
            fields += [(b"Location", as_bytes(verdict.location)), (b"Cache-Control", b"no-cache")]
            return response(verdict.status, self._edited(fields), b"", request, keep_alive)
        return self.error(verdict.status, request, keep_alive, fields)

    def monitor(self, up: bool, request: RequestHead, keep_alive: bool) -> bytes:
        """Return the answer to a load balancer in front: whether to send clients here."""
        if not up:
            return self.error(503, request, keep_alive)
        fields = [(b"Content-Type", b"text/plain"), (b"Cache-Control", b"no-cache")]
        return response(200, self._edited(fields), b"OK\n", request, keep_alive)

    def _edited(self, fields: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        if not self._removed and not self._more:
            return fields
        return [*(field for field in fields if field[0].lower() not in self._removed), *self._more]

    def error(
        self, status: int, request: RequestHead | None, keep_alive: bool, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> bytes:
        """Return the response with that status; ``request``: what it answers, ``None`` if it could not be read."""
        body, kind = self._pages.get(status, (None, b"text/html"))
        if body is None:
            says = _SAYS.get(status, "")
            if self._json and (request is None or prefers_json(request.headers.get_all(b"accept"))):
                body = json.dumps({"status": status, "error": REASONS.get(status, ""), "detail": says}).encode() + b"\n"
                kind = b"application/json"
            else:
                title = f"{status} {REASONS.get(status, '')}"
                body = f"<html><body><h1>{title}</h1>\n{says}\n</body></html>\n".encode()
        fields = self._edited([(b"Content-Type", kind), (b"Cache-Control", b"no-cache"), *more])
        return response(status, fields, body, request, keep_alive)


def response(
    status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes, request: RequestHead | None, keep_alive: bool
) -> bytes:
    """Put a whole response together; framing, ``Connection`` and ``Date`` are added."""
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS.get(status, "").encode())]
    lines.append(b"Date: " + formatdate(usegmt=True).encode())
    lines += [b"%s: %s" % field for field in fields]
    if status >= 200 and status not in (204, 304):
        lines.append(b"Content-Length: %d" % len(body))
    else:
        body = b""
    if not keep_alive:
        lines.append(b"Connection: close")
    elif request is not None and request.version == b"1.0":
        lines.append(b"Connection: keep-alive")
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    return head if request is not None and request.method == b"HEAD" else head + body


def prefers_json(accept: Sequence[bytes]) -> bool:
    """Whether the values of ``Accept`` prefer JSON to HTML; equal weights go to what is named first.

    Source: RFC 9110, section 12.5.1; what is malformed counts as not there.
    """
    best = {b"json": (-1.0, 0), b"html": (-1.0, 0)}
    place = 0
    for item in b",".join(accept).split(b","):
        place -= 1
        media, *parameters = (part.strip().lower() for part in item.split(b";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        for kind, medias in _MEDIA.items():
            if media in medias and weight > 0:
                best[kind] = max(best[kind], (weight, place))
    return best[b"json"] > best[b"html"]


_MEDIA = {
    b"json": {b"application/json", b"application/problem+json", b"application/*+json"},
    b"html": {b"text/html", b"application/xhtml+xml", b"text/*", b"*/*"},
}
