"""Closing a client's connection such that it gets all that it was sent.

Stage: behind the last exchange, in HTTP mode.
In: a client's transport that has been told to close, or to send its end of stream.
Out: in how many seconds to look again, or that nothing is to be waited for any more.
Never: closes on a client that still takes bytes; a RST for what it sends meanwhile could undo our answer.
Source: RFC 9112, section 9.6; nginx, "lingering_close", "lingering_time" and "lingering_timeout".
"""

from fcntl import ioctl
from struct import unpack
from termios import TIOCOUTQ
from typing import Any

from twisted_lb.net.stream import Stream

LOOK_S = 2.0
"""How often is looked whether the client takes, or sends, anything."""
MOST_S = 30.0
"""How long a client may go on sending what nobody wants; nginx's number."""


class Lingering:
    """A connection on its way out. ``patience_s``: how long the client may take nothing, ``None``: ``MOST_S``."""

    __slots__ = ("_client", "_heard", "_left", "_patience_s", "_since", "_until")

    def __init__(self, client: Any, now: float, patience_s: float | None) -> None:
        self._client = client
        self._patience_s = MOST_S if patience_s is None else patience_s
        self._left = undelivered(client)
        self._since = now
        self._until = now + MOST_S
        self._heard = False

    def heard(self) -> None:
        """The client is still sending."""
        self._heard = True

    def again_in(self, now: float) -> float | None:
        """In how many seconds to look again; ``None``: it has everything, or never will."""
        left = undelivered(self._client)
        if left != self._left:
            self._left, self._since = left, now
        if left:
            waits_s = self._since + self._patience_s - now
            return min(LOOK_S, waits_s) if waits_s > 0.001 else None
        heard, self._heard = self._heard, False
        return LOOK_S if heard and now < self._until else None


def undelivered(client: Any) -> int:
    """How many bytes the client's end has not acknowledged yet; 1 where nobody knows, for want of a socket of ours."""
    if type(client) is not Stream:
        return 1
    if client.fd < 0:
        return 0
    try:
        queued: int = unpack("i", ioctl(client.fd, TIOCOUTQ, b"\0\0\0\0"))[0]
    except OSError:
        queued = 0
    return client.unsent_bytes + queued
