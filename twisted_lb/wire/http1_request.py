"""A request's head: bytes in; a ``RequestHead``, ``NeedMore`` or an ``Http1Error`` out.

Source: RFC 9112, sections 2, 3, 5 and 6; RFC 9110, sections 7, 8.6 and 10.1.1.
"""

from enum import IntEnum

import msgspec

from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1_headers import Headers
from twisted_lb.wire.http1_settings import STRICT, Http1Settings


class Framing(IntEnum):
    """How the end of a body is found."""

    NONE = 0
    """There is no body."""
    LENGTH = 1
    """After ``content_length`` bytes; these may be 0."""
    CHUNKED = 2
    UNTIL_CLOSE = 3
    """At the end of the connection; only a response's."""


class Form(IntEnum):
    """The four forms of a request target. Source: RFC 9112, section 3.2."""

    ORIGIN = 0
    ABSOLUTE = 1
    AUTHORITY = 2
    ASTERISK = 3


class RequestHead(msgspec.Struct, gc=False, kw_only=True):
    """A request's head that broke no rule."""

    raw: bytes
    """The head from its first line to its empty line, both included; with ``accept_invalid`` what was let through."""
    method: bytes
    target: bytes
    """As it was sent."""
    version: bytes
    """``b"1.0"`` or ``b"1.1"``."""
    form: Form
    host: bytes
    """In small letters, without port and final dot, IPv6 in brackets; empty if HTTP/1.0 named none."""
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
    expect_continue: bool
    """The client waits for a 100 before it sends the body."""
    length: int
    """How many bytes of what was given this head took, empty lines before it included."""
    violations: tuple[tuple[str, int], ...] = ()
    """Rule and offset of what ``accept_invalid`` let through."""

    @property
    def path(self) -> bytes:
        """The target's path as it was sent, without query; ``*`` for that target, empty for CONNECT."""
        raise NotImplementedError

    @property
    def query(self) -> bytes:
        """What follows the first ``?`` of the target; empty if nothing does."""
        raise NotImplementedError

    @property
    def headers(self) -> Headers:
        """The fields; made when first asked for. Edits of it are what goes upstream."""
        raise NotImplementedError


def parse_request(data: bytes, start: int = 0, settings: Http1Settings = STRICT) -> RequestHead | NeedMore:
    """Read the head of the request that begins at ``start``.

    Returns: ``NeedMore`` while the head is not whole and nothing in it is wrong yet. What follows the head is the
        caller's.
    Raises: Http1Error, and nothing else, whatever the bytes; its offset counts from ``start``.
    Cost: linear in the head's length. Keeps no state, so cuts cannot matter.
    """
    raise NotImplementedError
