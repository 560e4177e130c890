"""What goes upstream and downstream: hop-by-hop fields removed, one Host, one framing, and who speaks for the client.

Three steps, so that a request costs little: a ``ForwardPlan`` per frontend and backend, a ``Forwarder`` per client
connection, and per message the untouched bytes of its head between a first line and a constant end.

Source: RFC 9110, sections 7.2, 7.6 and 7.8; RFC 9112, sections 3.2.2 and 6; RFC 7239.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from twisted_lb.wire.http1_request import Framing, RequestHead
from twisted_lb.wire.http1_response import ResponseHead

Speak = Literal["pass", "remove", "set", "append"]
"""What becomes of a field that speaks for the client: the client's own is let through, removed, replaced by ours, or
ours is added to its end."""


class Edit(NamedTuple):
    """A change that a setting makes to every message. ``value`` is not used by ``remove``."""

    action: Literal["set", "add", "remove"]
    name: bytes
    value: bytes = b""


class ForwardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``ForwardPlan`` is made from."""

    x_forwarded_for: Speak = "remove"
    x_forwarded_proto: Speak = "remove"
    x_forwarded_host: Speak = "remove"
    x_forwarded_port: Speak = "remove"
    forwarded: Speak = "remove"
    via: bytes = b""
    """The pseudonym for Via in both directions; empty for none."""
    default_host: bytes = b""
    """Host for HTTP/1.0 requests that name none."""
    close_server: bool = False
    """Ask the server to close after each response."""
    request_edits: Sequence[Edit] = ()
    response_edits: Sequence[Edit] = ()


class Forwarder:
    """What is constant for one client's connection."""

    def request_upstream(
        self, head: RequestHead, *, framing: Framing | None = None, content_length: int = 0, expect: bool = True
    ) -> bytes:
        """Return the head to send to the server.

        ``framing``, ``content_length``: that of the body as it will be sent; ``None``: as the client sent it.
        ``expect``: pass ``Expect: 100-continue`` on if the client sent it.
        """
        raise NotImplementedError

    def response_downstream(
        self,
        head: ResponseHead,
        request: RequestHead,
        *,
        framing: Framing,
        content_length: int = 0,
        keep_alive: bool = True,
    ) -> bytes:
        """Return the head to send to the client. ``framing``: see ``downstream_framing``."""
        raise NotImplementedError


class ForwardPlan:
    """Settings, compiled once at start-up or reload."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.settings = settings

    def connection(self, client: bytes, local: bytes, port: int, *, secure: bool, excepted: bool = False) -> Forwarder:
        """Compile what is constant for a connection.

        ``client``, ``local``: the addresses of the client and of ours that it connected to, IPv6 without brackets;
        ``b"unknown"`` if there is none. ``port``: ours. ``secure``: the client came over TLS. ``excepted``: the client
        is a proxy whose word counts: what it says about its clients is passed on, and nothing is added to it.
        """
        raise NotImplementedError


def downstream_framing(response: ResponseHead, request: RequestHead) -> Framing:
    """Return how the body must be framed for this client: HTTP/1.0 knows no chunks, HTTP/1.1 need not close."""
    raise NotImplementedError
