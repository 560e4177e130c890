"""A response's head: bytes in; a ``ResponseHead``, ``NeedMore`` or an ``Http1Error`` out.

Source: RFC 9112, sections 4 and 6.3; RFC 9110, section 15.
"""

import msgspec

from twisted_lb.verdicts import NeedMore
from twisted_lb.wire.http1_headers import Headers
from twisted_lb.wire.http1_request import Framing, RequestHead
from twisted_lb.wire.http1_settings import STRICT, Http1Settings


class ResponseHead(msgspec.Struct, gc=False, kw_only=True):
    """A response's head that broke no rule."""

    raw: bytes
    version: bytes
    """``b"1.0"`` or ``b"1.1"``."""
    status: int
    reason: bytes
    framing: Framing
    content_length: int
    """-1 without Content-Length. With ``Framing.NONE`` (HEAD, 304) it says what a body would have had."""
    keep_alive: bool
    """The server's connection can be used again once this response has been read."""
    is_interim: bool
    """1xx but 101: another head follows for the same request."""
    is_tunnel: bool
    """The upgrade was accepted, or CONNECT was: what follows in either direction is no longer HTTP."""
    length: int
    """How many bytes of what was given this head took."""
    violations: tuple[tuple[str, int], ...] = ()

    @property
    def headers(self) -> Headers:
        """The fields; made when first asked for. Edits of it are what goes downstream."""
        raise NotImplementedError


def parse_response(
    data: bytes, request: RequestHead, start: int = 0, settings: Http1Settings = STRICT
) -> ResponseHead | NeedMore:
    """Read the head at ``start``, which answers ``request``: its method and upgrade decide on framing.

    Returns: ``NeedMore`` while the head is not whole and nothing in it is wrong yet.
    Raises: Http1Error with status 502, and nothing else, whatever the bytes.
    """
    raise NotImplementedError
