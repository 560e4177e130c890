"""Answers of ours: error pages, redirects, and whatever a policy answers with.

Stage: any of HTTP mode's, when a request ends without a server's response.
In: a status, and the request that it answers, if one could be read.
Out: the bytes of a whole response.
Never: repeats anything that a client sent, but for a redirect's target.
Source: RFC 9110, sections 12.5.1 and 15; HAProxy configuration.txt, "errorfile".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from twisted_lb.wire.http1 import RequestHead

REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    422: "Unprocessable Content",
}
"""The reason phrase of each status. Source: RFC 9110, section 15."""

_SAYS = {
    400: "The request is not valid HTTP.",
    403: "This request is not allowed.",
    404: "There is nothing here.",
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


class Answers:
    """What one frontend answers by itself.

    ``files``: whole bodies by status, in place of ours. ``json``: answer in JSON whom JSON suits better than HTML.
    """

    def __init__(self, files: Mapping[int, bytes] = {}, json: bool = False) -> None:
        self._files = dict(files)
        self._json = json

    def error(
        self, status: int, request: RequestHead | None, keep_alive: bool, more: Iterable[tuple[bytes, bytes]] = ()
    ) -> bytes:
        """Return the response with that status; ``request``: what it answers, ``None`` if it could not be read."""
        body, kind = self._files.get(status), b"text/html"
        if body is None:
            says = _SAYS.get(status, "")
            if self._json and (request is None or prefers_json(request.headers.get_all(b"accept"))):
                body = json.dumps({"status": status, "error": REASONS.get(status, ""), "detail": says}).encode() + b"\n"
                kind = b"application/json"
            else:
                title = f"{status} {REASONS.get(status, '')}"
                body = f"<html><body><h1>{title}</h1>\n{says}\n</body></html>\n".encode()
        fields = [(b"Content-Type", kind), (b"Cache-Control", b"no-cache"), *more]
        return response(status, fields, body, request, keep_alive)


def response(
    status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes, request: RequestHead | None, keep_alive: bool
) -> bytes:
    """Put a whole response together; framing and ``Connection`` are added."""
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS.get(status, "").encode())]
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
