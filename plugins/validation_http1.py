"""``use = "http1"``: in TCP mode, the client must begin with the head of an HTTP/1 request that HTTP mode would take.

Only the first request of a connection is looked at: rules about paths belong in HTTP mode.
Source: docs/reference/http-validation.md, for every rule.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from msgspec import Meta
from zope.interface import implementer

from twisted_lb.api import (
    ALLOW,
    NEED_MORE,
    Deny,
    Fact,
    Facts,
    FactType,
    Http1Error,
    Http1Settings,
    IValidator,
    NeedMore,
    Options,
    RequestHead,
    Supply,
    Verdict,
    hookimpl,
    parse_request,
    protocol_fact,
)

FACTS = {
    "protocol": protocol_fact("http1"),
    "http1.valid": Fact(FactType.BOOLEAN, "whether the first request's head breaks no rule"),
    "http1.method": Fact(FactType.STRING, "the method of the first request"),
    "http1.host": Fact(FactType.STRING, "the host that the first request names, without port", host=True),
    "http1.path": Fact(FactType.STRING, "the path of the first request as it was sent, without query"),
    "http1.version": Fact(FactType.STRING, "the version of the first request: 1.0 or 1.1"),
}

LOOKED_AT_ANYWAY = 512
"""Bytes within which what is wrong is told at once: other protocols are wrong early."""


class Http1Options(Options, frozen=True):
    """``max_head_bytes``, ``max_fields``: of the first request's head."""

    max_head_bytes: Annotated[int, Meta(ge=256, le=32768)] = 16384
    max_fields: Annotated[int, Meta(ge=1, le=1000)] = 100
    accept_invalid: bool = False


@implementer(IValidator)
class Http1Validator:
    """Lets pass what begins with a request; see the options."""

    def __init__(self, options: Http1Options) -> None:
        most_bytes, most_fields = options.max_head_bytes, options.max_fields
        self._max_head_bytes = most_bytes
        self.takes_anything = options.accept_invalid
        self._strict = Http1Settings(max_head_bytes=most_bytes, max_fields=most_fields)
        self._lenient = (
            Http1Settings(max_head_bytes=most_bytes, max_fields=most_fields, accept_invalid=True)
            if options.accept_invalid
            else None
        )

    def validate(self, data: bytes, facts: Facts) -> Verdict:
        """Judge the first request's head, as far as it has come, and learn what it says."""
        if data[-1:] != b"\n" and LOOKED_AT_ANYWAY < len(data) < self._max_head_bytes and not _ends(data):
            return NEED_MORE  # who sends byte by byte is looked at again with each line, and not with each byte
        try:
            head = parse_request(data, 0, self._strict)
        except Http1Error as error:
            return self._broken(data, error, facts)
        if isinstance(head, NeedMore):
            return head
        facts.learnt["http1.valid"] = True
        _learn(head, facts)
        return ALLOW

    def _broken(self, data: bytes, error: Http1Error, facts: Facts) -> Verdict:
        """Refuse, or learn what can be learnt."""
        if self._lenient is None:
            return Deny(error.reason, farewell=_answer(error.status))
        facts.learnt["http1.valid"] = False
        try:
            head = parse_request(data, 0, self._lenient)
        except Http1Error:
            return ALLOW
        if isinstance(head, NeedMore):
            return head
        _learn(head, facts)
        return ALLOW


def _ends(data: bytes) -> bool:
    """Whether a head's end may be in ``data``."""
    return b"\n\r\n" in data or b"\n\n" in data


def _learn(head: RequestHead, facts: Facts) -> None:
    learnt = facts.learnt
    learnt["protocol"] = "http1"
    learnt["http1.method"] = head.method.decode("ascii", "backslashreplace")
    if head.host:
        learnt["http1.host"] = head.host.decode("ascii", "backslashreplace")
    learnt["http1.path"] = head.path.decode("ascii", "backslashreplace")
    learnt["http1.version"] = head.version.decode()


def _answer(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@hookimpl
def lb_validators() -> Mapping[str, Supply[IValidator]]:
    """Supply ``http1``."""
    return {"http1": Supply(Http1Validator, Http1Options, mode="tcp", facts=FACTS)}
