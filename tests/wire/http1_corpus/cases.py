"""The corpus of HTTP/1 messages, and how one is read in pieces until it ends, is refused or wants more."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1 import (
    STRICT,
    Body,
    ChunkedBody,
    Framing,
    Http1Error,
    Http1Settings,
    LengthBody,
    NoBody,
    RequestHead,
    ResponseHead,
    UntilCloseBody,
    parse_request,
    parse_response,
)

FOLDER = Path(__file__).parent


class Case(NamedTuple):
    """One message. ``verdict``: see requests.txt. ``asked``: which request a response answers."""

    name: str
    verdict: str
    data: bytes
    asked: str = ""


class Outcome(NamedTuple):
    """What became of a message. ``refused``: rule, status and offset. ``more``: it is not whole.

    ``body``: decoded; ``passed``: as it would be passed on; ``rest``: what follows the message.
    """

    head: RequestHead | ResponseHead | None = None
    refused: tuple[str, int, int] | None = None
    more: bool = False
    body: bytes = b""
    passed: bytes = b""
    trailers: bytes = b""
    rest: bytes = b""


_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([rnt0\\]))|\xe2\x86\xb5")
_NAMED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def unescape(text: str) -> bytes:
    """Return the bytes that an entry of the corpus stands for."""

    def byte(match: "re.Match[bytes]") -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode())
        return _NAMED[match[2]] if match[2] else b"\r\n"

    return _ESCAPE.sub(byte, text.encode("utf-8"))


def _lines(name: str) -> list[str]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def request_cases() -> list[Case]:
    cases = []
    for line in _lines("requests.txt"):
        name, rest = line.split(None, 1)
        verdict, data = re.split(r" {2,}", rest, maxsplit=1)
        cases.append(Case(name, verdict, unescape(data)))
    return cases


def response_cases() -> list[Case]:
    cases = []
    for line in _lines("responses.txt"):
        name, asked, rest = line.split(None, 2)
        verdict, data = re.split(r"(?: {2,}| (?=HTTP/))", rest, maxsplit=1)
        cases.append(Case(name, verdict, unescape(data), asked))
    return cases


_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASKED = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "foo": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
    "ws": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %b\r\n\r\n"
    % _KEY,
}


def asked(name: str) -> RequestHead:
    """Return the head of the request that a response of the corpus answers."""
    head = parse_request(ASKED[name])
    assert isinstance(head, RequestHead)
    return head


Pieces = Iterable[bytes]


def read_request(pieces: Pieces, settings: Http1Settings = STRICT) -> Outcome:
    return _read(pieces, lambda data: parse_request(data, 0, settings), settings)


def read_response(pieces: Pieces, request: RequestHead, settings: Http1Settings = STRICT) -> Outcome:
    return _read(pieces, lambda data: parse_response(data, request, 0, settings), settings)


def _read(
    pieces: Pieces, parse: Callable[[bytes], RequestHead | ResponseHead | NeedMore], settings: Http1Settings
) -> Outcome:
    data = b""
    head: RequestHead | ResponseHead | None = None
    bodies: list[Body] = []
    out: list[list[bytes]] = [[], []]
    try:
        for piece in pieces:
            if head is None:
                data += piece
                answer = parse(data)
                if isinstance(answer, NeedMore):
                    continue
                head = answer
                bodies = bodies_of(head, settings)
                piece = data[head.length :]
                data = b""
            data += _feed(bodies, out, piece)
    except Http1Error as error:
        return Outcome(refused=(error.reason, error.status, error.offset))
    if head is None or not (bodies[0].done or head.framing is Framing.UNTIL_CLOSE):
        return Outcome(more=True)
    trailers = bodies[0].trailers if isinstance(bodies[0], ChunkedBody) else b""
    return Outcome(head, body=b"".join(out[0]), passed=b"".join(out[1]), trailers=trailers, rest=data)


def bodies_of(head: RequestHead | ResponseHead, settings: Http1Settings) -> list[Body]:
    """Return two readers of one body: one that decodes it, one that passes it on."""
    answers = isinstance(head, ResponseHead)
    match head.framing:
        case Framing.NONE:
            return [NoBody(), NoBody()]
        case Framing.LENGTH:
            return [LengthBody(head.content_length, response=answers) for _ in range(2)]
        case Framing.CHUNKED:
            return [ChunkedBody(decode=decode, settings=settings, response=answers) for decode in (True, False)]
        case Framing.UNTIL_CLOSE:
            return [UntilCloseBody(), UntilCloseBody()]


def _feed(bodies: Sequence[Body], out: list[list[bytes]], piece: bytes) -> bytes:
    taken = set()
    for body, passed in zip(bodies, out, strict=True):
        if body.done:
            taken.add(0)
            continue
        pieces, count = body.feed(piece)
        passed += map(bytes, pieces)
        taken.add(count)
    (count,) = taken
    return piece[count:]


def differences(case: Case, outcome: Outcome) -> list[str]:
    """Return in what an outcome is not what the corpus expects; empty if in nothing."""
    kind, _, parts = case.verdict.partition(":")
    if kind == "more":
        return [] if outcome.more else [f"not whole was expected, got {outcome}"]
    if kind != "ok":
        wanted = (parts, int(kind))
        return [] if outcome.refused and outcome.refused[:2] == wanted else [f"{wanted} was expected, got {outcome}"]
    if outcome.head is None:
        return [f"to pass was expected, got {outcome}"]
    wanted_parts = [part.partition("=") for part in parts.split(",") if part]
    return [
        f"{key}: {value or 'yes'} was expected, got {meaning(outcome)[key]!r}"
        for key, _, value in wanted_parts
        if meaning(outcome)[key] != _expected(key, value)
    ]


_FRAMINGS = {"none": Framing.NONE, "length": Framing.LENGTH, "chunked": Framing.CHUNKED, "close": Framing.UNTIL_CLOSE}


def _expected(key: str, value: str) -> Any:
    if key == "framing":
        return _FRAMINGS[value]
    if key in ("rest", "port", "length"):
        return int(value)
    if key in ("keep", "close", "expect", "interim", "tunnel"):
        return True
    return value if key == "form" else unescape(value.replace("; ", ", "))


def meaning(outcome: Outcome) -> dict[str, Any]:
    """Return what a message means, by the words of the corpus."""
    head = outcome.head
    assert head is not None
    means: dict[str, Any] = {"framing": head.framing, "keep": head.keep_alive, "close": not head.keep_alive}
    means |= {"body": outcome.body, "rest": len(outcome.rest), "length": head.content_length}
    if isinstance(head, ResponseHead):
        return means | {"interim": head.is_interim, "tunnel": head.is_tunnel, "reason": head.reason}
    means |= {"form": head.form.name.lower(), "origin": head.origin, "host": head.host, "port": head.port}
    return means | {
        "path": head.path,
        "query": head.query,
        "upgrade": head.upgrade,
        "expect": head.expect_continue,
    }
